"""What a released BrainMVP checkpoint is, as far as its tensors and the release tell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.published import Translation

TEMPLATE_MODALITIES = ("flair", "t1", "t1ce", "t2", "mra", "pd", "dwi", "adc")
NUM_STAGES = 4

# Supplement B.1; the percentiles are those of the published code, the paper states 1 and 99.
RECIPE = {
    "orientation": "RAS",
    "spacing_mm": [1.0, 1.0, 1.0],
    "is_skull_stripped": True,
    "clip_percentiles": [5.0, 95.0],
}


def encoder_options(translation: Translation) -> dict[str, Any]:
    """Return the constructor arguments of the encoder that the tensors belong to.

    Raises:
        WeightsError: If a stage lacks the convolution it begins with, or its blocks.
    """
    entry = "entry.conv" if translation.layout.network == "uniformer" else "entry"
    names = [f"encoder.stages.{stage}.{entry}.weight" for stage in range(NUM_STAGES)]
    kernels = [translation.tensors[name] for name in names if name in translation.tensors]
    depths = [_num_blocks(translation.tensors, stage) for stage in range(NUM_STAGES)]
    if len(kernels) < NUM_STAGES or 0 in depths or any(kernel.ndim != 5 for kernel in kernels):
        raise WeightsError(
            "some of its four stages lack their first convolution or their blocks; get it again"
        )
    widths = [kernel.shape[0] for kernel in kernels]
    return {"in_channels": kernels[0].shape[1], "widths": widths, "depths": depths}


def release_manifest(translation: Translation, path: Path) -> dict[str, Any]:
    """Return what to say in the manifest of an imported checkpoint.

    Args:
        translation: Its tensors under our names.
        path: The file they were read from, kept as a digest.

    Raises:
        WeightsError: If the templates are not as released.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest: dict[str, Any] = {
        "source": {"layout": translation.layout.title, "file": path.name, "sha256": digest},
        "recipe": RECIPE,
        "modalities": list(TEMPLATE_MODALITIES),
    }
    if "templates" in translation.tensors:
        manifest["templates"] = _describe_templates(translation.tensors["templates"])
    return manifest


def _describe_templates(templates: Tensor) -> dict[str, Any]:
    """Return modality names and geometry of templates ``s x y z``.

    The file tells neither. Images were RAS at 1 mm and centred in the grid of the templates, whose
    voxel ``shape // 2`` we put at the origin of the world.
    """
    if templates.ndim != 4 or len(templates) != len(TEMPLATE_MODALITIES):
        raise WeightsError(
            f"its templates should be {len(TEMPLATE_MODALITIES)} volumes, got shape "
            f"{list(templates.shape)}"
        )
    affine = [[float(row == column) for column in range(4)] for row in range(4)]
    for axis, side in enumerate(templates.shape[1:]):
        affine[axis][3] = -float(side // 2)
    # The published code scales each template by its own extremes before it is used.
    return {"modalities": list(TEMPLATE_MODALITIES), "affine": affine, "rescale": "minmax"}


def _num_blocks(tensors: Mapping[str, Tensor], stage: int) -> int:
    prefix = f"encoder.stages.{stage}.blocks."
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})
