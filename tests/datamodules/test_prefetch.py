"""Batches copied ahead of their step: all of them, in order, and counted when they are used.

The streams of a GPU are replaced by ones that take notes; everything else is what a GPU runs.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from brainmvp_lightning.datamodules import loading
from brainmvp_lightning.datamodules.packing import PackedBatch
from brainmvp_lightning.datamodules.prefetch import CudaStreams, prefetch
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.datamodules.reading import Reading
from tests.training import LossRecord, small_data, small_task, small_trainer

CPU = torch.device("cpu")


class NotedStreams:
    """Streams that do nothing but write down what is asked of them."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.held: set[int] = set()
        self.num_marks = 0
        self.is_aside = False

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.is_aside = True
        yield
        self.is_aside = False

    def mark(self) -> int:
        assert self.is_aside, "a mark on the stream that computes says nothing about copies"
        self.num_marks += 1
        self.notes.append(f"send {self.num_marks}")
        return self.num_marks

    def wait_for(self, mark: int) -> None:
        assert not self.is_aside
        self.notes.append(f"wait {mark}")

    def hold(self, tensor: torch.Tensor) -> None:
        assert not self.is_aside
        self.held.add(tensor.data_ptr())


class AheadDataModule(PretrainDataModule):
    """Copies ahead to the CPU, as it would to a GPU."""

    def reading(self, *args: Any, **kwargs: Any) -> Reading:
        return replace(super().reading(*args, **kwargs), device=CPU)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> NotedStreams:
    noted = NotedStreams()
    monkeypatch.setattr(loading, "streams_of", lambda _: noted)
    return noted


def ahead(cache: Path, **options: Any) -> AheadDataModule:
    defaults: dict[str, Any] = {"crop_size": (16, 16, 16), "batch_size": 2, "num_workers": 0}
    return AheadDataModule(str(cache), **{**defaults, **options})


def numbered(count: int, notes: list[str]) -> Iterator[dict[str, Any]]:
    for number in range(1, count + 1):
        notes.append(f"read {number}")
        yield {"image": torch.full((2,), number), "study": ["a"]}


def test_a_batch_is_handed_out_when_the_next_one_is_on_its_way() -> None:
    streams = NotedStreams()
    got = []
    for batch in prefetch(numbered(3, streams.notes), CPU, streams):
        streams.notes.append(f"use {int(batch['image'][0])}")
        got.append(batch)
        assert batch["image"].data_ptr() in streams.held
    assert streams.notes == [
        *("read 1", "send 1", "read 2", "send 2", "wait 1", "use 1"),
        *("read 3", "send 3", "wait 2", "use 2", "wait 3", "use 3"),
    ]
    assert [batch["image"].tolist() for batch in got] == [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize("count", [0, 1])
def test_short_epochs_come_whole(count: int) -> None:
    assert len(list(prefetch(numbered(count, []), CPU, NotedStreams()))) == count


def test_an_epoch_that_is_given_up_lets_go_of_what_was_sent() -> None:
    streams = NotedStreams()
    batches = prefetch(numbered(5, streams.notes), CPU, streams)
    next(batches)
    del batches
    assert streams.notes[-1] == "wait 1"
    assert "read 3" not in streams.notes


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_yields_unpacked_batches_of_the_same_content(
    cache_folder: Path, streams: NotedStreams, num_workers: int
) -> None:
    plain = [batch.unpack() for batch in small_data(cache_folder).train_dataloader()]
    loader = ahead(cache_folder, num_workers=num_workers).train_dataloader()
    for _ in range(2):  # an epoch after another
        copied = list(loader)
        assert not any(isinstance(batch, PackedBatch) for batch in copied)
        assert len(copied) == len(plain) == 3
        for ours, theirs in zip(copied, plain, strict=True):
            assert ours.keys() == theirs.keys()
            for name in ("image", "partner", "key", "weight", "origin"):
                assert torch.equal(ours[name], theirs[name])
            assert ours["study"] == theirs["study"]


class Places(Callback):
    """Keeps the place in the training that a checkpoint would hold in each step."""

    def __init__(self) -> None:
        self.inside: list[tuple[int, int]] = []
        self.after: list[tuple[int, int]] = []

    def _place(self, trainer: pl.Trainer) -> tuple[int, int]:
        state = trainer.datamodule.state_dict()  # type: ignore[attr-defined]
        return state["epoch"], state["place"]

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.inside.append(self._place(trainer))

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.after.append(self._place(trainer))


def test_a_batch_that_was_sent_ahead_is_not_counted_before_its_step(
    cache_folder: Path, tmp_path: Path, streams: NotedStreams
) -> None:
    places = Places()
    small_trainer(tmp_path, places, epochs=2).fit(small_task(), ahead(cache_folder))
    # Five studies in batches of two.
    assert places.inside == [(0, 0), (0, 2), (0, 4), (1, 0), (1, 2), (1, 4)]
    assert places.after == [(0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0)]
    assert streams.num_marks == 6 + 2  # training, and a validation batch after each epoch


class Cut(Callback):
    """Stops a run like a power cut."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("cut")


def run(
    folder: Path, data: PretrainDataModule, *callbacks: Callback, **options: Any
) -> dict[int, float]:
    record = LossRecord()
    trainer = small_trainer(folder, record, *callbacks, **options)
    trainer.fit(small_task(), data, ckpt_path="last")
    return record.losses


@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
@pytest.mark.parametrize("step", [2, 3, 4])  # inside an epoch, at its end, in the first of the next
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_run_that_was_cut_goes_on_exactly(
    cache_folder: Path, tmp_path: Path, streams: NotedStreams, step: int, num_workers: int
) -> None:
    whole = run(tmp_path / "whole", small_data(cache_folder), epochs=2)
    assert streams.num_marks == 0  # nothing is copied ahead on a CPU
    data = ahead(cache_folder, num_workers=num_workers)
    with pytest.raises(RuntimeError, match="cut"):
        run(tmp_path / "cut", data, Cut(step), epochs=2)
    rest = run(tmp_path / "cut", ahead(cache_folder, num_workers=num_workers), epochs=2)
    assert sorted(whole) == [1, 2, 3, 4, 5, 6]
    assert rest == {number: whole[number] for number in range(step, 7)}


def test_validation_between_steps_does_not_disturb(
    cache_folder: Path, tmp_path: Path, streams: NotedStreams
) -> None:
    def losses(data: PretrainDataModule, name: str) -> dict[int, float]:
        record = LossRecord()
        trainer = small_trainer(tmp_path / name, record, epochs=2)
        trainer.val_check_interval = 1
        trainer.fit(small_task(), data)
        return record.losses

    plain = losses(small_data(cache_folder), "plain")
    assert losses(ahead(cache_folder), "ahead") == plain
    assert streams.num_marks == 6 + 6


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = torch.device("cuda", 0)
CYCLES = 100_000_000  # of a stream that does nothing, some 50 ms


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("waits", [True, False])
def test_only_a_step_that_waits_for_a_mark_reads_what_was_copied(waits: bool) -> None:
    streams = CudaStreams(GPU)
    copied, read = torch.empty(1024, device=GPU), torch.zeros(1024, device=GPU)
    copied.fill_(0)  # a kernel that is loaded later might wait for all streams
    torch.cuda._sleep(1)
    torch.cuda.synchronize()
    with streams.aside():
        torch.cuda._sleep(CYCLES)
        copied.fill_(1)
        mark = streams.mark()
    if waits:
        streams.wait_for(mark)
    read.copy_(copied)
    assert read.tolist() == [float(waits)] * 1024
    torch.cuda.synchronize()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("holds", [True, False])
def test_only_memory_that_is_held_is_kept_from_the_next_copy(holds: bool) -> None:
    streams = CudaStreams(GPU)
    num_values = 2**25  # 128 MiB, a piece of memory by itself
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    with streams.aside():
        first = torch.zeros(num_values, device=GPU)
    place = first.data_ptr()
    torch.cuda._sleep(CYCLES)  # of the step
    if holds:
        streams.hold(first)
    del first
    with streams.aside():
        second = torch.zeros(num_values, device=GPU)
    assert (second.data_ptr() == place) == (not holds)
    torch.cuda.synchronize()


class SlowCopies(CudaStreams):
    """Streams of which the one for copies is late."""

    def aside(self) -> AbstractContextManager[Any]:
        with torch.cuda.stream(self.side):
            torch.cuda._sleep(CYCLES)
        return super().aside()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("late", ["copies", "steps"])
def test_a_step_on_a_gpu_sees_what_was_read(cache_folder: Path, late: str) -> None:
    data = small_data(cache_folder, visits_per_epoch=8)
    plain = [batch.unpack() for batch in data.train_dataloader()]
    pinned = (batch.pin_memory() for batch in data.train_dataloader())
    streams = SlowCopies(GPU) if late == "copies" else CudaStreams(GPU)
    seen: list[dict[str, torch.Tensor]] = []
    for batch in prefetch(pinned, GPU, streams):
        if late == "steps":
            torch.cuda._sleep(CYCLES)
        seen.append({name: batch[name].clone() for name in ("image", "partner")})
        del batch  # its memory may be taken for the next copy, though the step has not begun
    assert len(seen) == len(plain) > 2
    for ours, theirs in zip(seen, plain, strict=True):  # read when all is queued
        for name, value in ours.items():
            assert value.device == GPU
            # A fused product and sum on the GPU, both rounded on the CPU.
            torch.testing.assert_close(value.cpu(), theirs[name], rtol=0, atol=1e-6)  # type: ignore[literal-required]
