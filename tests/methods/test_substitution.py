"""Copies with templates: at least one real modality stays, numbers are even, rows independent."""

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from brainmvp_lightning.commands.parsing import TeachingParser
from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.masking.blocks import GridBlocks, RandomCubes
from brainmvp_lightning.masking.registry import MASKING
from brainmvp_lightning.methods.substitution import (
    Copies,
    SubstitutionOptions,
    consistency,
    fill_missing,
    two_copies,
)

SIZE = (4, 4, 4)
OPTIONS = SubstitutionOptions(masking=GridBlocks(block_size=2, ratio=0.75))
COPIES = ("first", "second")


def studies(present: Tensor) -> tuple[Tensor, Tensor]:
    """Return images of channel number + 1 where present, else the template, and templates below 0.

    Every value then tells where it comes from.
    """
    level = torch.arange(1.0, present.shape[1] + 1).view(1, -1, 1, 1, 1)
    image = level.expand(*present.shape, *SIZE)
    return torch.where(present[:, :, None, None, None], image, -image), -image


def make(present: Tensor, keys: Tensor, options: SubstitutionOptions = OPTIONS) -> Copies:
    image, crops = studies(present)
    return two_copies(image, present, crops, keys, options)


def replaced_of(copies: Copies, copy: str) -> tuple[Tensor, Tensor]:
    """Return image and replaced modalities of a copy."""
    index = COPIES.index(copy)
    return copies[index], copies[2 + index]


@st.composite
def presences(draw: st.DrawFn) -> Tensor:
    num_channels = draw(st.integers(1, 6))
    row = st.lists(st.booleans(), min_size=num_channels, max_size=num_channels).filter(any)
    return torch.tensor(draw(st.lists(row, min_size=1, max_size=5)))


@settings(max_examples=60, deadline=None)
@given(presences(), st.integers(0, 2**62), st.integers(0, 8))
def test_a_real_modality_stays_and_what_is_missing_is_not_touched(
    present: Tensor, key: int, least: int
) -> None:
    keys = torch.arange(len(present)) + key
    options = dataclasses.replace(OPTIONS, least_replaced=least)
    image, crops = studies(present)
    copies = make(present, keys, options)
    for copy in COPIES:
        made, replaced = replaced_of(copies, copy)
        assert not (replaced & ~present).any()
        num_present, num_replaced = present.sum(dim=1), replaced.sum(dim=1)
        assert (num_replaced < num_present).all()
        assert (num_replaced >= (num_present - 1).clamp(max=least)).all()
        is_single = num_present == 1
        # Of studies with several, modalities are real or template as a whole.
        whole = torch.where(replaced[:, :, None, None, None], crops, image)
        assert torch.equal(made[~is_single], whole[~is_single])
        assert torch.equal(made[~present], image[~present])


def test_a_single_modality_is_covered_in_blocks_that_differ_between_the_copies() -> None:
    present = torch.tensor([[False, True, False]]).expand(20, 3)
    copies = make(present, torch.arange(20))
    masks = []
    for copy in COPIES:
        made, replaced = replaced_of(copies, copy)
        assert not replaced.any()
        covered = made[:, 1] < 0
        assert (covered.flatten(1).sum(dim=1) == 6 * 8).all()  # 0.75 of 8 blocks of 2^3
        blocks = covered.view(20, 2, 2, 2, 2, 2, 2).float().mean(dim=(2, 4, 6))
        assert set(blocks.unique().tolist()) == {0.0, 1.0}
        masks.append(covered)
    assert (masks[0] != masks[1]).flatten(1).any(dim=1).sum() >= 17  # equal by chance: 1 in 28


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize(("least", "numbers"), [(0, [0, 1, 2, 3]), (2, [2, 3]), (9, [3])])
def test_every_number_and_every_modality_is_as_likely(
    copy: str, least: int, numbers: list[int]
) -> None:
    present = torch.tensor([[True, True, False, True, True]]).expand(4000, 5)
    options = dataclasses.replace(OPTIONS, least_replaced=least)
    image, crops = studies(present)
    copies = two_copies(image[..., :2], present, crops[..., :2], torch.arange(4000), options)
    _, replaced = replaced_of(copies, copy)
    counts = replaced.sum(dim=1)
    assert counts.unique().tolist() == numbers
    # Four standard deviations of a share of 4000 draws are at most 0.032.
    for number in numbers:
        assert (counts == number).float().mean().item() == pytest.approx(
            1 / len(numbers), abs=0.032
        )
    expected = sum(numbers) / len(numbers) / 4
    shares = replaced.float().mean(dim=0)
    assert shares[present[0]] == pytest.approx([expected] * 4, abs=0.032)


def test_the_two_copies_draw_independently() -> None:
    present = torch.ones(4000, 2, dtype=torch.bool)
    image, crops = (volume[..., :2, :2, :2] for volume in studies(present))
    copies = two_copies(image, present, crops, torch.arange(4000), OPTIONS)
    first, second = copies.replaced_first[:, 0], copies.replaced_second[:, 0]
    # A modality is replaced with probability 1/4: one is replaced half of the time, this or that.
    assert (first & second).float().mean().item() == pytest.approx(1 / 16, abs=0.016)


def test_a_row_does_not_depend_on_its_batch() -> None:
    present = torch.tensor([[True, True, True], [False, True, False], [True, False, True]])
    keys = torch.tensor([5, 6, 7])
    whole = make(present, keys)
    order = torch.tensor([2, 0, 1])
    for expected, made in zip(whole, make(present[order], keys[order]), strict=True):
        assert torch.equal(expected[order], made)
    for expected, made in zip(whole, make(present[1:2], keys[1:2]), strict=True):
        assert torch.equal(expected[1:2], made)


def test_neither_image_nor_templates_are_changed() -> None:
    present = torch.tensor([[True, True], [True, False]])
    image, crops = studies(present)
    before = image.clone(), crops.clone()
    two_copies(image, present, crops, torch.tensor([1, 2]), OPTIONS)
    assert torch.equal(image, before[0])
    assert torch.equal(crops, before[1])


def test_gaps_are_filled_from_the_templates_or_with_zeros() -> None:
    present = torch.tensor([[True, False], [False, True]])
    image, crops = torch.ones(2, 2, 1, 1, 1), torch.full((2, 2, 1, 1, 1), 0.5)
    assert fill_missing(image, present, crops).flatten().tolist() == [1, 0.5, 0.5, 1]
    assert fill_missing(image, present, None).flatten().tolist() == [1, 0, 0, 1]


LOGITS_OR_LEVELS = [torch.zeros(2, 3, 2, 2, 2), torch.zeros(2, 4, 1, 1, 1)]
OTHERS = [torch.full((2, 3, 2, 2, 2), 1.0), torch.full((2, 4, 1, 1, 1), 3.0)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (SubstitutionOptions(), 9.0),
        (SubstitutionOptions(levels="all"), 5.0),
        (SubstitutionOptions(consistency="outputs"), 1.0),
        (SubstitutionOptions(consistency="outputs", levels="all"), 1.0),
    ],
)
def test_consistency_compares_the_asked_maps(options: SubstitutionOptions, expected: float) -> None:
    loss = consistency(LOGITS_OR_LEVELS, OTHERS, torch.tensor([0.5, 0.5]), options)
    assert loss.item() == expected


def test_options_come_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "substitution:\n  weight: 0.2\n  consistency: outputs\n"
        "  masking: {class_path: random_cubes, init_args: {block_size: 4}}\n"
    )
    MASKING.load()
    parser = TeachingParser()
    parser.add_argument("--config", action="config")
    parser.add_argument("--substitution", type=SubstitutionOptions | None, default=None)
    parsed = parser.parse_args(["--config", str(file)])
    options = parser.instantiate_classes(parsed).substitution
    assert isinstance(options, SubstitutionOptions)
    assert (options.weight, options.consistency, options.levels) == (0.2, "outputs", "last")
    cover = options.cover()
    assert isinstance(cover, RandomCubes)
    assert cover.block_size == 4
    assert parser.parse_args([]).substitution is None


def test_by_default_a_single_modality_is_covered_as_in_pretraining() -> None:
    cover = SubstitutionOptions().cover()
    assert isinstance(cover, GridBlocks)
    assert (cover.block_size, cover.ratio) == (8, 0.875)


def test_a_crop_that_does_not_suit_the_masking_is_refused_early() -> None:
    SubstitutionOptions().check((96, 96, 64))
    with pytest.raises(ValueError, match=r"substitution.masking does not suit data.crop_size.*100"):
        SubstitutionOptions().check((100, 96, 96))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": -1.0}, "weight is -1.0"),
        ({"weight": float("nan")}, "weight is nan"),
        ({"least_replaced": -1}, "least_replaced -1"),
        ({"consistency": "logits"}, "'logits'; use features or outputs"),
        ({"levels": "first"}, "'first'; use last or all"),
    ],
)
def test_options_without_sense_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SubstitutionOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("cover", [None, RandomCubes(block_size=4, ratio=0.5)])
def test_no_value_is_read_by_the_host(cover: Masking | None) -> None:
    # Tensors of the meta device have shapes and no values: to ask for one is an error.
    options = SubstitutionOptions(levels="all", masking=cover)
    image, crops = torch.empty(2, 2, 3, 16, 16, 16, device="meta")
    present = torch.empty(2, 3, dtype=torch.bool, device="meta")
    keys = torch.empty(2, dtype=torch.int64, device="meta")
    copies = two_copies(fill_missing(image, present, crops), present, crops, keys, options)
    share = torch.empty(2, device="meta")
    loss = consistency([copies.first], [copies.second], share, options)
    assert copies.replaced_second.shape == (2, 3)
    assert loss.shape == ()
