"""Flips and intensities: what is drawn, what is changed, and that nothing loses its place."""

import pytest
import torch

from brainmvp_lightning.methods.augmentation import (
    AugmentationOptions,
    change_intensities,
    draw_flips,
    flip,
)
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates

KEYS = torch.arange(2000) * 7919


def test_flips_are_those_of_slicing_backwards() -> None:
    volume = torch.arange(3 * 2 * 24.0).view(3, 2, 2, 3, 4)
    flips = torch.tensor([[False, False, False], [True, False, True], [False, True, False]])
    made = flip(volume, flips)
    assert torch.equal(made[0], volume[0])
    assert torch.equal(made[1], volume[1].flip(1, 3))
    assert torch.equal(made[2], volume[2].flip(2))
    assert torch.equal(flip(made, flips), volume)


def test_annotations_keep_their_type() -> None:
    label = torch.tensor([[0, 1, 2]], dtype=torch.uint8).view(1, 1, 3, 1, 1)
    made = flip(label, torch.tensor([[True, False, False]]))
    assert made.dtype == torch.uint8
    assert made.flatten().tolist() == [2, 1, 0]


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_each_axis_is_flipped_on_its_own_with_the_asked_probability(probability: float) -> None:
    flips = draw_flips(KEYS, AugmentationOptions(flip=probability))
    assert flips.shape == (2000, 3)
    # Four standard deviations of a share of 2000 draws are 0.045.
    assert (flips.float().mean(dim=0) - probability).abs().max() < 0.045
    both = (flips[:, 0] & flips[:, 1]).float().mean()
    assert (both - probability**2).abs() < 0.04


def test_an_image_crop_and_a_template_crop_stay_aligned_under_flips() -> None:
    """Scan, annotation and template are one volume here, hence equal wherever they are cropped."""
    whole = torch.rand(1, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    templates = FrozenTemplates(("t1",), whole, (1, 1, 1), (0, 0, 0))
    starts = torch.tensor([[0, 1, 2], [4, 3, 1], [2, 0, 3]])
    image = torch.stack([whole[:, x : x + 5, y : y + 4, z : z + 3] for x, y, z in starts.tolist()])
    label = (image > 0.5).to(torch.uint8)
    flips = torch.tensor([[True, False, True], [True, True, True], [False, True, False]])
    crops = templates.crop(starts - torch.tensor([4, 4, 3]), (5, 4, 3))
    assert torch.equal(flip(crops, flips), flip(image, flips))
    assert torch.equal(flip(label, flips), (flip(crops, flips) > 0.5).to(torch.uint8))
    assert not torch.equal(flip(image, flips), image)


def test_intensities_become_a_line_shared_by_the_present_modalities() -> None:
    image = torch.rand(64, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([True, False, True]).expand(64, 3)
    made = change_intensities(image, present, KEYS[:64], AugmentationOptions())
    assert torch.equal(made[:, 1], image[:, 1])
    line = change_intensities(
        torch.tensor([0.0, 1.0]).view(1, 1, 2, 1, 1).expand(64, 1, 2, 1, 1),
        torch.ones(64, 1, dtype=torch.bool),
        KEYS[:64],
        AugmentationOptions(),
    ).view(64, 2)
    shift, factor = line[:, :1], line[:, 1:] - line[:, :1]
    for channel in (0, 2):
        flat = image[:, channel].flatten(1)
        assert torch.allclose(made[:, channel].flatten(1), flat * factor + shift, atol=1e-6)


def test_shift_and_scale_fill_their_ranges_evenly() -> None:
    points = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1, 1).expand(2000, 1, 2, 1, 1)
    options = AugmentationOptions(shift=0.2, scale=0.1)
    present = torch.ones(2000, 1, dtype=torch.bool)
    line = change_intensities(points, present, KEYS, options).view(2000, 2)
    shift, scale = line[:, 0], line[:, 1] - line[:, 0] - 1
    for values, limit in ((shift, 0.2), (scale, 0.1)):
        assert values.abs().max() <= limit + 1e-6
        assert values.min() < -0.99 * limit
        assert values.max() > 0.99 * limit
        assert values.mean().abs() < 0.06 * limit  # four standard deviations: 0.052
    correlation = torch.corrcoef(torch.stack([shift, scale]))[0, 1]
    assert correlation.abs() < 0.09


def test_the_choice_of_a_sample_does_not_depend_on_its_batch() -> None:
    image, keys = torch.ones(4, 1, 2, 2, 2), KEYS[:4]
    present, options = torch.ones(4, 1, dtype=torch.bool), AugmentationOptions()
    whole = change_intensities(image, present, keys, options)
    alone = change_intensities(image[2:3], present[2:3], keys[2:3], options)
    assert torch.equal(whole[2:3], alone)
    assert torch.equal(draw_flips(keys, options)[2:3], draw_flips(keys[2:3], options))


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    image = torch.rand(3, 2, 2, 2, 2)
    options = AugmentationOptions(flip=0, shift=0, scale=0)
    made = change_intensities(image, torch.ones(3, 2, dtype=torch.bool), KEYS[:3], options)
    assert torch.equal(made, image)
    assert not draw_flips(KEYS, options).any()


@pytest.mark.parametrize("wrong", [{"flip": 1.5}, {"shift": -0.1}, {"scale": 1.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="flip must be from 0 to 1"):
        AugmentationOptions(**wrong)


def test_no_value_is_read_by_the_host() -> None:
    # Tensors of the meta device have shapes and no values: to ask for one is an error.
    keys, image = torch.empty(2, dtype=torch.int64, device="meta"), torch.empty(2, 3, 4, 4, 4)
    present = torch.empty(2, 3, dtype=torch.bool, device="meta")
    options = AugmentationOptions()
    changed = change_intensities(image.to("meta"), present, keys, options)
    assert flip(changed, draw_flips(keys, options)).shape == (2, 3, 4, 4, 4)
