"""Learned templates that stay as they are and stand in for modalities."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from brainmvp_lightning.batches import LabelledDescription, Size
from brainmvp_lightning.methods.crops import inside
from brainmvp_lightning.methods.template_files import read_template_file
from brainmvp_lightning.methods.template_grids import head_box, resample, resize


class FrozenTemplates(nn.Module):
    """One image for each modality, all on one grid, with their place in the world.

    Everything that data or training could change is a buffer, so that a network keeps its templates
    in its state. Load them with `load_templates`, then bring them to the grid of the data with
    `for_data`.

    Args:
        modalities: Modality of each template, in order.
        volumes: Images in [0, 1], ``s x y z``.
        spacing_mm: Edges of a voxel along x, y, z.
        centre_mm: World coordinates (RAS) of the reference voxel.
        reference_voxel: Voxel that origins of crops are counted from; ``shape // 2`` by default.

    Attributes:
        reference_voxel: The same, ``3``, int64, on the device of the volumes.

    Raises:
        ValueError: If a modality is named twice, or modalities, volumes and spacing do not go
            together.

    Source:
        BrainMVP, supplement A.
    """

    volumes: Tensor
    reference_voxel: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        volumes: Tensor,
        spacing_mm: Sequence[float],
        centre_mm: Sequence[float],
        reference_voxel: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.spacing_mm = _three(spacing_mm)
        self.centre_mm = _three(centre_mm)
        if volumes.ndim != 4 or len(volumes) != len(self.modalities):
            raise ValueError(
                f"templates of {len(self.modalities)} modalities are as many volumes, s x y z, got "
                f"the shape {tuple(volumes.shape)}"
            )
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ValueError(
                f"templates must name each modality once, got {', '.join(self.modalities)}"
            )
        if min(self.spacing_mm) <= 0:
            raise ValueError(f"the spacing of templates must be positive, got {self.spacing_mm}")
        voxel = [side // 2 for side in volumes.shape[1:]]
        if reference_voxel is not None:
            voxel = list(reference_voxel)
        self.register_buffer("volumes", volumes.detach().float())
        self.register_buffer("reference_voxel", torch.tensor(voxel, device=volumes.device))

    @classmethod
    def empty(
        cls,
        modalities: Sequence[str],
        shape: Sequence[int],
        spacing_mm: Sequence[float],
        centre_mm: Sequence[float],
    ) -> FrozenTemplates:
        """Return templates of zeros, which `load_state_dict` fills."""
        return cls(modalities, torch.zeros(len(modalities), *shape), spacing_mm, centre_mm)

    @property
    def shape(self) -> Size:
        """Voxels of each template."""
        x, y, z = self.volumes.shape[1:]
        return x, y, z

    def crop(self, origins: Tensor, size: Size) -> Tensor:
        """Cut a crop of all templates for each sample, at once and without gradient.

        Args:
            origins: First voxel of each crop as in `LabelledBatch.origin`, ``b 3``, int64.
            size: Voxels of a crop.

        Returns:
            ``b c x y z``; 0 outside the templates. Little more memory than that is needed.
        """
        corners = origins + self.reference_voxel
        channel = torch.arange(len(self.volumes), device=corners.device)
        index = [channel.view(1, -1, 1, 1, 1)]
        for axis, (side, edge) in enumerate(zip(self.shape, size, strict=True)):
            voxels = corners[:, axis, None] + torch.arange(edge, device=corners.device)  # b n
            view = [-1, 1, 1, 1, 1]
            view[2 + axis] = edge
            index.append(voxels.clamp(0, side - 1).view(view))
        return self.volumes[tuple(index)].mul_(inside(corners, self.shape, size))

    def for_data(self, description: LabelledDescription) -> FrozenTemplates:
        """Return the templates of the data's modalities on the grid of the data.

        Modalities are found by name and come in the order of the channels. Where studies are
        resized to one shape, each fills it with its head; so do the templates, with their common
        head. Otherwise they are interpolated to the spacing of the data, which leaves the reference
        point where it is. For the placement ``"centre"`` it lies on the centre of each study, for
        ``"world"`` it is moved by whole voxels to the point that the data count from.

        Raises:
            ValueError: If a modality has no template, the templates show no head where it must be
                found, or their world is another one.
        """
        chosen = self._choose(description.modalities)
        if description.resized_to is not None:
            return chosen._resized(description.resized_to)
        chosen = chosen._resampled(description.spacing_mm)
        is_world = description.placement == "world"
        return chosen._moved(description.centre_mm) if is_world else chosen

    def _choose(self, modalities: Sequence[str]) -> FrozenTemplates:
        missing = [modality for modality in modalities if modality not in self.modalities]
        if missing:
            raise ValueError(_describe_missing(missing, self.modalities))
        volumes = self.volumes[[self.modalities.index(modality) for modality in modalities]]
        reference = self.reference_voxel.tolist()
        return FrozenTemplates(modalities, volumes, self.spacing_mm, self.centre_mm, reference)

    def _resized(self, shape: Size) -> FrozenTemplates:
        start, stop = head_box(self.volumes)
        spacing, centre = [], []
        for axis, voxel in enumerate(self.reference_voxel.tolist()):
            factor = (stop[axis] - start[axis]) / shape[axis]
            # Edges stay in place, so half a voxel lies between them and the first centre.
            place = start[axis] + (shape[axis] // 2 + 0.5) * factor - 0.5
            spacing.append(self.spacing_mm[axis] * factor)
            centre.append(self.centre_mm[axis] + self.spacing_mm[axis] * (place - voxel))
        volumes = resize(self.volumes, start, stop, shape)
        return FrozenTemplates(self.modalities, volumes, spacing, centre)

    def _resampled(self, spacing_mm: Sequence[float]) -> FrozenTemplates:
        scales = [old / new for old, new in zip(self.spacing_mm, spacing_mm, strict=True)]
        # NIfTI keeps single precision; over a head, 1e-4 is a fiftieth of a voxel.
        if all(math.isclose(scale, 1, rel_tol=1e-4) for scale in scales):
            return self
        volumes = resample(self.volumes, self.reference_voxel.tolist(), scales)
        return FrozenTemplates(self.modalities, volumes, spacing_mm, self.centre_mm)

    def _moved(self, centre_mm: Sequence[float]) -> FrozenTemplates:
        reference, centre = [], []
        for axis, voxel in enumerate(self.reference_voxel.tolist()):
            edge = self.spacing_mm[axis]
            shift = round((centre_mm[axis] - self.centre_mm[axis]) / edge)
            reference.append(voxel + shift)
            centre.append(self.centre_mm[axis] + shift * edge)
        is_inside = [0 <= n < side for n, side in zip(reference, self.shape, strict=True)]
        if not all(is_inside):
            found, own = _listed(centre_mm), _listed(self.centre_mm)
            raise ValueError(
                f"data.placement is world, but the data are centred at {found} mm, outside of the "
                f"templates, whose centre is at {own} mm; the two are in different spaces, use "
                "data.placement centre or templates that were learned in that space"
            )
        return FrozenTemplates(self.modalities, self.volumes, self.spacing_mm, centre, reference)


def load_templates(path: str | Path) -> FrozenTemplates:
    """Read templates from a file that pre-training or ``brainmvp weights import`` wrote.

    Raw templates can leave the range of the data; they are clamped to [0, 1], or scaled to it where
    the file asks for that.

    Args:
        path: A ``.safetensors`` file with templates, or a folder with a NIfTI file for each
            modality, such as ``t1.nii.gz``.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        WeightsError: If it has no templates, or does not say what and where they are.
        VolumeError: If a NIfTI file cannot be read, or has another grid than the others.
    """
    return FrozenTemplates(*read_template_file(Path(path)))


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def _describe_missing(missing: Sequence[str], known: Sequence[str]) -> str:
    close = difflib.get_close_matches(missing[0], known, n=2)
    question = f"; did you mean {' or '.join(close)}?" if close else ""
    return (
        f"the data have {', '.join(missing)}, for which there is no template{question} (templates: "
        f"{', '.join(known)}); leave such channels out with data.modalities, use templates that "
        "have them, or none, which fills missing modalities with zeros"
    )
