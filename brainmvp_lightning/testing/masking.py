"""The contract of a masking strategy."""

from __future__ import annotations

import torch
from torch import Tensor

from brainmvp_lightning.batches import Size
from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.randomness import CountedRandom
from brainmvp_lightning.testing.contracts import check_options, error_of, expect, no_error

NUM = 5


def check_masking(masking: Masking, size: Size = (16, 24, 32)) -> None:
    """See that a strategy keeps what `Masking` promises.

    Args:
        masking: One that hides a part of an image of this size.
        size: Voxels of a small image that suits it.

    Raises:
        ContractError: At the first broken promise.
    """
    expect(
        isinstance(masking, Masking),
        f"the strategy is a {type(masking).__name__}; derive it from "
        "brainmvp_lightning.masking.base.Masking",
    )
    check_options(type(masking), Masking)
    _check_form(masking, size)
    _check_randomness(masking, size)
    _check_refusal(masking)


def _draw(masking: Masking, size: Size, keys: range, purpose: str = "mask") -> Tensor:
    name = type(masking).__name__
    with no_error(f"{name}.draw for {len(keys)} images of {size} voxels", "it takes such images"):
        mask = masking.draw(size, CountedRandom(torch.tensor(keys, dtype=torch.int64)), purpose)
    expect(isinstance(mask, Tensor), f"{name}.draw returns a {type(mask).__name__}, not a tensor")
    return mask


def _check_form(masking: Masking, size: Size) -> None:
    name = type(masking).__name__
    for num in (NUM, 0):  # a batch may have no image with a partner
        mask = _draw(masking, size, range(num))
        expect(
            tuple(mask.shape) == (num, 1, *size),
            f"{name}.draw returns shape {tuple(mask.shape)} for {num} images of {size} voxels; "
            f"expected {(num, 1, *size)}",
        )
        expect(mask.dtype == torch.bool, f"{name}.draw returns {mask.dtype}; expected torch.bool")
    hidden = _draw(masking, size, range(NUM)).flatten(1)
    for what, rows in (("nothing", ~hidden.any(dim=1)), ("everything", hidden.all(dim=1))):
        expect(
            not bool(rows.any()),
            f"{name} hides {what} of {int(rows.sum())} of {NUM} images; expected a part of each",
        )


def _check_randomness(masking: Masking, size: Size) -> None:
    name = type(masking).__name__
    torch.manual_seed(0)
    state = torch.get_rng_state()
    together = _draw(masking, size, range(NUM), "a")
    expect(
        torch.equal(state, torch.get_rng_state()),
        f"{name}.draw uses torch's global generator; draw from `random`, so that a run repeats",
    )
    torch.manual_seed(1)
    for row in range(NUM):
        expect(
            torch.equal(_draw(masking, size, range(row, row + 1), "a")[0], together[row]),
            f"the mask of image {row} depends on more than its own key and purpose; draw "
            f"`random.uniform(num, purpose)` in {name}, whose row i belongs to image i",
        )
    expect(
        len({mask.numpy().tobytes() for mask in together}) > 1,
        f"{name} hides the same voxels of all {NUM} images; their keys differ",
    )
    expect(
        not torch.equal(_draw(masking, size, range(NUM), "b"), together),
        f"{name} draws the same masks for two purposes; hand `purpose` on to `random`",
    )


def _check_refusal(masking: Masking) -> None:
    one = CountedRandom(torch.zeros(1, dtype=torch.int64))
    error = error_of(lambda: masking.draw((1, 1, 1), one))
    expect(
        error is None or isinstance(error, ValueError),
        f"{type(masking).__name__}.draw raises {type(error).__name__} for an image of one voxel "
        f"({error}); expected a mask, or a ValueError that says what sizes it takes",
    )
