"""Make a cache folder study by study; only a committed folder can be opened."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from brainmvp_lightning.studies.labels import LabelScheme
from brainmvp_lightning.volumes.atomic import (
    TEMPORARY,
    remove_leftovers,
    sync_folder,
    write_bytes,
)
from brainmvp_lightning.volumes.cache import FORMAT
from brainmvp_lightning.volumes.catalogue import (
    INDEX_FILE,
    INDEX_FORMAT,
    STUDIES,
    encode_index,
    studies_entry,
)
from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.frame import digest_of, encode_frame
from brainmvp_lightning.volumes.journal import (
    Entry,
    Journal,
    is_journal,
    journal_file,
    latest_entries,
    newest_time,
    read_journals,
)
from brainmvp_lightning.volumes.lock import is_lock
from brainmvp_lightning.volumes.records import CachedStudy
from brainmvp_lightning.volumes.shards import Shard
from brainmvp_lightning.volumes.tables import write_if_changed, write_table
from brainmvp_lightning.volumes.write_errors import writing

_ALL_STUDIES = STUDIES.format("*")
FRAMES = "frames"
TABLES = MANIFEST_FILE, REJECTED_FILE, NOTES_FILE = ("manifest.csv", "rejected.csv", "notes.csv")


def write_frame(
    root: Path, study: str, name: str, voxels: NDArray[Any], notes: dict[str, Any]
) -> tuple[str, str, int]:
    """Store one volume of a study; safe to call from several processes for different studies.

    Args:
        root: Cache folder.
        study: Id of the study.
        name: Modality, or ``label``.
        voxels: ``x y z``, integers.
        notes: Plain values kept inside the frame.

    Returns:
        File relative to `root`, its digest, its length in bytes.

    Raises:
        CacheWriteError: If the disk is full or the folder cannot be written.
    """
    file = Path(FRAMES) / study / f"{name}.b2nd"
    frame = encode_frame(voxels, notes)
    with writing(root / file):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(root / file, frame)
        sync_folder((root / file).parent)
    return file.as_posix(), digest_of(frame), len(frame)


def remove_strays(root: Path, study: str, files: Collection[str]) -> None:
    """Delete what lies beside the frames of a study: older frames, and parts of killed writers.

    Frames of studies that are left out altogether stay, for they may come back.

    Args:
        root: Cache folder.
        study: Id of the study.
        files: Its frames, relative to `root`.

    Raises:
        CacheWriteError: If the folder cannot be written.
    """
    with writing(root / FRAMES / study):
        for path in (root / FRAMES / study).glob("*"):
            if path.relative_to(root).as_posix() not in files:
                path.unlink(missing_ok=True)


class CacheWriter:
    """The book-keeping of a cache that is being made; one process at a time, or one per shard.

    Shards are made and refreshed under the commit lock.

    Args:
        root: Cache folder; made if needed.
        recipe: Settings, plain JSON values.
        recipe_hash: Short digest of the settings.
        shard: Part of the job that this process does; None for all of it.

    Raises:
        CacheError: If the folder holds a cache made by another recipe (names what differs), or
            files of something else.
        CacheWriteError: If the folder cannot be written.
    """

    def __init__(
        self, root: Path, recipe: dict[str, Any], recipe_hash: str, shard: Shard | None = None
    ) -> None:
        self.root = root
        self.recipe = recipe
        self.recipe_hash = recipe_hash
        self._journal = Journal(root / journal_file(shard))
        self.finished: dict[str, Entry] = {}
        self._newest = 0
        journals = self._read()
        if not journals:
            _refuse_strangers(root)
        with writing(root):
            (root / FRAMES).mkdir(parents=True, exist_ok=True)
            if shard is None:
                remove_leftovers(root)
        if not journals.get(self._journal.path.name):
            self._append({"recipe": recipe, "recipe_hash": recipe_hash, "format": FORMAT})

    def refresh(self) -> None:
        """Learn what other shards have finished meanwhile.

        Raises:
            CacheError: If one of them follows another recipe.
        """
        self._read()

    def _read(self) -> dict[str, list[Entry]]:
        journals = read_journals(self.root)
        for entries in journals.values():
            if entries:
                self._check_recipe(entries[0])
        self.finished = latest_entries(journals.values())
        self._newest = max(self._newest, newest_time(journals.values()))
        return journals

    def _check_recipe(self, header: dict[str, Any]) -> None:
        if header.get("recipe_hash") == self.recipe_hash and header.get("format") == FORMAT:
            return
        changes = "; ".join(differing_settings(header.get("recipe", {}), self.recipe))
        raise CacheError(
            f"cache {self.root} was made by another recipe ({changes or 'another version'}); "
            "choose another cache folder, or delete this one to make it anew"
        )

    def finish(self, study: str, entry: dict[str, Any]) -> None:
        """Note that a study is done; a later entry for the same study replaces an earlier one.

        Raises:
            CacheWriteError: If the journal cannot be written.
        """
        self.finished[study] = {"study": study, **entry}
        self._append({**self.finished[study], "at": self._now()})

    def withdraw(self, studies: Sequence[str]) -> None:
        """Note that studies will be prepared (again), and remove what a killed worker left there.

        Until the next commit the folder is not a cache.

        Args:
            studies: Their ids.

        Raises:
            CacheWriteError: If the folder cannot be written.
        """
        if not studies:
            return
        for study in studies:
            if self.finished.pop(study, None) is not None:
                self._append({"study": study, "redo": True, "at": self._now()})
        self.reopen()
        with writing(self.root / FRAMES):
            for study in studies:
                remove_leftovers(self.root / FRAMES / study)

    def tidy(self) -> None:
        """Remove what a killed commit left beside the frames; only under the commit lock.

        Raises:
            CacheWriteError: If the folder cannot be written.
        """
        with writing(self.root):
            for path in self.root.glob(f".*{TEMPORARY}"):
                path.unlink(missing_ok=True)

    def _now(self) -> int:
        """Return a time after all that was written before, even if a clock was or is wrong."""
        self._newest = max(time.time_ns(), self._newest + 1)
        return self._newest

    def _append(self, entry: dict[str, Any]) -> None:
        with writing(self._journal.path):
            self._journal.append(entry)

    def is_committed(self) -> bool:
        """Tell whether the folder can be opened as a cache now."""
        return (self.root / INDEX_FILE).exists()

    def reopen(self) -> None:
        """Withdraw the index: until the next commit the folder is not a cache.

        Raises:
            CacheWriteError: If the folder cannot be written.
        """
        with writing(self.root / INDEX_FILE):
            (self.root / INDEX_FILE).unlink(missing_ok=True)

    def commit(
        self,
        studies: Sequence[CachedStudy],
        modalities: Sequence[str],
        spacing_mm: float,
        rejected: int,
        label_schemes: Mapping[str, LabelScheme] = MappingProxyType({}),
    ) -> bool:
        """Write the index, which makes the folder a cache; return whether anything changed.

        The file of the studies comes first, under a name of its own: until ``index.json`` names it,
        the folder is what it was before.

        Args:
            studies: What is stored, in manifest order.
            modalities: Vocabulary in template order.
            spacing_mm: Edge of a voxel.
            rejected: Number of files set aside.
            label_schemes: What the values of annotations mean, by name.

        Raises:
            CacheWriteError: If it cannot be written.
        """
        entry, content = studies_entry(studies)
        index = {
            "format": INDEX_FORMAT,
            "recipe": self.recipe,
            "recipe_hash": self.recipe_hash,
            "modalities": list(modalities),
            "spacing_mm": spacing_mm,
            "rejected": rejected,
            "label_schemes": {name: scheme.to_json() for name, scheme in label_schemes.items()},
            **entry,
        }
        is_new = write_if_changed(self.root / entry["studies_file"], content)
        is_new |= write_if_changed(self.root / INDEX_FILE, encode_index(index))
        with writing(self.root):
            for old in self.root.glob(_ALL_STUDIES):
                if old.name != entry["studies_file"]:
                    old.unlink()
        return is_new


def _refuse_strangers(root: Path) -> None:
    names = (path.name for path in root.glob("*"))
    strangers = sorted(name for name in names if not _is_own(name))
    if strangers:
        raise CacheError(
            f"{root} is no cache but holds other files ({', '.join(strangers[:3])}); "
            "choose an empty or new folder"
        )


def _is_own(name: str) -> bool:
    is_listed = name in {FRAMES, *TABLES} or fnmatch(name, _ALL_STUDIES)
    return is_listed or is_lock(name) or is_journal(name)


def differing_settings(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return one phrase for each setting whose value differs, such as ``spacing_mm: 1 -> 2``."""
    changes: list[str] = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changes += differing_settings(before, after, f"{prefix}{key}.")
        elif before != after:
            changes.append(f"{prefix}{key}: {json.dumps(before)} there, {json.dumps(after)} here")
    return changes


__all__ = [
    "CacheWriter",
    "differing_settings",
    "remove_strays",
    "write_frame",
    "write_if_changed",
    "write_table",
]
