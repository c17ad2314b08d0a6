"""What is drawn on a GPU is what is drawn on a CPU, and nothing waits for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.masking.blocks import GridBlocks, RandomCubes
from brainmvp_lightning.randomness import CountedRandom
from tests.gpu import runs

pytestmark = runs.ON_GPU
SIZE = (32, 48, 32)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Make it an error that the host waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("masking", [GridBlocks(8, 0.875), RandomCubes(8, 0.875)], ids=repr)
def test_masks_are_those_of_a_cpu_and_are_not_waited_for(masking: Masking) -> None:
    keys = torch.arange(3) * 1_000_003
    expected = masking.draw(SIZE, CountedRandom(keys))
    random = CountedRandom(keys.to(runs.DEVICE))
    masking.draw(SIZE, random)  # loads what it needs
    with no_waiting():
        drawn = masking.draw(SIZE, random)
    assert drawn.device.type == runs.DEVICE
    assert torch.equal(drawn.cpu(), expected)


def test_waiting_is_noticed() -> None:
    value = torch.ones((), device=runs.DEVICE)
    with no_waiting(), pytest.raises(RuntimeError, match="synchroniz"):
        value.item()
