"""Released BrainMVP checkpoints to our names and axes.

The UniFormer of the release turns its input from (H, W, D) to (D, H, W), hence the kernels of its
encoder are stored in that order; those of its decoder and of UNET3D are not.
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
)

TEMPLATES = "rep_template"

_Namer = Callable[[str], str | None]


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
    """Whether the axes of the encoder's kernels are z x y."""
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
    rows: tuple[TranslatedTensor, ...]


def _nameless(name: str) -> None:
    del name


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
        Tensors ``encoder.*``, ``decoder.*`` and ``templates``, and a row for each tensor read.

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
        if target is None:
            is_known = source.startswith(layout.leftover_prefixes)
            status = f"not used: {layout.leftover if is_known else 'unknown name'}"
        else:
            translated[target] = tensor.permute(0, 1, 3, 4, 2) if is_turned else tensor
            status = "imported, axes turned from z x y" if is_turned else "imported"
        rows.append(TranslatedTensor(source, target, tuple(tensor.shape), status))
    return Translation(layout, translated, tuple(rows))


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
    return None, False
