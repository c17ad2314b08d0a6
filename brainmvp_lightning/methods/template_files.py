"""Learned templates in files: our format of weights, or a folder of NIfTI files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume, read_nifti
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.export import read_weights

NIFTI_ENDS = (".nii.gz", ".nii")


class TemplateFile(NamedTuple):
    """Templates as they were read."""

    modalities: tuple[str, ...]
    volumes: Tensor
    """``s x y z``, float32 in [0, 1]."""
    spacing_mm: tuple[float, ...]
    """Edges of a voxel along x, y, z."""
    centre_mm: tuple[float, ...]
    """World coordinates (RAS) of voxel ``shape // 2``."""


def read_template_file(path: Path) -> TemplateFile:
    """Read templates; see `frozen_templates.load_templates`."""
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder of templates; check the path, such as "
            "run/encoder.safetensors or run/templates"
        )
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path} is neither a .safetensors file nor a folder of NIfTI files; pre-training "
            "writes both, encoder.safetensors and templates/, into its run folder"
        )
    return _read_weights(path)


def _read_weights(path: Path) -> TemplateFile:
    tensors, manifest = read_weights(path)
    if "templates" not in tensors:
        raise WeightsError(
            f"{path} has no templates, only weights of a network; name a file of a pre-training "
            "with templates, or none, which fills missing modalities with zeros"
        )
    return place_templates(path, tensors["templates"], manifest.get("templates") or {})


def place_templates(path: Path, volumes: Tensor, entry: Mapping[str, Any]) -> TemplateFile:
    """Return templates with their place, as a manifest tells it.

    Args:
        path: Where they are from, for messages.
        volumes: ``s x y z``.
        entry: ``modalities``, ``affine`` (voxel to world millimetres), and ``rescale``, which is
            ``minmax`` for templates that still are to be scaled.

    Raises:
        WeightsError: If the entry is not complete, or does not suit.
    """
    volumes = volumes.float()
    try:
        modalities = tuple(map(str, entry["modalities"]))
        affine = np.asarray(entry["affine"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: its manifest does not say which modalities its templates have and where they "
            "are; export or import the weights again"
        ) from error
    if volumes.ndim != 4 or len(volumes) != len(modalities):
        raise WeightsError(
            f"{path}: its templates have the shape {list(volumes.shape)}, which does not suit the "
            f"{len(modalities)} modalities in its manifest; export or import the weights again"
        )
    return _place(path, modalities, _as_images(volumes, entry.get("rescale", "clamp")), affine)


def _read_folder(folder: Path) -> TemplateFile:
    found = {
        path.name.removesuffix(end): path
        for end in NIFTI_ENDS
        for path in sorted(folder.glob(f"*{end}"))
    }
    if not found:
        raise WeightsError(
            f"{folder} has no templates, which are NIfTI files called after their modality, such "
            "as t1.nii.gz; name the folder 'templates' of a pre-training, or its .safetensors file"
        )
    volumes = {path: read_nifti(path) for path in found.values()}
    first = next(iter(volumes))
    for path, volume in volumes.items():
        _check_same_grid(volume, path, volumes[first], first)
    real = torch.stack([torch.from_numpy(volume.real().copy()) for volume in volumes.values()])
    affine = np.asarray(volumes[first].affine, np.float64)
    return _place(folder, tuple(found), _as_images(real.contiguous(), "clamp"), affine)


def _check_same_grid(volume: Volume, path: Path, other: Volume, other_path: Path) -> None:
    if volume.shape != other.shape or not np.allclose(volume.affine, other.affine, atol=1e-3):
        raise VolumeError(
            str(path), f"its grid is not that of {other_path.name}", "resample one to the other"
        )


def _place(
    path: Path,
    modalities: tuple[str, ...],
    volumes: Tensor,
    affine: np.ndarray[Any, np.dtype[np.float64]],
) -> TemplateFile:
    if not bool(volumes.isfinite().all()):
        raise WeightsError(f"{path}: its templates are not finite everywhere; use another file")
    is_upright = affine.shape == (4, 4) and np.allclose(
        affine[:3, :3], np.diag(np.diag(affine[:3, :3])), atol=1e-4
    )
    if not is_upright or np.diag(affine[:3, :3]).min() <= 0:
        raise WeightsError(
            f"{path}: the axes of its templates do not run to the right, front and top (RAS+), but "
            f"the affine is {affine.round(3).tolist()}; reorient them"
        )
    spacing = np.diag(affine)[:3]
    centre = affine[:3, 3] + spacing * (np.asarray(volumes.shape[1:]) // 2)
    return TemplateFile(modalities, volumes, tuple(spacing.tolist()), tuple(centre.tolist()))


def _as_images(volumes: Tensor, rescale: str) -> Tensor:
    """Bring templates to [0, 1].

    Source:
        Published code: each template by its own extremes; the small number is its own.
    """
    if rescale != "minmax":
        return volumes.clamp(0, 1)
    every = volumes.flatten(1)
    low, high = (limit.view(-1, 1, 1, 1) for limit in (every.amin(dim=1), every.amax(dim=1)))
    return (volumes - low) / (high - low + 1e-9)
