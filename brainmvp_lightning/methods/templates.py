"""Learnable templates: one volume for each modality, in one common space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from brainmvp_lightning.batches import Size
from brainmvp_lightning.methods.crops import clamp_to_unit, crop_volumes, inside, smooth_gradient_of
from brainmvp_lightning.methods.learned_windows import LearnedWindows

PUBLISHED_MODALITIES = ("flair", "t1", "t1ce", "t2", "mra", "pd", "dwi", "adc")

Rescale = Literal["raw", "clamp", "minmax"]
Update = Literal["auto", "dense", "windowed"]

STEPS_BETWEEN_EXTREMES = 32


@dataclass(frozen=True)
class TemplateOptions:
    """What templates look like and how they learn.

    Attributes:
        modalities: Modality of each template, in order.
        shape: Voxels of each template, at the spacing of the prepared data.
        rescale: How a template becomes an image: ``"raw"`` takes it as it is; ``"clamp"`` limits it
            to [0, 1]; ``"minmax"`` scales the whole template to [0, 1] (published code).
        start: Value that all voxels start from (paper: 0). Grey, such as 0.4, helps short runs: a
            hole that is darker than tissue looks like air, and brighter is then worse before it is
            better.
        smooth_gradient: Standard deviation, in voxels, of a Gaussian that the gradient of each crop
            is smoothed with; 0 leaves it alone (paper). Helps short runs, in which a voxel is seen
            too seldom for its noise to average out.
        lr_scale: Factor of the learning rate.
        weight_decay: Weight decay of the templates alone. It pulls voxels that no crop touches
            towards their start, 0, and darkens the others, hence none by default.
        update: ``"dense"``: AdamW passes over all voxels at each step; ``"windowed"``: over those
            of the step's crops only, and the others catch up when they are next looked at, see
            `WindowedAdamW`; ``"auto"``: windowed where that moves less data, on GPUs and between
            processes. Windowed ``"minmax"`` measures the extremes every 32 steps and takes them for
            constants.

    Source:
        BrainMVP, section 3.2; modalities and shape as in the published weights.
    """

    modalities: tuple[str, ...] = PUBLISHED_MODALITIES
    shape: tuple[int, int, int] = (240, 240, 155)
    rescale: Rescale = "raw"
    start: float = 0.0
    smooth_gradient: float = 0.0
    lr_scale: float = 1.0
    weight_decay: float = 0.0
    update: Update = "auto"


class ModalityTemplates(nn.Module):
    """One learnable volume for each modality, with its place in the world.

    Crops are found by their distance from a reference point, which is voxel ``shape // 2`` of the
    templates and a point in the head that all studies share.

    Args:
        modalities: Modality of each template, in order.
        shape: Voxels of each template.
        rescale: See `TemplateOptions`.
        start: See `TemplateOptions`.
        smooth_gradient: See `TemplateOptions`.
        update: See `TemplateOptions`; it is for the task to decide, see `learn_in_windows`.

    Attributes:
        values: The learnable volumes, ``s x y z``.
        spacing_mm: Edge lengths of a voxel, 3; set by `place`.
        centre_mm: World coordinates (RAS) of the reference point, 3; set by `place`.

    Raises:
        ValueError: If a modality is named twice or none is, or the shape is not positive.

    Source:
        BrainMVP, section 3.2: zeros learn faster and look better than noise.
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        shape: Size,
        rescale: Rescale = "raw",
        start: float = 0.0,
        smooth_gradient: float = 0.0,
        update: Update = "auto",
    ) -> None:
        super().__init__()
        if not modalities or len(set(modalities)) < len(modalities):
            raise ValueError(
                f"templates.modalities must name each modality once, got {list(modalities)}"
            )
        if min(shape) < 1:
            raise ValueError(f"templates.shape must be positive, got {tuple(shape)}")
        self.modalities = tuple(modalities)
        self.shape: Size = shape
        self.rescale = rescale
        self.start = start
        self.smooth_gradient = smooth_gradient
        self.update: Update = update
        self.values = nn.Parameter(torch.full((len(modalities), *shape), start))
        self.windows: LearnedWindows | None = None
        self._extremes: tuple[int, Tensor, Tensor] | None = None  # step, least, greatest
        self.register_state_dict_pre_hook(_settle)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_settle)  # type: ignore[no-untyped-call]
        self.spacing_mm: Tensor
        self.centre_mm: Tensor
        self.register_buffer("spacing_mm", torch.ones(3))
        self.register_buffer("centre_mm", torch.zeros(3))
        # On the device from the start: to copy it there in each step would make the host wait.
        self.reference_voxel: Tensor
        reference = torch.tensor([side // 2 for side in shape])
        self.register_buffer("reference_voxel", reference, persistent=False)

    def place(
        self, spacing_mm: tuple[float, float, float], centre_mm: tuple[float, float, float]
    ) -> None:
        """Say where in the world the templates are."""
        self.spacing_mm.copy_(torch.tensor(spacing_mm))
        self.centre_mm.copy_(torch.tensor(centre_mm))

    def learn_in_windows(self, betas: tuple[float, float], eps: float) -> LearnedWindows:
        """Let the templates learn by windows from now on; they have no gradient any more.

        Args:
            betas: Decay rates of AdamW's moments.
            eps: AdamW's.

        Returns:
            What the optimiser must let step.

        Raises:
            ValueError: If that does not work with these numbers, or with the templates' precision.
        """
        self.learn_densely()
        self.windows = LearnedWindows(self.values, betas, eps)
        return self.windows

    def learn_densely(self) -> None:
        """Let the templates have a gradient again; see `learn_in_windows`."""
        self.settle()
        self.windows = self._extremes = None

    def settle(self) -> None:
        """Bring all voxels of `values` up to date, if they learn by windows."""
        if self.windows is not None:
            self.windows.settle()

    def affine(self) -> Tensor:
        """Return the matrix from voxels to world millimetres (RAS), ``4 4``, on the CPU."""
        spacing, centre = self.spacing_mm.double().cpu(), self.centre_mm.double().cpu()
        affine = torch.eye(4, dtype=torch.float64)
        affine[:3, :3] = spacing.diag()
        affine[:3, 3] = centre - spacing * self.reference_voxel.cpu()
        return affine

    def crop(
        self, indices: Tensor, origins: Tensor, size: Size, capacity: int | None = None
    ) -> Tensor:
        """Cut a crop of one template for each sample.

        The cost is that of the crops, except that ``"minmax"`` also reads whole templates. The
        gradient is one volume for the whole batch, or stays with the crops, see `learn_in_windows`.

        Args:
            indices: Template of each crop, ``b``, int64.
            origins: First voxel of each crop, counted from the reference point, ``b 3``, int64.
            size: Voxels of a crop.
            capacity: Most crops that a process takes at a time, the same on all of them; for
                templates that learn by windows.

        Returns:
            Crops, ``b 1 x y z``, with gradient to the templates, or to be learned by windows; 0
            outside the templates.
        """
        corners = origins + self.reference_voxel
        if self.windows is None or not self.values.requires_grad:
            self.settle()
            crops = crop_volumes(self.values, indices, corners, size)
        else:
            crops = self.windows.take(indices, corners, size, capacity)
        if self.smooth_gradient > 0:
            crops = smooth_gradient_of(crops, self.smooth_gradient)
        if self.rescale == "clamp":
            return clamp_to_unit(crops)
        if self.rescale == "minmax":
            is_inside = inside(corners, self.shape, size).to(crops)
            low, high = self._range_of(indices)
            return _rescale_to_unit(crops, low, high) * is_inside
        return crops

    def _range_of(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest value of the template of each crop, ``b``."""
        if self.windows is None:
            return _extremes(self.values, indices)
        step = self.windows.optimizer.num_steps
        # At first, when extremes change most, each time the number of steps has doubled.
        known = self._extremes
        if known is None or step - known[0] >= min(STEPS_BETWEEN_EXTREMES, max(1, known[0])):
            self.settle()
            every = self.values.detach().flatten(1)
            known = self._extremes = (step, every.amin(dim=1), every.amax(dim=1))
        return known[1][indices], known[2][indices]

    @torch.no_grad()
    def volumes(self) -> Tensor:
        """Return the templates as images, ``s x y z``, rescaled as in `crop`, without gradient."""
        self.settle()
        if self.rescale == "clamp":
            return self.values.clamp(0, 1)
        if self.rescale == "minmax":
            every = torch.arange(len(self.modalities), device=self.values.device)
            return _rescale_to_unit(self.values[:, None], *_extremes(self.values, every))[:, 0]
        return self.values.detach().clone()

    @torch.no_grad()
    def statistics(self) -> dict[str, Tensor]:
        """Describe each template by scalars such as ``"t1/mean"``, without waiting for the device.

        ``touched`` is the share of voxels that have left their start. Reads all templates, so ask
        for it every now and then only.
        """
        self.settle()
        values = self.values.flatten(1)
        table = {
            "mean": values.mean(dim=1),
            "std": values.std(dim=1, correction=0),
            "min": values.amin(dim=1),
            "max": values.amax(dim=1),
            "touched": (values != self.start).float().mean(dim=1),
        }
        return {
            f"{modality}/{name}": column[row]
            for row, modality in enumerate(self.modalities)
            for name, column in table.items()
        }


def _settle(templates: ModalityTemplates, *_: Any) -> None:  # noqa: ANN401 - torch's
    """Bring values up to date before they are saved or replaced."""
    templates.settle()
    templates._extremes = None  # so that a run that goes on from here measures when this one does


def _extremes(volumes: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest value of the volume of each crop, ``b``."""
    # Which templates are in use is known on the device only, how many is known here.
    if len(indices) < len(volumes):
        own = volumes.index_select(0, indices).flatten(1)
        return own.amin(dim=1), own.amax(dim=1)
    every = volumes.flatten(1)
    return every.amin(dim=1)[indices], every.amax(dim=1)[indices]


def _rescale_to_unit(crops: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Scale crops ``b 1 x y z`` to [0, 1] by the extremes ``b`` of the volume each comes from.

    Source:
        Published code; the small number is its own. While a template is constant, as all are at
        first, gradients are 1e9 times larger than elsewhere: Adam does not mind, clipping does.
    """
    low, high = low.view(-1, 1, 1, 1, 1), high.view(-1, 1, 1, 1, 1)
    return (crops - low) / (high - low + 1e-9)
