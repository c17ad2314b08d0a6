"""Where the voxels of a stored study lie, and the volumes that networks see of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from numpy.typing import NDArray

from brainmvp_lightning.batches import FileGeometry, Matrix, Size, StudyGeometry
from brainmvp_lightning.volumes.records import CachedScan, CachedStudy


def study_geometry(
    study: CachedStudy,
    modalities: Sequence[str],
    files: Mapping[str, Path] = MappingProxyType({}),
) -> StudyGeometry:
    """Return all that leads from the stored box back to the files.

    Args:
        study: Whose geometry.
        modalities: Scans to tell about; those the study lacks are left out.
        files: Where files are, by modality; by default where the study says.
    """
    return StudyGeometry(
        affine=[list(row) for row in study.affine],
        shape=list(study.shape),
        box_start=list(study.box_start),
        full_shape=list(study.full_shape),
        scans=[
            _file_geometry(study.scan(name), files)
            for name in modalities
            if name in study.modalities
        ],
        label=None if study.label is None else _file_geometry(study.label, files),
    )


def _file_geometry(scan: CachedScan, files: Mapping[str, Path]) -> FileGeometry:
    source = scan.source
    identity: Matrix = np.eye(4).tolist()
    return FileGeometry(
        modality=scan.modality,
        path=str(files.get(scan.modality, source["path"])),
        affine=[[float(value) for value in row] for row in source["affine"]],
        shape=[int(edge) for edge in source["shape"]],
        axcodes=str(source["axcodes"]),
        to_study=source.get("to_study") or identity,
    )


def padded_box(shape: Size, least: Size) -> tuple[Size, Size]:
    """Return start and size of the volume that holds a stored box and at least `least` voxels."""
    pads = [max(0, edge - extent) for extent, edge in zip(shape, least, strict=True)]
    start = (-(pads[0] // 2), -(pads[1] // 2), -(pads[2] // 2))
    return start, (shape[0] + pads[0], shape[1] + pads[1], shape[2] + pads[2])


def resize(image: NDArray[np.float32], shape: Size) -> NDArray[np.float32]:
    """Interpolate linearly to another number of voxels; outer edges stay where they are.

    Args:
        image: ``n c x y z``.
        shape: Voxels along x, y, z.
    """
    resized = F.interpolate(
        torch.from_numpy(image), size=shape, mode="trilinear", align_corners=False
    )
    array: NDArray[np.float32] = resized.numpy()
    return array
