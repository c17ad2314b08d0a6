"""A network of each family, small enough for tests."""

from collections.abc import Callable
from functools import partial

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.swin_unetr import SwinUNETR
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.unetr import UNETR
from brainmvp_lightning.backbones.uniformer import UniFormer

Depths = tuple[int, int, int, int]


def small_networks(*, uniformer: Depths, swin: Depths) -> dict[str, Callable[[int], Backbone]]:
    """Return how to make each network for crops of 32^3; blocks of each stage as told."""
    return {
        "uniformer": partial(
            UniFormer, widths=(8, 8, 16, 16), depths=uniformer, head_width=8, drop_path=0.5
        ),
        "unet3d": partial(UNET3D, widths=(8, 16), depths=(1, 2)),
        "unetr": partial(
            UNETR,
            image_size=(32, 32, 32),
            hidden_width=24,
            num_layers=4,
            num_heads=2,
            mlp_width=32,
            fine_width=2,
        ),
        "swin_unetr": partial(
            SwinUNETR, width=6, depths=swin, num_heads=(1, 2, 2, 2), window_size=2
        ),
    }
