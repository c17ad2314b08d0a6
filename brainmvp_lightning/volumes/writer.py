"""Make a cache folder study by study; only a committed folder can be opened."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from brainmvp_lightning.volumes.atomic import remove_leftovers, sync_folder, write_bytes
from brainmvp_lightning.volumes.cache import FORMAT, INDEX_FILE
from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.frame import digest_of, encode_frame
from brainmvp_lightning.volumes.journal import Journal
from brainmvp_lightning.volumes.lock import LOCK_FILE
from brainmvp_lightning.volumes.records import CachedStudy, study_to_json
from brainmvp_lightning.volumes.write_errors import writing

JOURNAL_FILE = "journal.jsonl"
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


class CacheWriter:
    """The book-keeping of a cache that is being made; one process at a time.

    Args:
        root: Cache folder; made if needed.
        recipe: Settings, plain JSON values.
        recipe_hash: Short digest of the settings.

    Raises:
        CacheError: If the folder holds a cache made by another recipe (names what differs), or
            files of something else.
        CacheWriteError: If the folder cannot be written.
    """

    def __init__(self, root: Path, recipe: dict[str, Any], recipe_hash: str) -> None:
        self.root = root
        self.recipe = recipe
        self.recipe_hash = recipe_hash
        self._journal = Journal(root / JOURNAL_FILE)
        entries = self._journal.read()
        if entries:
            self._check_recipe(entries[0])
        else:
            _refuse_strangers(root)
        with writing(root):
            (root / FRAMES).mkdir(parents=True, exist_ok=True)
            remove_leftovers(root)
        if not entries:
            self._append({"recipe": recipe, "recipe_hash": recipe_hash, "format": FORMAT})
        self.finished = {entry["study"]: entry for entry in entries if "study" in entry}

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
        self._append(self.finished[study])

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
    ) -> bool:
        """Write the index, which makes the folder a cache; return whether anything changed.

        Raises:
            CacheWriteError: If it cannot be written.
        """
        index = {
            "format": FORMAT,
            "recipe": self.recipe,
            "recipe_hash": self.recipe_hash,
            "modalities": list(modalities),
            "spacing_mm": spacing_mm,
            "rejected": rejected,
            "studies": [study_to_json(study) for study in studies],
        }
        return write_if_changed(self.root / INDEX_FILE, json.dumps(index).encode())


def _refuse_strangers(root: Path) -> None:
    own = {LOCK_FILE, FRAMES, JOURNAL_FILE, *TABLES}
    strangers = sorted(path.name for path in root.glob("*") if path.name not in own)
    if strangers:
        raise CacheError(
            f"{root} is no cache but holds other files ({', '.join(strangers[:3])}); "
            "choose an empty or new folder"
        )


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file atomically unless it already says this; return whether it was written.

    Raises:
        CacheWriteError: If it cannot be written.
    """
    if path.exists() and path.read_bytes() == content:
        return False
    with writing(path):
        write_bytes(path, content)
        sync_folder(path.parent)
    return True


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Write a CSV table like `write_if_changed`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    return write_if_changed(path, text.getvalue().encode())


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


__all__ = ["CacheWriter", "differing_settings", "write_frame", "write_if_changed", "write_table"]
