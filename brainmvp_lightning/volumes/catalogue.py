"""``index.json``, which makes a folder a cache, and the file of studies beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from brainmvp_lightning.studies.labels import LabelScheme, scheme_from_json
from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.index import StudyIndex, digest_of_studies, encode_studies
from brainmvp_lightning.volumes.records import CachedStudy, study_from_json
from brainmvp_lightning.volumes.store import Store

INDEX_FILE = "index.json"
INDEX_FORMAT = 2
STUDIES = "studies-{}.bin"
INDEX_DIGEST = "index_digest"

_VALUES: dict[str, tuple[type, ...]] = {
    "recipe": (dict,),
    "recipe_hash": (str,),
    "modalities": (list,),
    "spacing_mm": (int, float),
    "rejected": (int,),
}
_STUDIES: dict[int, dict[str, tuple[type, ...]]] = {
    1: {"studies": (list,)},  # all studies inside index.json
    INDEX_FORMAT: {"studies_file": (str,), "digest": (str,)},
}


def studies_entry(studies: Sequence[CachedStudy]) -> tuple[dict[str, Any], bytes]:
    """Return what ``index.json`` says of some studies, and the file of them."""
    content = encode_studies(studies)
    digest = digest_of_studies(content)
    entry = {"studies_file": STUDIES.format(digest), "digest": digest, "num_studies": len(studies)}
    return entry, content


def encode_index(values: Mapping[str, Any]) -> bytes:
    """Return ``index.json`` with these values and, behind them, the checksum of all of them."""
    return json.dumps({**values, INDEX_DIGEST: _digest_of_values(values)}).encode()


def _digest_of_values(values: Mapping[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(values).encode())


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
    if index["format"] == 1:
        try:
            content = encode_studies([study_from_json(study) for study in index.pop("studies")])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _damaged(where, "its studies are not those that were written") from error
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
        raise _damaged(where, str(error)) from error
    if not isinstance(index, dict):
        raise _damaged(where, "it holds no named values")
    if index.get("format") not in tuple(_STUDIES):  # it may be a list, say
        raise CacheError(
            f"cache {where} has format {index.get('format')!r}, this version reads 1 and "
            f"{INDEX_FORMAT}; prepare it anew into an empty folder"
        )
    fault = _fault_of(index)
    if fault:
        raise _damaged(where, fault)
    return index


def _fault_of(index: dict[str, Any]) -> str:
    """Return what is wrong with an index, or an empty string."""
    written = index.pop(INDEX_DIGEST, None)  # caches of earlier versions have none
    if written is not None and written != _digest_of_values(index):
        return "its values are not those that were written"
    for name, types in {**_VALUES, **_STUDIES[index["format"]]}.items():
        if name not in index:
            return f"it has no {name!r}"
        if not isinstance(index[name], types) or isinstance(index[name], bool):
            return f"its {name!r} is no {types[-1].__name__}"
    if not all(isinstance(modality, str) for modality in index["modalities"]):
        return "its 'modalities' are no names"
    return ""


def read_schemes(index: Mapping[str, Any], where: str) -> dict[str, LabelScheme]:
    """Return what the values of annotations mean, by name; caches of earlier versions say nothing.

    Raises:
        CacheError: If the index says something else there.
    """
    plain = index.get("label_schemes", {})
    try:
        return {name: scheme_from_json(name, scheme) for name, scheme in plain.items()}
    except (AttributeError, ValueError) as error:
        raise _damaged(where, f"its 'label_schemes' are no label schemes: {error}") from error


def _damaged(where: str, reason: str) -> CacheError:
    return CacheError(
        f"{where}/{INDEX_FILE} cannot be read ({reason}); "
        "delete this file and run 'brainmvp prepare' with the same config again"
    )
