"""What a run of ours says of its templates: modalities, scale and place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def mapping_of(value: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a file says
    """Return a mapping as a dictionary, an empty one for anything else."""
    return dict(value) if isinstance(value, Mapping) else {}


def template_options(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the templates in the configuration of a pre-training."""
    method = mapping_of(configuration.get("method"))
    return mapping_of(mapping_of(method.get("init_args")).get("templates"))


def place_of_templates(tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return modalities and affine of templates; voxel ``shape // 2`` lies at their centre."""
    shape = tensors["method.templates.values"].shape[1:]
    spacing = tensors.get("method.templates.spacing_mm", torch.ones(3)).double()
    centre = tensors.get("method.templates.centre_mm", torch.zeros(3)).double()
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = spacing.diag()
    affine[:3, 3] = centre - spacing * torch.tensor([side // 2 for side in shape])
    modalities = options.get("modalities")
    if not modalities:
        return {}
    entry = {"modalities": list(modalities), "affine": affine.tolist()}
    return {"templates": {**entry, "rescale": str(options.get("rescale", "raw"))}}


def reference_voxel(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the voxel of templates that lies at their centre, where it is not ``shape // 2``."""
    voxel = tensors.get("templates.reference_voxel")
    return {} if voxel is None else {"reference_voxel": voxel.tolist()}
