"""What is counted without computing is what a real step saves and keeps."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.batches import DataDescription
from brainmvp_lightning.heads.contrastive import InfoNCEHead
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.methods.templates import TemplateOptions, Update
from brainmvp_lightning.tasks.counting import LiveBytes, count_saved, storages_of
from brainmvp_lightning.tasks.pretrain import PretrainTask
from brainmvp_lightning.tasks.rehearsal import (
    Data,
    Setting,
    autocast_step,
    loss_of,
    make_batch,
    make_optimizer,
    prepare,
    run_steps,
)
from brainmvp_lightning.tasks.step_cost import StepCost, count_step, num_flops, seconds_of

CROP = (16, 16, 16)
DATA = Data(DataDescription(("t1", "t2"), (1.0,) * 3, (0.0,) * 3, CROP))
UNET = partial(UNET3D, widths=(8, 16), depths=(1, 1))
UNIFORMER = partial(UniFormer, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8)
PLAIN = Setting(batch_size=2, crop_size=CROP)


def new_task(backbone: object = UNET, update: Update = "auto") -> PretrainTask:
    return PretrainTask(
        backbone,  # type: ignore[arg-type]
        partial(
            BrainMVP,
            masking=GridBlocks(block_size=4, ratio=0.75),
            contrast=partial(InfoNCEHead, projector_width=4),
            templates=TemplateOptions(modalities=("t1", "t2"), shape=(24, 24, 24), update=update),
        ),
    )


def saved_for_real(backbone: object, setting: Setting) -> int:
    """Count what autograd saves in a step that is computed."""
    task = new_task(backbone)
    prepare(task, DATA, setting, "cpu")
    optimizer = make_optimizer(task)
    batch = make_batch(DATA.suited(setting), setting, torch.device("cpu"))
    loss_of(task, batch).backward()
    optimizer.step()
    optimizer.zero_grad()
    tensors = [*task.parameters(), *task.buffers()]
    tensors += [value for value in batch.values() if isinstance(value, torch.Tensor)]
    own = frozenset(storages_of(iter(tensors)))
    with autocast_step(setting, "cpu"), count_saved(own) as saved:
        loss_of(task, batch)
    return saved.total


@pytest.mark.parametrize("backbone", [UNET, UNIFORMER], ids=["unet3d", "uniformer"])
def test_counted_activations_are_those_that_a_real_step_saves(backbone: object) -> None:
    cost = count_step(new_task(backbone), DATA, PLAIN, "cpu")
    assert cost.saved == saved_for_real(backbone, PLAIN)
    assert cost.saved <= cost.activations <= 1.05 * cost.saved


@pytest.mark.parametrize("backbone", [UNET, UNIFORMER], ids=["unet3d", "uniformer"])
def test_in_half_precision_only_statistics_of_norms_are_counted_too_small(backbone: object) -> None:
    setting = Setting(batch_size=2, crop_size=CROP, precision="bf16-mixed")
    counted = count_step(new_task(backbone), DATA, setting, "cpu").saved
    assert 0 <= saved_for_real(backbone, setting) - counted < 0.01 * counted


def test_weights_gradients_and_moments_are_those_of_the_parameters() -> None:
    task = new_task()
    values = 4 * sum(parameter.numel() for parameter in task.parameters())
    templates = 4 * 2 * 24**3
    cost = count_step(task, DATA, PLAIN, "cpu")
    assert cost.templates == templates
    assert 0 < cost.weights - (values - templates) < 1000  # a few buffers
    assert cost.gradients == values
    assert 0 <= cost.moments - 2 * values < 1000  # a step count for each parameter


def peak_for_real(setting: Setting) -> int:
    """Return the most bytes alive in a second step that is computed."""
    with LiveBytes() as live:
        task = new_task()
        prepare(task, DATA, setting, "cpu")
        optimizer = make_optimizer(task)
        batch = make_batch(DATA.suited(setting), setting, torch.device("cpu"))
        for _ in range(2):
            live.reset_peak()
            for _ in range(setting.accumulation):
                loss_of(task, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    return live.peak


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_counted_peak_is_that_of_a_real_step(accumulation: int) -> None:
    setting = replace(PLAIN, accumulation=accumulation)
    counted = count_step(new_task(), DATA, setting, "cpu").peak
    assert counted == pytest.approx(peak_for_real(setting), rel=0.01)


def test_the_optimiser_works_once_for_all_batches_of_a_step() -> None:
    cost = count_step(new_task(), DATA, PLAIN, "cpu")
    assert num_flops(cost.update) == 0  # no products of matrices
    # Of AdamW, which is one operation here: weights, gradients and two moments are read, all but
    # gradients are written.
    assert sum(work.traffic for work in cost.update) >= 7 * cost.gradients
    twice = count_step(new_task(), DATA, replace(PLAIN, accumulation=2), "cpu")
    assert twice.update == cost.update


@pytest.mark.parametrize(("processes", "accumulation"), [(64, 1), (1, 64)])
def test_windows_of_all_processes_and_batches_count(processes: int, accumulation: int) -> None:
    def cost(setting: Setting) -> StepCost:
        return count_step(new_task(update="windowed"), DATA, setting, "cpu")

    many = cost(replace(PLAIN, processes=processes, accumulation=accumulation))
    at_once = cost(replace(PLAIN, batch_size=128))
    moved, expected = (sum(work.traffic for work in each.update) for each in (many, at_once))
    assert moved == pytest.approx(expected, rel=0.1)
    # For each voxel: places (4 and 8 bytes), its gradient, both moments and its value.
    assert many.peak > 28 * 128 * 16**3


def test_checkpointing_keeps_less_and_computes_more() -> None:
    setting = Setting(batch_size=2, crop_size=CROP, checkpointing=True)
    plain = count_step(new_task(), DATA, PLAIN, "cpu")
    frugal = count_step(new_task(), DATA, setting, "cpu")
    assert frugal.activations < plain.activations
    assert frugal.saved <= frugal.activations
    assert num_flops(frugal.works) > num_flops(plain.works)


def test_activations_grow_in_proportion_to_the_batch() -> None:
    one, two, four = (
        count_step(new_task(), DATA, Setting(number, crop_size=CROP), "cpu").activations
        for number in (1, 2, 4)
    )
    assert four - two == pytest.approx(2 * (two - one), rel=0.01)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_gpu_keeps_norms_in_float32_where_a_cpu_does_not(checkpointing: bool) -> None:
    setting = replace(PLAIN, precision="bf16-mixed", checkpointing=checkpointing)
    on_cpu = count_step(new_task(), DATA, setting, "cpu")
    on_gpu = count_step(new_task(), DATA, setting, "cuda")
    # Only what is computed again changes its type if all norms lie inside of blocks.
    assert on_cpu.saved <= on_gpu.saved
    assert on_cpu.peak < on_gpu.peak


def test_live_bytes_know_when_tensors_end() -> None:
    with LiveBytes() as live:
        first = torch.zeros(100)
        second = first + 1
        del first
        view = second[:10]
        assert live.now == 400
        del second
        assert live.now == 400  # the view keeps it
        del view
    assert (live.now, live.peak) == (0, 800)


def test_operations_of_a_convolution_are_counted_by_hand() -> None:
    layer = nn.Conv3d(4, 8, 3, padding=1, groups=2)
    with LiveBytes() as live:
        layer(torch.zeros(1, 4, 5, 5, 5, requires_grad=True)).sum().backward()
    # For each output voxel 2 input channels and 27 voxels; forward, and two products backward.
    assert num_flops(tuple(live.works)) == 3 * 2 * (8 * 125) * (2 * 27)
    # No time is less than that of the operations alone.
    assert seconds_of(tuple(live.works), 1.0, 1e30) == pytest.approx(num_flops(tuple(live.works)))


def test_real_steps_are_timed_and_the_optimiser_moves_the_weights() -> None:
    task = new_task()
    before = [parameter.detach().clone() for parameter in task.backbone.parameters()]
    setting = Setting(batch_size=1, accumulation=2, crop_size=CROP)
    taken = run_steps(task, DATA, setting, torch.device("cpu"), num_warmups=1, num=2)
    assert len(taken) == 2
    assert min(taken) > 0
    assert any(
        not torch.equal(old, new)
        for old, new in zip(before, task.backbone.parameters(), strict=True)
    )
