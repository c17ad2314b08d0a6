"""``index.json``, which makes a folder a cache, and the file of studies beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.index import StudyIndex, digest_of_studies, encode_studies
from brainmvp_lightning.volumes.records import CachedStudy, study_from_json
from brainmvp_lightning.volumes.store import Store

INDEX_FILE = "index.json"
INDEX_FORMAT = 2
STUDIES = "studies-{}.bin"


def studies_entry(studies: Sequence[CachedStudy]) -> tuple[dict[str, Any], bytes]:
    """Return what ``index.json`` says of some studies, and the file of them."""
    content = encode_studies(studies)
    digest = digest_of_studies(content)
    entry = {"studies_file": STUDIES.format(digest), "digest": digest, "num_studies": len(studies)}
    return entry, content


def read_catalogue(store: Store, where: str) -> tuple[dict[str, Any], StudyIndex]:
    """Read what a cache holds.

    Args:
        store: Source of its files.
        where: The cache, for messages.

    Returns:
        The values of ``index.json``, and the studies.

    Raises:
        CacheError: If there is no finished cache, it is damaged or has another format.
    """
    index = _read_index(store, where)
    if index["format"] == 1:  # all studies inside index.json
        content = encode_studies([study_from_json(study) for study in index.pop("studies")])
        return index, StudyIndex(content, digest_of_studies(content))
    try:
        return index, _read_studies(store, index, where)
    except CacheError:
        again = _read_index(store, where)
        if again.get("digest") == index["digest"]:
            raise
        return again, _read_studies(store, again, where)  # it was committed anew meanwhile


def _read_studies(store: Store, index: dict[str, Any], where: str) -> StudyIndex:
    file, digest = index["studies_file"], index["digest"]
    return StudyIndex(store.fetch(file, digest), digest, f"{where}/{file}")


def _read_index(store: Store, where: str) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads(store.read(INDEX_FILE))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CacheError(
            f"{where} is not a finished cache (it has no {INDEX_FILE}); "
            "make one, or finish it, with 'brainmvp prepare --config ...'"
        ) from error
    except (OSError, ValueError) as error:
        raise CacheError(
            f"{where}/{INDEX_FILE} cannot be read ({error}); "
            "delete this file and run 'brainmvp prepare' with the same config again"
        ) from error
    if index.get("format") not in (1, INDEX_FORMAT):
        raise CacheError(
            f"cache {where} has format {index.get('format')!r}, this version reads 1 and "
            f"{INDEX_FORMAT}; prepare it anew into an empty folder"
        )
    return index
