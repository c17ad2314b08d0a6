"""What fine-tuning does with weights, templates, copies and checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from brainmvp_lightning.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from brainmvp_lightning.inference.loading import load_model
from brainmvp_lightning.methods.augmentation import AugmentationOptions
from brainmvp_lightning.methods.substitution import SubstitutionOptions
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.tasks.copies import make_views
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from tests.datamodules.labelled_cohort import write_cohort
from tests.tasks.fine_tuning import (
    MODALITIES,
    QUIET,
    classification_data,
    classification_task,
    segmentation_data,
    segmentation_task,
    trainer,
    write_encoder,
)

pytestmark = QUIET
BLOCKS = SubstitutionOptions(masking=None)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "encoder.safetensors")


class Cut(Callback):
    """Ends a run before its third step."""

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        """Fail."""
        if trainer.global_step == 2:
            raise RuntimeError("cut")


def state(task: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in task.model.state_dict().items()}


def differences(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_channels_and_outputs_come_from_the_data(cohort: Path) -> None:
    for regions, outputs in ((True, 3), (False, 4)):
        task = segmentation_task()
        task.check(segmentation_data(cohort, regions=regions), validates=True)
        assert task.model is not None
        assert task.model.backbone.in_channels == 4
        assert task.model.head.num_outputs == outputs


def test_the_network_starts_from_the_weights_and_is_the_same_each_time(
    cohort: Path, encoder: Path
) -> None:
    tasks = [segmentation_task(weights=str(encoder)) for _ in range(2)]
    for task in tasks:
        task.check(segmentation_data(cohort), validates=True)
    assert differences(state(tasks[0]), state(tasks[1])) == set()
    scratch = segmentation_task()
    scratch.check(segmentation_data(cohort), validates=True)
    assert tasks[0].report is not None
    assert tasks[0].report.coverage == 1.0
    taken = {name for name in state(scratch) if name.startswith("backbone.")}
    changed = {
        name for name in taken if not torch.equal(state(scratch)[name], state(tasks[0])[name])
    }
    assert {n for n in taken if n.endswith("conv1.weight")} <= changed


@pytest.mark.parametrize("kind", ["segmentation", "classification"])
@pytest.mark.parametrize("substitution", [None, BLOCKS])
def test_a_run_trains_validates_tests_and_predicts(
    cohort: Path, encoder: Path, tmp_path: Path, kind: str, substitution: Any
) -> None:
    options = {"weights": str(encoder), "substitution": substitution}
    if kind == "segmentation":
        task, data = segmentation_task(**options), segmentation_data(cohort)
    else:
        task, data = classification_task(**options), classification_data(cohort)
    runner = trainer(tmp_path, limit_val_batches=1.0 if kind == "segmentation" else 0)
    task.check(data, validates=kind == "segmentation")
    before = state(task)
    runner.fit(task, datamodule=data)
    changed = differences(before, state(task))
    assert any(name.startswith("backbone.") for name in changed)
    assert any(name.startswith("head.") for name in changed)
    assert not any(name.startswith("templates.") for name in changed)
    if kind == "segmentation":
        assert 0 <= float(runner.callback_metrics["val/dice"]) <= 1
    assert ("train/consistency" in runner.callback_metrics) == (substitution is not None)
    runner.test(task, datamodule=data, verbose=False)
    rows = 3 if kind == "segmentation" else 1
    assert len(task.cases) == rows
    (predictions,) = runner.predict(task, datamodule=data)  # type: ignore[misc]
    assert [prediction.study for prediction in predictions] == ["e"]  # type: ignore[union-attr]


def test_a_checkpoint_is_all_that_is_needed_to_predict(
    cohort: Path, encoder: Path, tmp_path: Path
) -> None:
    task = segmentation_task(weights=str(encoder), substitution=BLOCKS)
    data = segmentation_data(cohort)
    trainer(tmp_path, LastCheckpoint(), BestCheckpoint()).fit(task, datamodule=data)
    path = tmp_path / "checkpoints" / "best.ckpt"
    model = load_model(path)
    assert model.description == data.describe()
    assert differences(state(task), dict(model.state_dict())) == set()
    other = segmentation_task()
    runner = trainer(tmp_path / "test")
    runner.test(other, datamodule=data, ckpt_path=str(path), verbose=False, weights_only=True)
    assert len(other.cases) == 3


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    cohort: Path, encoder: Path, tmp_path: Path
) -> None:
    def run(folder: str, *callbacks: Callback, **options: Any) -> SegmentationTask:
        task = segmentation_task(weights=str(encoder), substitution=BLOCKS, ema=0.9)
        task.resumes = bool(options)
        data = segmentation_data(cohort, visits_per_epoch=4)
        saving = LastCheckpoint(every_steps=1)
        runner = trainer(tmp_path / folder, saving, *callbacks, steps=4, limit_val_batches=0)
        runner.fit(task, datamodule=data, weights_only=True, **options)
        return task

    whole = run("whole")
    with pytest.raises(RuntimeError, match="cut"):
        run("parts", Cut())
    parts = run("parts", ckpt_path=str(tmp_path / "parts" / "checkpoints" / "last.ckpt"))
    assert differences(state(whole), state(parts)) == set()
    assert whole.ema is not None
    assert parts.ema is not None
    averages = [dict(task.ema.state_dict()) for task in (whole, parts)]  # type: ignore[union-attr]
    assert differences(*averages) == set()


def test_the_average_is_what_is_scored(cohort: Path, tmp_path: Path) -> None:
    task = segmentation_task(ema=0.5)
    data = segmentation_data(cohort)
    task.check(data, validates=False)
    start = state(task)
    trainer(tmp_path, steps=1, limit_val_batches=0).fit(task, datamodule=data)
    name = next(name for name in start if name.endswith("conv1.weight"))
    assert task.ema is not None
    # The first update copies the weights, as torch's average does.
    averaged = dict(task.scored.state_dict())[name]
    torch.testing.assert_close(averaged, state(task)[name])
    assert task.scored is task.ema.module


def test_a_frozen_encoder_stays_as_it_is(cohort: Path, encoder: Path, tmp_path: Path) -> None:
    task = segmentation_task(weights=str(encoder), freeze="encoder")
    data = segmentation_data(cohort)
    task.check(data, validates=False)
    before = state(task)
    trainer(tmp_path, limit_val_batches=0).fit(task, datamodule=data)
    changed = differences(before, state(task))
    assert changed
    assert all(name.startswith("head.") for name in changed)


def test_deep_layers_learn_faster_than_shallow_ones(cohort: Path, tmp_path: Path) -> None:
    task = segmentation_task(layer_decay=0.5)
    data = segmentation_data(cohort)
    trainer(tmp_path, steps=1, limit_val_batches=0).fit(task, datamodule=data)
    optimizer: Any = task.optimizers()
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    assert rates == [1e-2, 5e-3, 2.5e-3]  # head, second level, first level
    num = sum(len(group["params"]) for group in optimizer.param_groups)
    assert num == len(list(task.model.parameters()))  # type: ignore[union-attr]


def test_copies_replace_modalities_and_leave_the_annotation_alone(
    cohort: Path, encoder: Path
) -> None:
    task = segmentation_task(weights=str(encoder), substitution=BLOCKS)
    data = segmentation_data(cohort)
    task.check(data, validates=False)
    batch: Any = next(iter(data.train_dataloader()))
    still = AugmentationOptions(flip=0.0, shift=0.0, scale=0.0)
    views = make_views(task.model, batch, batch["origin"], BLOCKS, still)  # type: ignore[arg-type]
    assert views.image.shape == (4, 4, 16, 16, 16)
    torch.testing.assert_close(views.like_image(batch["label"])[:2], batch["label"])
    crops = task.model.templates.crop(batch["origin"], (16, 16, 16))  # type: ignore[union-attr]
    for copy in views.image.chunk(2):
        for row, present in enumerate(batch["present"]):
            for channel in range(4):
                if not present[channel]:
                    assert torch.equal(copy[row, channel], crops[row, channel])
            real = [
                torch.equal(copy[row, c], batch["image"][row, c]) for c in range(4) if present[c]
            ]
            assert any(real) or present.sum() == 1


def test_mirrors_move_image_and_annotation_alike(cohort: Path, encoder: Path) -> None:
    task = segmentation_task(weights=str(encoder))
    data = segmentation_data(cohort)
    task.check(data, validates=False)
    batch: Any = next(iter(data.train_dataloader()))
    always = AugmentationOptions(flip=1.0, shift=0.0, scale=0.0)
    views = make_views(task.model, batch, batch["origin"], None, always)  # type: ignore[arg-type]
    row, channel = next((r, c) for r, c in batch["present"].nonzero().tolist())
    expected = batch["image"][row, channel].flip(0, 1, 2)
    assert torch.equal(views.image[row, channel], expected)
    assert torch.equal(views.like_image(batch["label"]), batch["label"].flip(2, 3, 4))


def test_every_subset_of_modalities_is_tested_if_asked(
    cohort: Path, encoder: Path, tmp_path: Path
) -> None:
    task = segmentation_task(weights=str(encoder), subsets=True)
    data = segmentation_data(cohort)
    runner = trainer(tmp_path, steps=1, limit_val_batches=0)
    runner.fit(task, datamodule=data)
    runner.test(task, datamodule=data, verbose=False)
    assert {row.modalities for row in task.cases} == {"t1+t2", "t1", "t2"}  # study e has these two
    assert len(task.cases) == 9


def test_missing_modalities_are_templates_or_zeros(cohort: Path, encoder: Path) -> None:
    data = segmentation_data(cohort)
    image, origin = torch.ones(1, 4, 16, 16, 16), torch.zeros(1, 3, dtype=torch.int64)
    present = torch.tensor([[True, False, True, True]])
    for missing, grey in ((None, 0.2), ("templates", 0.2), ("zeros", 0.0)):
        task = segmentation_task(weights=str(encoder), missing=missing)
        task.check(data, validates=False)
        filled = task.model.fill(image, present, origin)  # type: ignore[union-attr]
        # Voxels 16 to 31 of the template, whose box ends at 28.
        assert filled[0, 1, :12, :12, :12].unique().tolist() == pytest.approx([grey])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"substitution": BLOCKS}, "needs modality templates"),
        ({"missing": "templates"}, "needs modality templates"),
    ],
)
def test_templates_that_are_not_there_are_missed_before_training(
    cohort: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SetupError, match=words):
        segmentation_task(**options).check(segmentation_data(cohort), validates=False)


def test_a_modality_without_template_is_named(cohort: Path, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder.safetensors", ("t1", "t2"))
    task = segmentation_task(weights=str(encoder))
    with pytest.raises(ValueError, match="flair"):
        task.check(segmentation_data(cohort), validates=False)
    task = segmentation_task(weights=str(encoder), missing="zeros")
    task.check(segmentation_data(cohort), validates=False)


def test_crops_that_the_network_cannot_take_are_refused(cohort: Path) -> None:
    with pytest.raises(SetupError, match="crop_size"):
        segmentation_task().check(
            segmentation_data(cohort, crop_size=(15, 16, 16)), validates=False
        )


def test_data_of_another_kind_are_refused(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="ClassificationDataModule"):
        classification_task().check(segmentation_data(cohort), validates=False)
    with pytest.raises(SetupError, match="SegmentationDataModule"):
        segmentation_task().check(classification_data(cohort), validates=False)


def test_a_validation_without_one_of_the_classes_is_refused(cohort: Path) -> None:
    with pytest.raises(SetupError, match="LGG"):
        classification_task().check(classification_data(cohort), validates=True)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"modalities": list(MODALITIES[:3])}, "modalities t1, t2, flair, t1ce"),
        ({"regions": True}, "overlapping"),
    ],
)
def test_a_checkpoint_is_not_tested_on_other_data(
    cohort: Path, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    task = segmentation_task()
    runner = trainer(tmp_path, LastCheckpoint(), steps=1, limit_val_batches=0)
    runner.fit(task, datamodule=segmentation_data(cohort))
    other = segmentation_data(cohort, **changed)
    path = str(tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(SetupError, match=words):
        trainer(tmp_path).test(segmentation_task(), datamodule=other, ckpt_path=path)


def test_a_checkpoint_of_another_network_does_not_resume(cohort: Path, tmp_path: Path) -> None:
    data = segmentation_data(cohort)
    runner = trainer(tmp_path, LastCheckpoint(), steps=1, limit_val_batches=0)
    runner.fit(segmentation_task(), datamodule=data)
    other = segmentation_task(head=None)
    other.start = type(other.start)(**{**vars(other.start), "head": {"class_path": "uniunet"}})
    other.check(data, validates=False)
    path = str(tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(SetupError, match="another head"):
        trainer(tmp_path, steps=2).fit(other, datamodule=data, ckpt_path=path)


@pytest.mark.parametrize(
    "options", [{"layer_decay": 0.0}, {"layer_decay": 1.5}, {"ema": 1.0}, {"ema": -0.1}]
)
def test_options_without_meaning_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="model"):
        segmentation_task(**options)
