"""Annotations as they were drawn: on the grid of their own file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainmvp_lightning.datamodules.targets import LabelTargets
from brainmvp_lightning.inference.geometry import study_geometry
from brainmvp_lightning.inference.regions import NativeAnnotation
from brainmvp_lightning.preprocessing.checks import read_label
from brainmvp_lightning.volumes.cache import CachedStudy
from brainmvp_lightning.volumes.errors import VolumeError


def read_annotation(
    folder: Path, study: CachedStudy, targets: LabelTargets, scheme: str
) -> NativeAnnotation:
    """Read the file that a study's annotation was prepared from.

    Args:
        folder: The cache's; paths of files are relative to it.
        study: Has an annotation.
        targets: What its values mean.
        scheme: Name of its label scheme.

    Raises:
        VolumeError: If the file is gone, or is no longer the one that was prepared.
    """
    geometry = study_geometry(study, ())["label"]
    if geometry is None:
        raise VolumeError(study.id, "it has no annotation", "leave it out of the test")
    path = folder / geometry["path"]
    volume = read_label(path)
    is_same = list(volume.shape) == geometry["shape"] and np.allclose(
        volume.affine, geometry["affine"], atol=1e-4
    )
    if not is_same:
        raise VolumeError(
            str(path), "its grid is not the one that was prepared", "prepare the cache again"
        )
    if _has_changed(path, study):
        raise VolumeError(
            str(path), "it has been changed since it was prepared", "prepare the cache again"
        )
    classes = targets.classes(volume.array, scheme)
    affine = np.asarray(geometry["to_study"]) @ np.asarray(volume.affine)
    x, y, z = np.linalg.norm(volume.affine[:3, :3], axis=0)
    return NativeAnnotation(
        regions=targets.overlapping(classes).astype(np.bool_),
        affine=affine,
        spacing_mm=(float(x), float(y), float(z)),
    )


def _has_changed(path: Path, study: CachedStudy) -> bool:
    source = study.label.source if study.label is not None else {}
    if "size" not in source:
        return False
    status = path.stat()
    return bool(status.st_size != source["size"])
