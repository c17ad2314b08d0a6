"""Released BrainMVP checkpoints to our names and axes.

The UniFormer of the release turns its input from (H, W, D) to (D, H, W), hence the kernels of its
encoder are stored in that order, and so is the one by which the segmentation head projects the
image; all others of its decoders are not, nor those of UNET3D.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.published_names import (
    unet3d_decoder_name,
    unet3d_encoder_name,
    uniformer_decoder_name,
    uniformer_encoder_name,
    uniunet_head_name,
)

TEMPLATES = "rep_template"

_Namer = Callable[[str], str | None]


def _nameless(name: str) -> None:
    del name


@dataclass(frozen=True)
class PublishedLayout:
    """One kind of released checkpoint."""

    title: str
    marker: str
    """A tensor that only this kind has."""
    network: str
    """Kind of encoder: ``"uniformer"`` or ``"unet3d"``."""
    encoder_prefix: str
    encoder_name: _Namer
    decoder_prefix: str
    decoder_name: _Namer
    has_turned_kernels: bool
    """Whether the axes of the kernels that see the image turned are z x y."""
    head_name: _Namer = _nameless
    """Name of a tensor in `heads.uniunet.UniUnet`."""
    leftover_prefixes: tuple[str, ...] = ()
    leftover: str = ""
    """Why tensors with these prefixes are not used where we have no name for them."""


@dataclass(frozen=True)
class TranslatedTensor:
    """What became of one tensor of a released checkpoint."""

    source: str
    target: str | None
    shape: tuple[int, ...]
    status: str


@dataclass(frozen=True)
class Translation:
    """A released checkpoint under our names."""

    layout: PublishedLayout
    tensors: dict[str, Tensor]
    """What was pre-trained: ``encoder.*``, ``decoder.*`` and ``templates``."""
    head: dict[str, Tensor]
    """What answers the task of a fine-tuned network: ``head.*``."""
    rows: tuple[TranslatedTensor, ...]


LAYOUTS = (
    PublishedLayout(
        title="published BrainMVP, UniFormer pre-training",
        marker="encoder.uniformer.patch_embed1.proj.weight",
        network="uniformer",
        encoder_prefix="encoder.uniformer.",
        encoder_name=uniformer_encoder_name,
        decoder_prefix="decoder.",
        decoder_name=uniformer_decoder_name,
        has_turned_kernels=True,
        leftover_prefixes=("decoder.",),
        leftover="serves skip connections, which pre-training does not have",
    ),
    PublishedLayout(
        title="published BrainMVP, UNET3D pre-training",
        marker="conv1a.weight",
        network="unet3d",
        encoder_prefix="",
        encoder_name=unet3d_encoder_name,
        decoder_prefix="",
        decoder_name=unet3d_decoder_name,
        has_turned_kernels=False,
    ),
    PublishedLayout(
        title="published BrainMVP, UniFormer fine-tuning (UniUnet)",
        marker="encoder.patch_embed1.proj.weight",
        network="uniformer",
        encoder_prefix="encoder.",
        encoder_name=uniformer_encoder_name,
        decoder_prefix="decoder.",
        decoder_name=_nameless,
        has_turned_kernels=True,
        head_name=uniunet_head_name,
        leftover_prefixes=("decoder.", "ms_out."),
        leftover="belongs to the segmentation decoder",
    ),
)


def detect_layout(names: Collection[str]) -> PublishedLayout | None:
    """Return the kind of released checkpoint that has tensors of these names, if any."""
    return next((layout for layout in LAYOUTS if layout.marker in names), None)


def translate(tensors: Mapping[str, Tensor]) -> Translation:
    """Rename the tensors of a released checkpoint and turn its kernels to ``x y z``.

    Args:
        tensors: As read from the file, without a leading ``module.``.

    Returns:
        Tensors under our names, and a row for each tensor read. Those of a segmentation head are
        kept apart: they go with its task, not into a file of pre-trained weights.

    Raises:
        WeightsError: If the names are not those of a released checkpoint.
    """
    layout = detect_layout(tensors)
    if layout is None:
        known = ", ".join(layout.title for layout in LAYOUTS)
        raise WeightsError(
            f"its tensors ({', '.join(list(tensors)[:2])}, ...) are not those of a known layout; "
            f"known are: {known}"
        )
    translated: dict[str, Tensor] = {}
    rows = []
    for source, tensor in tensors.items():
        target, is_turned = _target(layout, source, tensor)
        if target is not None:
            translated[target] = tensor.permute(0, 1, 3, 4, 2) if is_turned else tensor
        status = _status(layout, source, target, is_turned)
        rows.append(TranslatedTensor(source, target, tuple(tensor.shape), status))
    head = {name: tensor for name, tensor in translated.items() if name.startswith("head.")}
    pretrained = {name: tensor for name, tensor in translated.items() if name not in head}
    return Translation(layout, pretrained, head, tuple(rows))


def _target(layout: PublishedLayout, source: str, tensor: Tensor) -> tuple[str | None, bool]:
    """Return our name, if there is one, and whether axes must be turned."""
    if source == TEMPLATES:
        return "templates", False
    if source.startswith(layout.encoder_prefix):
        name = layout.encoder_name(source.removeprefix(layout.encoder_prefix))
        if name is not None:
            return f"encoder.{name}", layout.has_turned_kernels and tensor.ndim == 5
    if source.startswith(layout.decoder_prefix):
        name = layout.decoder_name(source.removeprefix(layout.decoder_prefix))
        if name is not None:
            return f"decoder.{name}", False
    name = layout.head_name(source)
    if name is not None:
        reads_image = name.startswith("project.conv.") and tensor.ndim == 5
        return f"head.{name}", layout.has_turned_kernels and reads_image
    return None, False


def _status(layout: PublishedLayout, source: str, target: str | None, is_turned: bool) -> str:
    if target is None or target.startswith("head."):
        is_known = source.startswith(layout.leftover_prefixes)
        return f"not used: {layout.leftover if is_known else 'unknown name'}"
    return "imported, axes turned from z x y" if is_turned else "imported"
