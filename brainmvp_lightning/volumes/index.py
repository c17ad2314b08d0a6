"""The studies of a cache in one file that opens at once, however many they are.

The file is mapped into memory, so that all processes of a machine share it: facts by which studies
are chosen lie in columns, the full record of a study is parsed when somebody asks for it.
"""

from __future__ import annotations

import json
import mmap
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import xxhash
from numpy.typing import NDArray

from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.records import CachedStudy, study_from_json, study_to_json

MAGIC = b"brainmvp studies 1\n"
ALIGNMENT = 64
MAX_PARSED = 256  # records kept by a process, some kilobytes each

Columns = dict[str, NDArray[Any]]


def encode_studies(studies: Sequence[CachedStudy]) -> bytes:
    """Return the file of some studies; the same bytes for the same studies.

    It holds a magic line, the length of a JSON header (8 bytes), the header (name, type, shape and
    place of each column), then the columns. ``records`` are the studies as JSON, one behind the
    other, ``offsets`` where each begins.
    """
    columns = {**_columns(studies), **_records(studies)}
    header: list[dict[str, Any]] = []
    place = 0
    for name, column in columns.items():
        header.append(
            {"name": name, "dtype": column.dtype.str, "shape": column.shape, "place": place}
        )
        place += _padded(column.nbytes)
    text = json.dumps(header).encode()
    text += b" " * (-(len(MAGIC) + 8 + len(text)) % ALIGNMENT)
    parts = [MAGIC, len(text).to_bytes(8, "little"), text]
    for column in columns.values():
        parts += [column.tobytes(), bytes(_padded(column.nbytes) - column.nbytes)]
    return b"".join(parts)


def digest_of_studies(content: bytes | memoryview | mmap.mmap) -> str:
    """Return the checksum that `StudyIndex` compares."""
    return xxhash.xxh3_64_hexdigest(content)


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _records(studies: Sequence[CachedStudy]) -> Columns:
    lines = [json.dumps(study_to_json(study), separators=(",", ":")).encode() for study in studies]
    offsets = np.zeros(len(lines) + 1, np.int64)
    np.cumsum([len(line) for line in lines], out=offsets[1:])
    return {"offsets": offsets, "records": np.frombuffer(b"".join(lines), np.uint8)}


def _columns(studies: Sequence[CachedStudy]) -> Columns:
    modalities = _names(study.modalities for study in studies)
    has = [[name in study.modalities for name in modalities] for study in studies]
    num = len(studies)
    columns: Columns = {
        "shape": np.array([study.shape for study in studies], np.int32).reshape(num, 3),
        "affine": np.array([study.affine for study in studies], np.float64).reshape(num, 4, 4),
        "has_label": np.array([study.label is not None for study in studies], np.bool_),
        "modalities": np.array(modalities, np.str_),
        "has_modality": np.array(has, np.bool_).reshape(num, len(modalities)),
        "id": np.array([study.id for study in studies], np.str_),
        "patient": np.array([study.patient for study in studies], np.str_),
    }
    for name in ("split", "dataset", "target_class", "label_scheme"):
        values = [getattr(study, name) or "" for study in studies]
        names = _names([values])
        number = {value: place for place, value in enumerate(names)}
        columns[f"{name}_names"] = np.array(names, np.str_)
        columns[name] = np.array([number[value] for value in values], np.int32)
    return columns


def _names(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


class StudyIndex(Sequence[CachedStudy]):
    """The studies of a cache, in manifest order.

    Pickling sends the path of the file, or what it held if it is gone.

    Args:
        content: What `encode_studies` returned, or a file that holds it.
        digest: The checksum it must have.
        name: What to call it in messages.

    Raises:
        CacheError: If the file is missing or not the one that was written.
    """

    def __init__(self, content: bytes | Path, digest: str, name: str = "") -> None:
        self._content = content
        self._digest = digest
        self._name = name or str(content)
        self._buffer = _map(content, self._name) if isinstance(content, Path) else content
        if digest_of_studies(self._buffer) != digest:
            raise _damaged(self._name, "its bytes are not those that were written")
        self._columns = _read_columns(self._buffer, self._name)
        self._parsed: OrderedDict[int, CachedStudy] = OrderedDict()

    def __reduce__(self) -> tuple[type[StudyIndex], tuple[bytes | Path, str, str]]:
        is_gone = isinstance(self._content, Path) and not self._content.exists()
        content = bytes(self._buffer) if is_gone else self._content
        return StudyIndex, (content, self._digest, self._name)

    def __len__(self) -> int:
        return len(self._columns["offsets"]) - 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StudyIndex) and other._digest == self._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    @overload
    def __getitem__(self, place: int) -> CachedStudy: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[CachedStudy]: ...

    def __getitem__(self, place: int | slice) -> CachedStudy | Sequence[CachedStudy]:
        if isinstance(place, slice):
            return StudySelection(self, np.arange(len(self))[place])
        place = range(len(self))[place]
        if place in self._parsed:
            self._parsed.move_to_end(place)
            return self._parsed[place]
        study = self._parse(place)
        self._parsed[place] = study
        if len(self._parsed) > MAX_PARSED:
            self._parsed.popitem(last=False)
        return study

    def __iter__(self) -> Iterator[CachedStudy]:
        return (self[place] for place in range(len(self)))

    def _parse(self, place: int) -> CachedStudy:
        start, stop = self._columns["offsets"][place : place + 2]
        return study_from_json(json.loads(self._columns["records"][start:stop].tobytes()))

    def column(self, name: str) -> NDArray[Any]:
        """Return a fact of all studies without parsing them, read-only.

        Args:
            name: ``id``, ``patient``, ``split``, ``dataset``, ``target_class`` and
                ``label_scheme`` (text; empty: none), ``has_label`` (bool), ``num_scans``, ``shape``
                (``n 3``), ``affine`` (``n 4 4``).
        """
        if name == "num_scans":
            counts: NDArray[Any] = self._columns["has_modality"].sum(axis=1)
            return counts
        values = self._columns[name]
        names = self._columns.get(f"{name}_names")
        return values if names is None else names[values]

    def has_modality(self, modality: str) -> NDArray[np.bool_]:
        """Return which studies have a scan of `modality`."""
        known = self._columns["modalities"] == modality
        return np.asarray(self._columns["has_modality"][:, known].any(axis=1), np.bool_)


class StudySelection(Sequence[CachedStudy]):
    """Some studies of an index, which still are parsed when asked for only.

    Args:
        whole: All studies.
        places: Which of them.
    """

    def __init__(self, whole: StudyIndex, places: NDArray[Any]) -> None:
        self.whole = whole
        self.places = np.asarray(places, np.int64)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> CachedStudy: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[CachedStudy]: ...

    def __getitem__(self, place: int | slice) -> CachedStudy | Sequence[CachedStudy]:
        if isinstance(place, slice):
            return StudySelection(self.whole, self.places[place])
        return self.whole[int(self.places[place])]

    def column(self, name: str) -> NDArray[Any]:
        """Return a fact of these studies; see `StudyIndex.column`."""
        chosen: NDArray[Any] = self.whole.column(name)[self.places]
        return chosen


def _map(file: Path, name: str) -> mmap.mmap:
    try:
        with file.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise _damaged(name, "there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise _damaged(name, f"it cannot be read ({error})") from error


def _read_columns(buffer: bytes | mmap.mmap, name: str) -> Columns:
    view = memoryview(buffer)
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise _damaged(name, "it is no list of studies that this version reads")
    start = len(MAGIC) + 8
    length = int.from_bytes(view[len(MAGIC) : start], "little")
    columns = {}
    for entry in json.loads(bytes(view[start : start + length])):
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        column = np.frombuffer(
            view, dtype, int(np.prod(shape)), offset=start + length + entry["place"]
        )
        columns[entry["name"]] = column.reshape(shape)
    return columns


def _damaged(name: str, reason: str) -> CacheError:
    return CacheError(
        f"{name}: {reason}; delete index.json beside it and run 'brainmvp prepare' with the same "
        "config again, which keeps all finished studies"
    )
