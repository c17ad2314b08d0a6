"""A run that was interrupted in the middle of an epoch goes on as if it had not been."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, OnExceptionCheckpoint

from brainmvp_lightning.callbacks.checkpoints import LastCheckpoint
from brainmvp_lightning.datamodules.journey import ResumeError
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from tests.training import LossRecord, small_data, small_task, small_trainer


class Interrupt(Callback):
    """Stops the run like a power cut would: nothing is saved any more."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("cut")


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = saved["state_dict"]
    return state


def run(folder: Path, cache: Path, *callbacks: Callback, **options: Any) -> dict[int, float]:
    record = LossRecord()
    trainer = small_trainer(folder, record, *callbacks)
    trainer.fit(small_task(), small_data(cache, **options), ckpt_path="last")
    return record.losses


@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_losses_and_weights_are_those_of_an_uninterrupted_run(
    cache_folder: Path, tmp_path: Path, step: int
) -> None:
    # Five studies in batches of two: three steps an epoch, so steps 2, 4 and 5 are inside one.
    whole = run(tmp_path / "whole", cache_folder)
    with pytest.raises(RuntimeError, match="cut"):
        run(tmp_path / "cut", cache_folder, Interrupt(step))
    rest = run(tmp_path / "cut", cache_folder)
    assert sorted(whole) == list(range(1, 10))
    # The cut came before the checkpoint of its step, which is therefore done again.
    assert sorted(rest) == list(range(step, 10))
    assert rest == {step: whole[step] for step in rest}
    first, second = state_of(tmp_path / "whole"), state_of(tmp_path / "cut")
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert "method.templates.values" in first


@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
def test_losses_do_not_depend_on_the_number_of_workers(cache_folder: Path, tmp_path: Path) -> None:
    without = run(tmp_path / "none", cache_folder)
    with_two = run(tmp_path / "two", cache_folder, num_workers=2)
    assert with_two == without


class Visits(Callback):
    """Keeps the epoch and the studies of each training step."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, list[str]]] = []
        self.first_step = 0

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        self.first_step = trainer.global_step + 1

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        counted = zip(args[2]["study"], args[2]["weight"].tolist(), strict=True)
        self.steps.append((trainer.current_epoch, [study for study, share in counted if share]))


@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
@pytest.mark.parametrize(("cut", "batch_size"), [(2, 1), (3, 1), (4, 3), (4, 1), (5, 5)])
def test_resuming_with_another_batch_size_visits_what_is_left(
    cache_folder: Path, tmp_path: Path, cut: int, batch_size: int
) -> None:
    before, after = Visits(), Visits()
    with pytest.raises(RuntimeError, match="cut"):
        run(tmp_path, cache_folder, before, Interrupt(cut))
    with pytest.warns(UserWarning, match=f"2 studies per step, this run takes {batch_size}"):
        run(tmp_path, cache_folder, after, batch_size=batch_size)
    # The last checkpoint is that of the step before the cut.
    for epoch in range(3):
        steps = [*before.steps[: cut - 1], *after.steps]
        visited = [study for number, studies in steps if number == epoch for study in studies]
        assert sorted(visited) == ["toy_a", "toy_b", "toy_c", "toy_d", "toy_e"], (epoch, steps)
    assert max(len(studies) for _, studies in after.steps) == min(batch_size, 5)


@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
@pytest.mark.filterwarnings("ignore:the checkpoint was made with")
@pytest.mark.parametrize(
    "legs",
    [
        ((2, 4), (2, 6), (2, 0)),  # from the end of an epoch, then from inside the next
        ((2, 4), (2, 5), (2, 7), (2, 0)),
        ((2, 4), (3, 5), (3, 6), (1, 0)),
        ((2, 3), (1, 6), (2, 8), (2, 0)),
        ((1, 5), (5, 6), (2, 0)),
    ],
)
def test_any_row_of_interruptions_visits_each_study_once_an_epoch(
    cache_folder: Path, tmp_path: Path, legs: tuple[tuple[int, int], ...]
) -> None:
    kept: dict[int, tuple[int, list[str]]] = {}
    for batch_size, cut in legs:
        visits = Visits()
        callbacks = [visits, Interrupt(cut)] if cut else [visits]
        with pytest.raises(RuntimeError, match="cut") if cut else nullcontext():
            run(tmp_path, cache_folder, *callbacks, batch_size=batch_size)
        first = visits.first_step
        kept = {step: visit for step, visit in kept.items() if step < first}
        kept |= dict(enumerate(visits.steps, first))
    for epoch in range(3):
        studies = [study for number, names in kept.values() if number == epoch for study in names]
        assert sorted(studies) == ["toy_a", "toy_b", "toy_c", "toy_d", "toy_e"], (epoch, kept)


@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
@pytest.mark.parametrize("every_steps", [None, 1])
@pytest.mark.parametrize("limits", [{"max_steps": 9, "max_epochs": -1}, {"limit_train_batches": 2}])
def test_limits_do_not_shift_the_epochs_of_a_resumed_run(
    cache_folder: Path, tmp_path: Path, every_steps: int | None, limits: dict[str, int]
) -> None:
    def steps(folder: Path, *callbacks: Callback) -> list[list[str]]:
        visits = Visits()
        trainer = pl.Trainer(
            default_root_dir=folder,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[LastCheckpoint(every_steps), visits, *callbacks],
            **{"max_epochs": 3, **limits},  # type: ignore[arg-type]
        )
        trainer.fit(small_task(), small_data(cache_folder), ckpt_path="last")
        return [studies for _, studies in visits.steps]

    whole = steps(tmp_path / "whole")
    cut = 1 + len(whole) // 3  # in the first step of the second epoch
    with pytest.raises(RuntimeError, match="cut"):
        steps(tmp_path / "cut", Interrupt(cut))
    assert steps(tmp_path / "cut") == whole[cut - 1 :]


@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
def test_a_checkpoint_of_other_data_is_refused(cache_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cut"):
        run(tmp_path, cache_folder, Interrupt(2))
    with pytest.raises(ResumeError, match="5 visits per epoch, this run has 10"):
        run(tmp_path, cache_folder, visits_per_epoch=2)


def test_a_split_without_studies_is_named(cache_folder: Path) -> None:
    data: PretrainDataModule = small_data(cache_folder)
    with pytest.raises(ValueError, match="no test studies"):
        data.studies("test")


class CutInside(Callback):
    """Saves and stops in the middle of a step: its batch is taken, its step is not made."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.step = step

    def on_before_optimizer_step(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step - 1:
            trainer.save_checkpoint(self.path)
            raise RuntimeError("cut")


class Places(Callback):
    """Keeps the epoch and the place that a checkpoint after each step would have."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        state = trainer.datamodule.state_dict()  # type: ignore[attr-defined]
        self.places.append((state["epoch"], state["place"]))


def test_after_a_checkpoint_from_inside_a_step_places_are_right_again(
    cache_folder: Path, tmp_path: Path
) -> None:
    whole, path = Places(), tmp_path / "inside.ckpt"
    small_trainer(tmp_path / "whole", whole, epochs=2).fit(small_task(), small_data(cache_folder))
    with pytest.raises(RuntimeError, match="cut"):
        small_trainer(tmp_path / "cut", CutInside(path, 2)).fit(
            small_task(), small_data(cache_folder)
        )
    rest = Places()
    trainer = small_trainer(tmp_path / "cut", rest, epochs=2)
    trainer.fit(small_task(), small_data(cache_folder), ckpt_path=str(path))
    assert rest.places == whole.places[1:]


@pytest.mark.filterwarnings("ignore:.*was called without a model.*")
@pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")
def test_what_fails_before_a_training_is_not_hidden_by_its_checkpoint(
    cache_folder: Path, tmp_path: Path
) -> None:
    class Failing(Callback):
        def on_fit_start(self, *args: Any) -> None:
            raise RuntimeError("the real reason")

    saving = OnExceptionCheckpoint(str(tmp_path / "saved"))
    with pytest.raises(RuntimeError, match="the real reason"):
        small_trainer(tmp_path, saving, Failing()).fit(small_task(), small_data(cache_folder))
