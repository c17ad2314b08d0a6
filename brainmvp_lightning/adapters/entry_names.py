"""Names for the cases of a list that gives them none, so that no two people share one."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from os.path import commonprefix
from pathlib import Path

from brainmvp_lightning.adapters.image_names import (
    CHANNEL,
    SEPARATORS,
    WORD,
    parse_image_name,
    stem,
)
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError

# Folders of BIDS that say what kind of image lies there, not whose.
_KINDS = frozenset({"anat", "dwi", "swi", "perf", "func", "fmap"})


@dataclass(frozen=True)
class EntryFiles:
    """The files of one entry of a list.

    Args:
        paths: All of its images, at least one.
        modalities: Canonical name of each image that is used, and the file it is in.
        is_named: Whether the list names the modalities; the names of files do not, then.
    """

    paths: Sequence[Path]
    modalities: Collection[tuple[str, Path]]
    is_named: bool


@dataclass(frozen=True)
class _Key:
    """Whose images an entry holds: entries with the same key belong together."""

    folders: tuple[str, ...]
    base: str
    number: int = 0

    def name(self, depth: int) -> str:
        """Join the nearest folders, the name in the files and the number."""
        folders = self.folders[len(self.folders) - depth :]
        parts = (*folders, self.base, str(self.number) if self.number else "")
        return "_".join(part for part in parts if part) or "case"


def name_entries(entries: Sequence[EntryFiles], vocabulary: ModalityVocabulary) -> list[str]:
    """Return a name for each entry.

    Entries get the same name only if their files lie in the same place, are called the same but
    for the modality, and are of different modalities: ``t1/c_t1`` and ``t2/c_t2``. A name that
    others have gets the folders around it in front, as many as it takes.

    Args:
        entries: Entries in the order of the list.
        vocabulary: Modality names that do not belong to the case.
    """
    keys = [_Key(_folders(entry, vocabulary), _short_name(entry, vocabulary)) for entry in entries]
    for place in _clashing(entries, keys):
        keys[place] = replace(keys[place], base=_full_name(entries[place], vocabulary))
    for place in _clashing(entries, keys):
        keys[place] = replace(keys[place], number=place + 1)
    names = _distinct_names(dict.fromkeys(keys))
    return [names[key] for key in keys]


def _clashing(entries: Sequence[EntryFiles], keys: Sequence[_Key]) -> list[int]:
    """Return the entries that cannot be of one case: they hold a modality in different files."""
    groups: dict[_Key, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        groups[key].append(place)
    clashing = []
    for places in groups.values():
        files = {file for place in places for file in entries[place].modalities}
        if len(places) > 1 and max(Counter(modality for modality, _ in files).values()) > 1:
            clashing += places
    return clashing


def _distinct_names(keys: Iterable[_Key]) -> dict[_Key, str]:
    depths = {key: 0 if key.base else min(1, len(key.folders)) for key in keys}
    while True:
        names = {key: key.name(depth) for key, depth in depths.items()}
        counts = Counter(names.values())
        shared = [key for key in names if counts[names[key]] > 1 and depths[key] < len(key.folders)]
        if not shared:
            return _number_the_rest(names)
        for key in shared:
            depths[key] += 1


def _number_the_rest(names: dict[_Key, str]) -> dict[_Key, str]:
    """Tell apart what is spelt alike once it is joined, such as ``a_b/c`` and ``a/b_c``."""
    taken: set[str] = set()
    for key, name in names.items():
        candidates = (name if number == 1 else f"{name}_{number}" for number in count(1))
        names[key] = next(candidate for candidate in candidates if candidate not in taken)
        taken.add(names[key])
    return names


def _short_name(entry: EntryFiles, vocabulary: ModalityVocabulary) -> str:
    """Return what the names of an entry's files share; empty if that is nothing."""
    names = {_case(path, entry.is_named, vocabulary) for path in entry.paths}
    return names.pop() if len(names) == 1 else _shared_words([stem(path) for path in entry.paths])


def _case(path: Path, is_named: bool, vocabulary: ModalityVocabulary) -> str:
    text = stem(path)
    try:
        name = None if is_named else parse_image_name(path, vocabulary)
    except UnknownModalityError:
        name = None
    if name is None:
        return CHANNEL.sub("", text)
    # What was done to an image can stand after the modality (T1_n4), or a number (T1_001).
    is_numbered = any(word.isdecimal() for word in WORD.findall(name.rest))
    return f"{name.case}_{name.rest}".strip(SEPARATORS) if is_numbered else name.case


def _shared_words(names: Sequence[str]) -> str:
    start = commonprefix(names)  # noqa: RUF071 - characters are meant
    if all(name == start or name[len(start)] in SEPARATORS for name in names):
        return start.rstrip(SEPARATORS)
    return re.sub(r"[^_\-.\s]*$", "", start).rstrip(SEPARATORS)


def _full_name(entry: EntryFiles, vocabulary: ModalityVocabulary) -> str:
    """Return the name of an entry's files, without the modality where that is how it is known."""
    first = stem(entry.paths[0])
    if entry.is_named:
        return first
    names = {_without_modality(path, vocabulary) for path in entry.paths}
    return names.pop() if len(names) == 1 else first


def _without_modality(path: Path, vocabulary: ModalityVocabulary) -> str:
    try:
        name = parse_image_name(path, vocabulary)
    except UnknownModalityError:
        return stem(path)
    return f"{name.case}_{name.rest}".strip(SEPARATORS)


def _folders(entry: EntryFiles, vocabulary: ModalityVocabulary) -> tuple[str, ...]:
    """Return the folders around an entry, without what they say about the kind of image."""
    first = entry.paths[0]
    parts = Path(os.path.abspath(first)).parent.parts[1:]  # noqa: PTH100 - resolve() would follow links
    parts = tuple(part for part in parts if part not in _KINDS)
    if entry.is_named:
        return parts
    modality = next((name for name, path in entry.modalities if path == first), None)
    parts = tuple(_without_ending(part, modality, vocabulary) for part in parts)
    return tuple(part for part in parts if part)


@lru_cache(maxsize=4096)  # most folders are those of other entries, too
def _without_ending(text: str, modality: str | None, vocabulary: ModalityVocabulary) -> str:
    """Cut a modality off the end of a folder's name: ``IXI-T1``."""
    for word in WORD.finditer(text):
        try:
            if vocabulary.parse(text[word.start() :]) == modality:
                return text[: word.start()].rstrip(SEPARATORS)
        except UnknownModalityError:
            continue
    return text
