"""A network whose answer is a threshold of intensity, and images that suit it."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates
from brainmvp_lightning.preprocessing.recipe import Recipe

HERE = "tests.inference.tiny_networks"
RECIPE = Recipe(foreground="nonzero").to_json()
LEVEL = 0.5


class Unchanged(Backbone):
    """Features are the image."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.feature_channels = (in_channels,)
        self.strides = (1,)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image * self.scale]


class Brighter(TaskHead):
    """Output n is likely where the mean of the channels is above ``levels[n]``."""

    def __init__(
        self,
        backbone: Backbone,
        num_outputs: int,
        *,
        levels: tuple[float, ...] = (0.0, LEVEL),
        gain: float = 20.0,
    ) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.gain = gain
        self.register_buffer("levels", torch.tensor(levels))

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        mean = features[0].mean(dim=1, keepdim=True)
        levels: Any = self.levels
        steps = mean - levels.view(1, -1, 1, 1, 1)
        if levels[0] == 0:  # classes: the background is the reference
            steps = steps * (levels > 0).view(1, -1, 1, 1, 1)
        return [self.gain * steps]


class MeanOf(TaskHead):
    """Classifies by the mean intensity."""

    def __init__(self, backbone: Backbone, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        mean = features[0].mean(dim=(1, 2, 3, 4))
        return [torch.stack([mean * n for n in range(self.num_outputs)], dim=1)]


def describe(modalities: tuple[str, ...] = ("t1", "t2"), **changes: Any) -> LabelledDescription:
    options: dict[str, Any] = {
        "modalities": modalities,
        "spacing_mm": (1.0, 1.0, 1.0),
        "centre_mm": (0.0, 0.0, 0.0),
        "crop_size": (16, 16, 16),
        "num_outputs": 2,
        "region_names": ("lesion",),
        "label_names": ("background", "lesion"),
        "label_regions": ((), ("lesion",)),
        "clip": {"lower": 0.0, "upper": 100.0, "over": "volume"},
        "recipe": RECIPE,
    }
    return LabelledDescription(**{**options, **changes})


def make_model(
    description: LabelledDescription | None = None,
    templates: FrozenTemplates | None = None,
    **head: Any,
) -> FineTunedModel:
    return FineTunedModel(
        {"class_path": f"{HERE}.Unchanged"},
        {"class_path": f"{HERE}.Brighter", "init_args": head},
        description or describe(),
        "segmentation",
        templates,
    ).eval()


def make_classifier(**changes: Any) -> FineTunedModel:
    description = describe(
        num_outputs=2, label_names=(), label_regions=(), class_names=("dark", "bright"), **changes
    )
    backbone, head = {"class_path": f"{HERE}.Unchanged"}, {"class_path": f"{HERE}.MeanOf"}
    return FineTunedModel(backbone, head, description, "classification").eval()


def save_checkpoint(model: FineTunedModel, path: Path) -> Path:
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"model_spec": model.spec(), "state_dict": state}, path)
    return path


def lesion_at(places: np.ndarray) -> np.ndarray:
    """Intensity of a smooth lesion in a flat head, at places ``n 3`` in millimetres."""
    distance = np.linalg.norm(places - (3, -2, 1), axis=-1)
    in_head = (np.abs(places) < 12).all(axis=-1)
    return np.where(in_head, 20 + 980 * np.exp(-((distance / 8) ** 2)), 0)


def is_lesion(places: np.ndarray) -> np.ndarray:
    """Where `lesion_at` is above the middle of its range in the head."""
    return lesion_at(places) > 20 + 980 * LEVEL


def grid_places(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def save_lesion(path: Path, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Write an image and return where its lesion is."""
    places = grid_places(affine, shape)
    image = nib.Nifti1Image(lesion_at(places).astype(np.int16), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return is_lesion(places)


def affine_of(
    axcodes: str, spacing: tuple[float, float, float], shape: tuple[int, ...]
) -> np.ndarray:
    """An affine with these axes and voxel edges, whose grid is centred on the origin."""
    orientation = nib.orientations.axcodes2ornt(tuple(axcodes))
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(orientation):
        affine[int(world), axis] = sign * spacing[axis]
    affine[3, 3] = 1
    affine[:3, 3] = -affine[:3, :3] @ (np.asarray(shape) // 2)
    return affine


def rotated(affine: np.ndarray, degrees: float) -> np.ndarray:
    """The same grid turned around the origin, about z and then about x."""
    a = np.radians(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turned = affine.copy()
    turned[:3] = about_x @ about_z @ affine[:3]
    return turned


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))
