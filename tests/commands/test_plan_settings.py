"""Proposals keep the effective batch and come in a fixed order."""

import pytest

from brainmvp_lightning.commands.plan_settings import (
    Choice,
    batches,
    changes,
    first_that_fits,
    num_processes,
    proposals,
    smaller_changes,
)
from brainmvp_lightning.tasks.rehearsal import Setting

PAPER = Setting(batch_size=3, processes=8, precision="bf16-mixed")


def voxels(setting: Setting) -> int:
    """A memory in proportion to what lies in it."""
    width = 2 if setting.precision != "32-true" else 4
    side = setting.crop_size[0]
    return setting.batch_size * width * side**3 // (4 if setting.checkpointing else 1)


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8])
def test_every_proposal_keeps_the_effective_batch(processes: int) -> None:
    choice = Choice(Setting(3, processes=processes), 24, half="bf16-mixed")
    found = list(proposals(choice))
    assert {setting.effective_batch for setting in found} == {24}
    assert len(set(found)) == len(found)


def test_processes_share_a_batch_evenly() -> None:
    assert [num_processes(24, most) for most in (1, 5, 7, 8, 16)] == [1, 4, 6, 8, 12]


def test_nodes_have_as_many_processes_each() -> None:
    assert [num_processes(18, most, 2) for most in (2, 4, 16, 18)] == [2, 2, 6, 18]
    assert num_processes(24, 16, 2) == 12
    with pytest.raises(ValueError, match=r"2 nodes cannot share 9 studies evenly.* to 8 or 10"):
        num_processes(9, 16, 2)


@pytest.mark.parametrize(
    ("configured", "expected"),
    [(Setting(3, accumulation=4, processes=8), (1, 3)), (Setting(3, 4, processes=12), (1, 2))],
)
def test_more_processes_than_studies_in_a_batch_have_one_each(
    configured: Setting, expected: tuple[int, int]
) -> None:
    choice = Choice(configured, 24)  # that is 6 at a time
    assert batches(choice) == [expected]
    assert {setting.effective_batch for setting in proposals(choice)} == {24}


def test_no_batch_is_larger_than_the_configured_one() -> None:
    configured = Setting(3, accumulation=2, processes=4)  # 12 at a time, 24 a step
    choice = Choice(configured, 24)
    assert batches(choice) == [(3, 2), (2, 3), (1, 6)]


def test_the_configuration_itself_comes_first_then_checkpointing_then_smaller_batches() -> None:
    found = proposals(Choice(PAPER, 24))
    assert next(found) == PAPER
    assert changes(PAPER, next(found)) == ["model.checkpointing true"]
    assert changes(PAPER, next(found)) == [
        "data.batch_size 1",
        "trainer.accumulate_grad_batches 3",
    ]


def test_what_is_proposed_is_within_the_limit() -> None:
    choice = Choice(Setting(8, crop_size=(64, 64, 64)), 8, half="bf16-mixed")
    for limit in (1 << 24, 1 << 20, 1 << 17, 1 << 14):
        found = first_that_fits(proposals(choice), voxels, limit)
        assert found is not None
        assert voxels(found) <= limit
    assert first_that_fits(proposals(choice), voxels, 10) is None


def test_a_run_that_was_too_large_changes_one_thing_if_that_is_enough() -> None:
    own = Setting(6, precision="32-true")
    choice = Choice(own, 6, half="bf16-mixed")
    half = first_that_fits(smaller_changes(choice), voxels, voxels(own) // 2)
    assert half is not None
    assert changes(own, half) == ["data.batch_size 3", "trainer.accumulate_grad_batches 2"]
    alone = Setting(1)
    single = Choice(alone, 1, half="bf16-mixed")
    frugal = first_that_fits(smaller_changes(single), voxels, voxels(alone) // 2)
    assert frugal is not None
    assert changes(alone, frugal) == ["model.checkpointing true"]
    without = Choice(alone, 1, may_checkpoint=False, half="bf16-mixed")
    narrow = first_that_fits(smaller_changes(without), voxels, voxels(alone) // 2)
    assert narrow is not None
    assert changes(alone, narrow) == ["trainer.precision bf16-mixed"]
    crop = first_that_fits(smaller_changes(without), voxels, voxels(alone) // 3)
    assert crop is not None
    assert changes(alone, crop) == ["trainer.precision bf16-mixed", "data.crop_size [80,80,80]"]
