"""Prepared studies on disk, read crop by crop."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.volumes.errors import CacheError, CacheWriteError, DamagedFrameError
from brainmvp_lightning.volumes.frame import decode_crop, read_frame
from brainmvp_lightning.volumes.records import (
    PERCENTILE_KEYS,
    PERCENTILES,
    CachedScan,
    CachedStudy,
    Clip,
    study_from_json,
)

__all__ = [
    "PERCENTILES",
    "PERCENTILE_KEYS",
    "Cache",
    "CacheError",
    "CacheWriteError",
    "CachedScan",
    "CachedStudy",
    "Clip",
    "DamagedFrameError",
]

INDEX_FILE = "index.json"
FORMAT = 1


@dataclass(frozen=True)
class Cache:
    """A finished cache folder. It keeps no file open, so it can be pickled to data workers.

    Args:
        path: The folder.
        recipe: Settings it was made with.
        recipe_hash: Short digest of these settings.
        modalities: Vocabulary in template order: the published names, then extra ones.
        spacing_mm: Edge of a voxel; all volumes are isotropic.
        studies: What is stored, in manifest order.
        rejected: Number of files set aside while preparing; ``rejected.csv`` lists them.
    """

    path: Path
    recipe: dict[str, Any]
    recipe_hash: str
    modalities: tuple[str, ...]
    spacing_mm: float
    studies: tuple[CachedStudy, ...]
    rejected: int

    @classmethod
    def open(cls, path: str | Path, recipe_hash: str | None = None) -> Cache:
        """Read the index of a finished cache.

        Args:
            path: Folder that ``brainmvp prepare`` wrote.
            recipe_hash: If given, the recipe the cache must have been made with.

        Raises:
            CacheError: If there is no finished cache, or it has another format or recipe.
        """
        with _collection_paused():
            index = _read_index(Path(path))
            studies = tuple(study_from_json(study) for study in index.pop("studies"))
        if recipe_hash is not None and recipe_hash != index["recipe_hash"]:
            raise CacheError(
                f"cache {path} was made by recipe {index['recipe_hash']}, wanted is {recipe_hash}; "
                f"its recipe is {json.dumps(index['recipe'])}. "
                "Prepare into another folder or change the wanted recipe"
            )
        return cls(
            path=Path(path),
            recipe=index["recipe"],
            recipe_hash=index["recipe_hash"],
            modalities=tuple(index["modalities"]),
            spacing_mm=float(index["spacing_mm"]),
            studies=studies,
            rejected=int(index["rejected"]),
        )

    def read_crop(
        self, study: CachedStudy, scan: CachedScan, start: Sequence[int], size: Sequence[int]
    ) -> NDArray[np.float32]:
        """Read a crop in real units, ``x y z``.

        Args:
            study: The study `scan` belongs to.
            scan: What to read.
            start: First voxel along x, y, z, counted in the stored box; may be negative or lie
                beyond its end: voxels outside the box get the scan's background value.
            size: Voxels along x, y, z.

        Raises:
            DamagedFrameError: If the stored file is missing or damaged.
        """
        return self._read(study, scan, start, size, (scan.slope, scan.intercept, scan.background))

    def read_unit_crop(
        self,
        study: CachedStudy,
        scan: CachedScan,
        start: Sequence[int],
        size: Sequence[int],
        clip: Clip,
    ) -> NDArray[np.float32]:
        """Read a crop, clipped at two percentiles and scaled to [0, 1], ``x y z``.

        Where both percentiles coincide, voxels at or above them become 1, the others 0. Voxels
        outside the stored box are 0. For the arguments and errors see `read_crop`.
        """
        lower, upper = scan.bounds(clip)
        if upper > lower:
            scale = 1.0 / (upper - lower)
            mapping = (scan.slope * scale, (scan.intercept - lower) * scale, 0.0)
            crop = self._read(study, scan, start, size, mapping)
            return np.clip(crop, 0.0, 1.0, out=crop)
        real = self._read(study, scan, start, size, (scan.slope, scan.intercept, -np.inf))
        return (real >= upper).astype(np.float32)

    def read_label_crop(
        self, study: CachedStudy, start: Sequence[int], size: Sequence[int]
    ) -> NDArray[Any]:
        """Read a crop of the annotation as integers, ``x y z``; outside the box it is 0.

        Raises:
            CacheError: If the study has no label.
            DamagedFrameError: If the stored file is missing or damaged.
        """
        if study.label is None:
            raise CacheError(f"study {study.id!r} has no label; choose studies that have one")
        frame = read_frame(self.path / study.label.file, study.label.digest)
        crop = np.zeros(tuple(size), np.dtype(study.label.dtype))
        inside = _overlap(study.shape, start, size)
        if inside is not None:
            crop[inside.target] = decode_crop(frame, inside.start, inside.stop)
        return crop

    def _read(
        self,
        study: CachedStudy,
        scan: CachedScan,
        start: Sequence[int],
        size: Sequence[int],
        mapping: tuple[float, float, float],
    ) -> NDArray[np.float32]:
        slope, intercept, outside = mapping
        frame = read_frame(self.path / scan.file, scan.digest)
        inside = _overlap(study.shape, start, size)
        if inside is None:
            return np.full(tuple(size), outside, np.float32)
        voxels = decode_crop(frame, inside.start, inside.stop)
        crop = np.empty(tuple(size), np.float32)
        if voxels.shape != crop.shape:
            crop.fill(outside)
        target = crop[inside.target]
        np.multiply(voxels, np.float32(slope), out=target)
        target += np.float32(intercept)
        return crop


@dataclass(frozen=True)
class _Overlap:
    start: tuple[int, ...]
    stop: tuple[int, ...]
    target: tuple[slice, ...]


def _overlap(shape: Sequence[int], start: Sequence[int], size: Sequence[int]) -> _Overlap | None:
    first = tuple(max(0, begin) for begin in start)
    last = tuple(
        min(edge, begin + extent) for edge, begin, extent in zip(shape, start, size, strict=True)
    )
    if any(a >= b for a, b in zip(first, last, strict=True)):
        return None
    target = tuple(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True))
    return _Overlap(first, last, target)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Halve the time to open a large index: none of its millions of objects is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads((path / INDEX_FILE).read_bytes())
    except FileNotFoundError as error:
        raise CacheError(
            f"{path} is not a finished cache (it has no {INDEX_FILE}); "
            "make one, or finish it, with 'brainmvp prepare --config ...'"
        ) from error
    except (OSError, ValueError) as error:
        raise CacheError(
            f"{path / INDEX_FILE} cannot be read ({error}); "
            "delete this file and run 'brainmvp prepare' with the same config again"
        ) from error
    if index.get("format") != FORMAT:
        raise CacheError(
            f"cache {path} has format {index.get('format')!r}, this version reads {FORMAT}; "
            "prepare it anew into an empty folder"
        )
    return index
