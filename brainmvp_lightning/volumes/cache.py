"""Prepared studies on disk, read crop by crop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.studies.labels import LabelScheme
from brainmvp_lightning.volumes.catalogue import INDEX_FILE, read_catalogue, read_schemes
from brainmvp_lightning.volumes.crops import fill_crop, map_crop, unit_crop
from brainmvp_lightning.volumes.errors import CacheError, CacheWriteError, DamagedFrameError
from brainmvp_lightning.volumes.frame import OpenFrame
from brainmvp_lightning.volumes.index import StudyIndex
from brainmvp_lightning.volumes.local_cache import LocalCache
from brainmvp_lightning.volumes.records import (
    PERCENTILE_KEYS,
    PERCENTILES,
    CachedScan,
    CachedStudy,
    Clip,
)
from brainmvp_lightning.volumes.store import FolderStore, RemoteStore, Store

__all__ = [
    "INDEX_FILE",
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

FORMAT = 1
"""Format of frames and journal."""


@dataclass(frozen=True)
class Cache:
    """A finished cache. It keeps no connection open, so it can be pickled to data workers.

    Args:
        path: The folder; of a cache far away its address.
        recipe: Settings it was made with.
        recipe_hash: Short digest of these settings.
        modalities: Vocabulary in template order: the published names, then extra ones.
        spacing_mm: Edge of a voxel; all volumes are isotropic.
        studies: What is stored, in manifest order; parsed study by study when asked for.
        rejected: Number of files set aside while preparing; ``rejected.csv`` lists them.
        label_schemes: What the values of annotations mean, by name.
        store: Source of its files.
    """

    path: Path
    recipe: dict[str, Any]
    recipe_hash: str
    modalities: tuple[str, ...]
    spacing_mm: float
    studies: StudyIndex
    rejected: int
    label_schemes: dict[str, LabelScheme]
    store: Store

    @classmethod
    def open(
        cls,
        path: str | Path,
        recipe_hash: str | None = None,
        *,
        local_cache: str | Path | None = None,
        local_cache_gb: float = 50.0,
    ) -> Cache:
        """Read the index of a finished cache.

        Args:
            path: Folder that ``brainmvp prepare`` wrote, or its address, such as
                ``s3://bucket/cache`` or ``https://host/cache``.
            recipe_hash: If given, the recipe the cache must have been made with.
            local_cache: Folder for copies of what is read from an address; None keeps none.
            local_cache_gb: Size of the copies of images together, in 10^9 bytes; those not used
                for longest go first. The lists of studies, some megabytes each, come on top.

        Raises:
            CacheError: If there is no finished cache, it is damaged, has another format or recipe,
                or a package for its address is missing.
        """
        store: Store = FolderStore(Path(path))
        if "://" in str(path):
            copies = (
                LocalCache(Path(local_cache), int(local_cache_gb * 1e9)) if local_cache else None
            )
            store = RemoteStore(str(path), copies)
        index, studies = read_catalogue(store, str(path))
        store.close()
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
            label_schemes=read_schemes(index, str(path)),
            store=store,
        )

    def open_frame(self, study: CachedStudy, scan: CachedScan) -> OpenFrame:
        """Read a stored volume and check it; crops are decoded when asked for.

        Raises:
            DamagedFrameError: If the stored file is missing or damaged, or of another study.
        """
        frame = OpenFrame(self.store.read_checked(scan.file, scan.digest))
        if frame.shape != study.shape:
            raise DamagedFrameError(
                f"{scan.file} has {frame.shape} voxels, study {study.id!r} {study.shape}; "
                "prepare the cache anew into an empty folder"
            )
        return frame

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
        frame = self.open_frame(study, scan)
        return map_crop(frame, start, size, (scan.slope, scan.intercept, scan.background))

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
        return unit_crop(self.open_frame(study, scan), scan, start, size, clip)

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
        frame = self.open_frame(study, study.label)
        crop = np.empty(tuple(size), np.dtype(study.label.dtype))
        fill_crop(frame, start, crop, 0)
        return crop
