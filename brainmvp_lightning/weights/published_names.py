"""Names in the released BrainMVP checkpoints to names in our networks."""

from __future__ import annotations

import re

_CONVOLUTION_BLOCK = {
    "pos_embed": "position",
    "norm1": "mixing.norm",
    "conv1": "mixing.fc1",
    "attn": "mixing.depthwise",
    "conv2": "mixing.fc2",
    "norm2": "mlp.norm",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_ATTENTION_BLOCK = {
    "pos_embed": "position",
    "norm1": "attention.norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.project",
    "norm2": "mlp.norm",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_UNET3D_LEVELS = 4


def uniformer_encoder_name(name: str) -> str | None:
    """Return our name of a tensor of the UniFormer encoder, given without its prefix."""
    if re.fullmatch(r"norm\.\w+", name):
        return name
    if match := re.fullmatch(r"patch_embed([1-4])\.(proj|norm)\.(\w+)", name):
        layer = {"proj": "conv", "norm": "norm"}[match[2]]
        return f"stages.{int(match[1]) - 1}.entry.{layer}.{match[3]}"
    if match := re.fullmatch(r"blocks([1-4])\.(\d+)\.([\w.]+)\.(\w+)", name):
        parts = _CONVOLUTION_BLOCK if int(match[1]) <= 2 else _ATTENTION_BLOCK
        if match[3] in parts:
            return f"stages.{int(match[1]) - 1}.blocks.{match[2]}.{parts[match[3]]}.{match[4]}"
    return None


def uniformer_decoder_name(name: str) -> str | None:
    """Return our name of a tensor of the reconstruction decoder, given without its prefix."""
    if match := re.fullmatch(r"decoder([2-5])\.transp_conv\.conv\.(\w+)", name):
        return f"up.{5 - int(match[1])}.{match[2]}"
    if match := re.fullmatch(r"out_1\.conv\.conv\.(\w+)", name):
        return f"out.{match[1]}"
    return None


def uniunet_head_name(name: str) -> str | None:
    """Return our name of a tensor of the segmentation head of UniUnet."""
    if match := re.fullmatch(
        r"decoder\.decoder([2-5])\.((?:transp_conv|conv_block)\.[\w.]+)", name
    ):
        return f"up.{5 - int(match[1])}.{match[2]}"
    if match := re.fullmatch(r"decoder\.proj1\.(proj|norm)\.(\w+)", name):
        layer = {"proj": "conv", "norm": "norm"}[match[1]]
        return f"project.{layer}.{match[2]}"
    if match := re.fullmatch(r"decoder\.out\.conv\.conv\.(\w+)", name):
        return f"out.{match[1]}"
    if match := re.fullmatch(r"ms_out\.(\d+)\.(\w+)", name):
        return f"auxiliary.{match[1]}.{match[2]}"
    return None


def unet3d_encoder_name(name: str) -> str | None:
    """Return our name of a tensor of the UNET3D encoder."""
    if match := re.fullmatch(r"conv1a\.(\w+)", name):
        return f"stages.0.entry.{match[1]}"
    if match := re.fullmatch(r"ds([1-3])\.(\w+)", name):
        return f"stages.{match[1]}.entry.{match[2]}"
    if match := re.fullmatch(r"conv([1-4])([a-d])\.([\w.]+)", name):
        level = int(match[1]) - 1
        # The first convolution of level 1 is called conv1a, its only block conv1b.
        block = "abcd".index(match[2]) - (level == 0)
        return f"stages.{level}.blocks.{block}.{_norms(match[3])}"
    return None


def unet3d_decoder_name(name: str) -> str | None:
    """Return our name of a tensor of the UNET3D decoder."""
    if match := re.fullmatch(r"up([2-4])conva\.(\w+)", name):
        return f"up.{_UNET3D_LEVELS - int(match[1])}.{match[2]}"
    if match := re.fullmatch(r"up([2-4])convb\.([\w.]+)", name):
        return f"blocks.{_UNET3D_LEVELS - int(match[1])}.{_norms(match[2])}"
    if match := re.fullmatch(r"up1conv\.(\w+)", name):
        return f"out.{match[1]}"
    return None


def _norms(name: str) -> str:
    return re.sub(r"^gn([12])\.", r"norm\1.", name)
