"""Templates: crops in their true place, gradients only where a crop was taken."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from brainmvp_lightning.methods.crops import crop_volumes
from brainmvp_lightning.methods.templates import ModalityTemplates

SHAPE = (7, 9, 6)
SIZE = (4, 5, 6)
# Inside, partly outside on both sides, and wholly outside; from the reference voxel (3, 4, 3).
ORIGINS = torch.tensor([[-3, -4, -3], [-5, -7, -6], [2, 3, 1], [1, -1, -2], [50, 0, 0]])
INDICES = torch.tensor([0, 2, 1, 2, 0])


def templates(rescale: str = "raw", low: float = -0.5, high: float = 1.5) -> ModalityTemplates:
    made = ModalityTemplates(("t1", "t2", "adc"), SHAPE, rescale).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(made.values.shape, generator=generator, dtype=torch.float64)
    made.values.data = low + (high - low) * uniform
    return made


def naive_crop(volume: torch.Tensor, origin: list[int]) -> torch.Tensor:
    """Pad generously, then slice."""
    pad = 60
    padded = functional.pad(volume, (pad,) * 6)
    starts = [pad + side // 2 + first for side, first in zip(SHAPE, origin, strict=True)]
    x, y, z = (slice(start, start + side) for start, side in zip(starts, SIZE, strict=True))
    return padded[x, y, z]


def naive(made: ModalityTemplates) -> torch.Tensor:
    volumes = made.values
    if made.rescale == "clamp":
        volumes = volumes.clamp(0, 1)
    if made.rescale == "minmax":
        volumes = torch.stack([(v - v.min()) / (v.max() - v.min() + 1e-9) for v in volumes])
    rows = zip(INDICES.tolist(), ORIGINS.tolist(), strict=True)
    return torch.stack([naive_crop(volumes[index], origin)[None] for index, origin in rows])


@pytest.mark.parametrize("rescale", ["raw", "clamp", "minmax"])
def test_crops_equal_padding_and_slicing(rescale: str) -> None:
    made = templates(rescale)
    assert torch.allclose(made.crop(INDICES, ORIGINS, SIZE), naive(made), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rescale", ["raw", "minmax"])
@pytest.mark.parametrize("rows", [5, 2])
def test_gradients_equal_padding_and_slicing(rescale: str, rows: int) -> None:
    made = templates(rescale)
    weight = torch.rand(rows, 1, *SIZE, dtype=torch.float64)
    (expected,) = torch.autograd.grad((naive(made)[:rows] * weight).sum(), made.values)
    (made.crop(INDICES[:rows], ORIGINS[:rows], SIZE) * weight).sum().backward()
    assert made.values.grad is not None
    assert torch.allclose(made.values.grad, expected, rtol=1e-9)


def test_gradients_of_crops_are_right() -> None:
    indices, corners = torch.tensor([1, 1, 0]), torch.tensor([[0, 0, 0], [1, 1, 1], [-2, 3, 1]])
    values = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda volumes: crop_volumes(volumes, indices, corners, (2, 3, 2)), (values,)
    )


def test_first_voxel_and_reference_point_by_hand() -> None:
    made = ModalityTemplates(("t1",), (4, 4, 4))
    made.values.data = torch.arange(64.0).view(1, 4, 4, 4)
    one = made.crop(torch.tensor([0]), torch.tensor([[0, 0, 0]]), (1, 1, 1))
    assert one.item() == made.values[0, 2, 2, 2]
    corner = made.crop(torch.tensor([0]), torch.tensor([[-2, -2, -2]]), (4, 4, 4))
    assert torch.equal(corner[0, 0], made.values[0])


def test_only_the_cropped_modality_and_place_get_a_gradient() -> None:
    made = ModalityTemplates(("t1", "t2", "adc"), (8, 8, 8))
    made.crop(
        torch.tensor([1, 1]), torch.tensor([[-4, -4, -4], [-3, -4, -4]]), (2, 2, 2)
    ).sum().backward()
    expected = torch.zeros(3, 8, 8, 8)
    expected[1, 0:2, :2, :2] += 1
    expected[1, 1:3, :2, :2] += 1
    assert made.values.grad is not None
    assert torch.equal(made.values.grad, expected)


def test_clamp_lets_gradients_pass_that_lead_back() -> None:
    made = ModalityTemplates(("t1",), (1, 1, 5), "clamp")
    made.values.data = torch.tensor([-1.0, -1.0, 0.5, 2.0, 2.0]).view(1, 1, 1, 5)
    crop = made.crop(torch.tensor([0]), torch.tensor([[0, 0, -2]]), (1, 1, 5))
    assert crop.flatten().tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    # A step goes against the gradient: -1 may rise, 2 may fall.
    crop.backward(torch.tensor([-1.0, 1.0, 1.0, -1.0, 1.0]).view_as(crop))
    assert made.values.grad is not None
    assert made.values.grad.flatten().tolist() == [-1.0, 0.0, 1.0, 0.0, 1.0]


def test_templates_begin_with_zeros_and_stay_finite_when_rescaled() -> None:
    made = ModalityTemplates(("t1", "t2"), (4, 4, 4), "minmax")
    crop = made.crop(torch.tensor([0]), torch.tensor([[-2, -2, -2]]), (4, 4, 4))
    assert (crop == 0).all()
    crop.sum().backward()
    assert made.values.grad is not None
    assert made.values.grad.isfinite().all()


def test_an_empty_batch_has_no_crops_and_a_gradient_of_zeros() -> None:
    made = templates()
    nothing = torch.zeros(0, dtype=torch.int64)
    crops = made.crop(nothing, nothing.view(0, 1).expand(0, 3), SIZE)
    assert crops.shape == (0, 1, *SIZE)
    crops.sum().backward()
    assert made.values.grad is not None
    assert (made.values.grad == 0).all()


@pytest.mark.parametrize("rescale", ["raw", "clamp", "minmax"])
def test_volumes_are_the_images_that_crops_show(rescale: str) -> None:
    made = templates(rescale)
    whole = made.crop(torch.arange(3), -made.reference_voxel.expand(3, 3), SHAPE)
    assert torch.allclose(made.volumes(), whole[:, 0])
    assert not made.volumes().requires_grad


def test_the_affine_puts_the_reference_voxel_on_the_centre() -> None:
    made = ModalityTemplates(("t1",), (240, 240, 155))
    made.place((1.0, 2.0, 1.5), (3.0, -4.0, 5.25))
    affine = made.affine().numpy()
    assert np.allclose(affine @ [120, 120, 77, 1], [3.0, -4.0, 5.25, 1])
    assert np.allclose(affine @ [121, 121, 78, 1], [4.0, -2.0, 6.75, 1])


def test_geometry_is_saved_with_the_templates() -> None:
    made = templates()
    made.place((1.0, 2.0, 1.5), (3.0, -4.0, 5.25))
    other = ModalityTemplates(made.modalities, SHAPE).double()
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.affine(), made.affine())
    assert torch.equal(other.values, made.values)


def test_statistics_by_hand() -> None:
    made = ModalityTemplates(("t1", "t2"), (1, 1, 4))
    made.values.data[0] = torch.tensor([0.0, 0.0, 1.0, 3.0])
    found = {name: value.item() for name, value in made.statistics().items()}
    assert found["t1/mean"] == 1.0
    assert found["t1/std"] == pytest.approx(1.5**0.5)
    assert (found["t1/min"], found["t1/max"], found["t1/touched"]) == (0.0, 3.0, 0.5)
    assert (found["t2/max"], found["t2/touched"]) == (0.0, 0.0)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="each modality once"):
        ModalityTemplates(("t1", "t1"), SHAPE)
    with pytest.raises(ValueError, match="must be positive"):
        ModalityTemplates(("t1",), (0, 4, 4))


def test_a_smoothed_gradient_spreads_like_a_gaussian_and_changes_no_voxel() -> None:
    templates = ModalityTemplates(("t1",), (9, 9, 9), start=0.4, smooth_gradient=1.0)
    crop = templates.crop(torch.tensor([0]), torch.tensor([[-4, -4, -4]]), (9, 9, 9))
    assert torch.equal(crop, torch.full((1, 1, 9, 9, 9), 0.4))
    crop[0, 0, 4, 4, 4].backward()
    gradient = templates.values.grad
    assert gradient is not None
    assert gradient.sum().item() == pytest.approx(1.0, abs=1e-5)
    # Two voxels aside, the density of the normal distribution is exp(-2) of its peak.
    ratio = gradient[0, 6, 4, 4] / gradient[0, 4, 4, 4]
    assert ratio.item() == pytest.approx(math.exp(-2), rel=1e-4)


def test_touched_counts_from_the_start_value() -> None:
    templates = ModalityTemplates(("t1",), (4, 4, 4), start=0.4)
    assert templates.statistics()["t1/touched"].item() == 0.0
    with torch.no_grad():
        templates.values[0, 0, 0, 0] = 0.0
    assert templates.statistics()["t1/touched"].item() == pytest.approx(1 / 64)
