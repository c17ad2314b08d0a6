"""Traps of fine-tuning that once caught us."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from brainmvp_lightning.inference.model import Answer
from brainmvp_lightning.losses.segmentation import SegmentationLoss, SegmentationLossOptions
from brainmvp_lightning.methods.substitution import SubstitutionOptions
from brainmvp_lightning.tasks.agreement import centre_shift, check_same_data, recipe_differences
from brainmvp_lightning.tasks.averaging import average_of
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.tasks.copies import TrainingViews, make_views
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from tests.datamodules.labelled_cohort import COHORT, write_cohort
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


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def tiny_uniformer(channels: int) -> UniFormer:
    return UniFormer(channels, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8)


@pytest.mark.parametrize("decay", [0.9, 0.9999])
def test_indices_of_an_average_are_those_of_the_network(decay: float) -> None:
    network = nn.BatchNorm1d(1)
    network.register_buffer("voxel", torch.tensor([11, 12, 48, 112]))
    average = average_of(network, decay)
    for _ in range(3):
        average.update_parameters(network)
    assert average.module.voxel.tolist() == [11, 12, 48, 112]


def test_an_average_moves_by_its_decay() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = average_of(network, 0.9)
    average.update_parameters(network)
    nn.init.ones_(network.weight)
    average.update_parameters(network)
    assert average.module.weight.item() == pytest.approx(0.1)


@pytest.mark.filterwarnings("ignore:.*stays random.*")
def test_a_frozen_encoder_keeps_its_batch_statistics(cohort: Path, tmp_path: Path) -> None:
    task = SegmentationTask(
        backbone=UniFormer,
        head=None,
        freeze="encoder",
        loss=SegmentationLossOptions(auxiliary=()),
    )
    task.start = replace(
        task.start,
        backbone={
            "class_path": f"{UniFormer.__module__}.UniFormer",
            "init_args": {
                "widths": [8, 8, 16, 16],
                "depths": [1, 1, 1, 1],
                "stage_strides": [2, 2, 2, 1],
                "head_width": 8,
            },
        },
    )
    data = segmentation_data(cohort)
    task.check(data, validates=True)
    assert task.model is not None
    before = {name: value.clone() for name, value in task.model.backbone.state_dict().items()}
    trainer(tmp_path).fit(task, datamodule=data)
    for name, value in task.model.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_every_trained_parameter_is_used_whatever_the_deep_supervision(
    cohort: Path, tmp_path: Path
) -> None:
    for factors, num_frozen in (((), 4), ((0.5,), 2), ((0.25, 0.5), 0), ((1.0, 1.0, 1.0), 0)):
        task = SegmentationTask(
            backbone=tiny_uniformer_class(), loss=SegmentationLossOptions(auxiliary=factors)
        )
        data = segmentation_data(cohort, crop_size=(32, 16, 16))
        task.check(data, validates=False)
        trainer(tmp_path, steps=1, limit_val_batches=0).fit(task, datamodule=data)
        assert task.model is not None
        trained = [(n, p) for n, p in task.model.named_parameters() if p.requires_grad]
        assert [name for name, parameter in trained if parameter.grad is None] == []
        frozen = [p for p in task.model.parameters() if not p.requires_grad]
        assert len(frozen) == num_frozen  # weight and bias of each layer


def tiny_uniformer_class() -> Any:
    from functools import partial

    return partial(UniFormer, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8)


DATA = LabelledDescription(
    modalities=("t1",),
    spacing_mm=(2.0, 2.0, 2.0),
    centre_mm=(5.0, 5.0, 5.0),
    crop_size=(8, 8, 8),
    placement="world",
    num_outputs=2,
    region_names=("a",),
    label_regions=((), ("a",)),
    recipe={"spacing_mm": 2.0, "codec": "x"},
)


def test_origins_are_counted_from_the_centre_the_network_knows() -> None:
    other = replace(DATA, centre_mm=(5.0, -7.0, 8.1))
    assert centre_shift(DATA, other) == (0, -6, 2)
    at_centre = replace(DATA, placement="centre")
    assert centre_shift(at_centre, replace(other, placement="centre")) == (0, 0, 0)


@pytest.mark.parametrize(
    "change", [{"placement": "centre"}, {"clip": {"lower": 1.0}}, {"spacing_mm": (1.0, 1.0, 1.0)}]
)
def test_what_changes_the_meaning_of_data_is_compared(change: dict[str, Any]) -> None:
    with pytest.raises(SetupError, match=next(iter(change))):
        check_same_data(DATA, replace(DATA, **change), True)


def test_another_recipe_is_named() -> None:
    other = replace(DATA, recipe={"spacing_mm": 2.0, "brain_mask": "deepbet", "codec": "y"})
    (sentence,) = recipe_differences(DATA, other)
    assert "recipe.brain_mask deepbet" in sentence


def test_templates_stay_in_place_on_a_cache_with_another_centre(
    cohort: Path, tmp_path: Path
) -> None:
    task = segmentation_task()
    data = segmentation_data(cohort, placement="world")
    runner = trainer(tmp_path, LastCheckpoint(), steps=1, limit_val_batches=0)
    runner.fit(task, datamodule=data)
    batch: Any = next(iter(data.test_dataloader()))
    origin = batch["origin"].clone()
    description = data.describe()
    moved = tuple(value + 3.0 for value in description.centre_mm)
    assert task.model is not None
    task.model.description = replace(description, centre_mm=moved)
    task.trainer = runner
    task.check_data()
    assert torch.equal(task.origins(batch), origin - 3)


def test_a_run_does_not_go_on_with_other_channels(cohort: Path, tmp_path: Path) -> None:
    runner = trainer(tmp_path, LastCheckpoint(), steps=1, limit_val_batches=0)
    runner.fit(segmentation_task(), datamodule=segmentation_data(cohort))
    path = str(tmp_path / "checkpoints" / "last.ckpt")
    task = segmentation_task()
    task.resumes = True
    other = segmentation_data(cohort, modalities=list(reversed(MODALITIES)))
    runner = trainer(tmp_path, LastCheckpoint(), steps=2, limit_val_batches=0)
    with pytest.raises(SetupError, match="modalities t1, t2, flair, t1ce"):
        runner.fit(task, datamodule=other, ckpt_path=path)


@pytest.mark.filterwarnings("ignore:.*stays random.*")
@pytest.mark.parametrize("options", [{"ema": 0.9}, {"freeze": "encoder"}])
def test_a_run_does_not_go_on_with_other_options(
    cohort: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    runner = trainer(tmp_path, LastCheckpoint(), steps=1, limit_val_batches=0)
    runner.fit(segmentation_task(), datamodule=segmentation_data(cohort))
    task = segmentation_task(**options)
    task.resumes = True
    runner = trainer(tmp_path, LastCheckpoint(), steps=2, limit_val_batches=0)
    path = str(tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(SetupError, match=f"model.{next(iter(options))}"):
        runner.fit(task, datamodule=segmentation_data(cohort), ckpt_path=path)


def test_warm_up_lasts_epochs_also_where_only_steps_are_limited(
    cohort: Path, tmp_path: Path
) -> None:
    options = AdamWOptions(learning_rate=1.0, warmup_epochs=1)
    task = segmentation_task(optimizer=options)
    data = segmentation_data(cohort, batch_size=1)  # three studies: three steps an epoch
    trainer(tmp_path, steps=6, limit_val_batches=0).fit(task, datamodule=data)
    scheduler: Any = task.lr_schedulers()
    rates = [scheduler.lr_lambdas[0](step) for step in range(7)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[-1] == pytest.approx(0)


def test_gradients_can_be_clipped_in_mixed_precision(cohort: Path, tmp_path: Path) -> None:
    task = segmentation_task()
    runner = trainer(
        tmp_path, steps=1, limit_val_batches=0, precision="bf16-mixed", gradient_clip_val=1.0
    )
    runner.fit(task, datamodule=segmentation_data(cohort, crop_size=(32, 16, 16)))
    assert runner.global_step == 1


def test_the_best_score_outlives_another_spelling_of_the_folder(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    best = BestCheckpoint()
    runner = trainer(Path("run"), best, LastCheckpoint(), steps=2)
    runner.fit(segmentation_task(), datamodule=segmentation_data(cohort))
    score = float(best.best_model_score)  # type: ignore[arg-type]
    task, again = segmentation_task(), BestCheckpoint()
    task.resumes = True
    runner = trainer(tmp_path / "run", again, LastCheckpoint(), steps=2, limit_val_batches=0)
    path = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    runner.fit(task, datamodule=segmentation_data(cohort), ckpt_path=path)
    assert again.best_model_score is not None
    assert float(again.best_model_score) == score


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key.*")
def test_a_new_run_does_not_pass_off_the_best_of_an_earlier_one(
    cohort: Path, tmp_path: Path
) -> None:
    data = segmentation_data(cohort)
    trainer(tmp_path, BestCheckpoint(), steps=2).fit(segmentation_task(), datamodule=data)
    folder = tmp_path / "checkpoints"
    assert (folder / "best.ckpt").exists()
    runner = trainer(tmp_path, BestCheckpoint(), steps=2, limit_val_batches=0)
    runner.fit(segmentation_task(), datamodule=segmentation_data(cohort))
    assert not (folder / "best.ckpt").exists()
    assert (folder / "best_of_earlier_run.ckpt").exists()
    earlier = (folder / "best_of_earlier_run.ckpt").read_bytes()
    (folder / "best.ckpt").write_bytes(b"of the second run")
    runner = trainer(tmp_path, BestCheckpoint(), steps=2, limit_val_batches=0)
    runner.fit(segmentation_task(), datamodule=segmentation_data(cohort))
    assert (folder / "best_of_earlier_run.ckpt").read_bytes() == earlier
    assert (folder / "best_of_earlier_run_2.ckpt").read_bytes() == b"of the second run"


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key.*")
@pytest.mark.filterwarnings("ignore:The dirpath has changed.*")
def test_the_best_score_of_another_folder_is_not_that_of_this_one(
    cohort: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    runner = trainer(first, BestCheckpoint(), LastCheckpoint(), steps=2)
    runner.fit(segmentation_task(), datamodule=segmentation_data(cohort))
    folder = second / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").write_bytes(b"old")
    best = BestCheckpoint()
    runner = trainer(second, best, LastCheckpoint(), steps=4, limit_val_batches=0)
    path = str(first / "checkpoints" / "last.ckpt")
    task = segmentation_task()
    task.resumes = True
    runner.fit(task, datamodule=segmentation_data(cohort), ckpt_path=path)
    assert best.best_model_score is None
    assert (best.best_model_path, best.best_k_models) == ("", {})
    assert not (folder / "best.ckpt").exists()
    assert (folder / "best_of_earlier_run.ckpt").read_bytes() == b"old"
    assert (first / "checkpoints" / "best.ckpt").exists()


def test_an_unreadable_validation_is_not_a_number_and_no_crash(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainmvp_lightning.tasks import segmentation

    monkeypatch.setattr(segmentation, "scored_rows", lambda _: [])
    runner = trainer(tmp_path, BestCheckpoint(), steps=2)
    runner.fit(segmentation_task(), datamodule=segmentation_data(cohort))
    assert np.isnan(float(runner.callback_metrics["val/dice"]))


def total_by_hand(metrics: Any, weight: float) -> float:
    return float(
        metrics["train/dice_loss"]
        + metrics["train/cross_entropy"]
        + weight * metrics["train/consistency"]
    )


@pytest.mark.parametrize("consistency", ["features", "outputs"])
def test_the_loss_is_that_of_both_copies_and_a_tenth_of_their_consistency(
    cohort: Path, tmp_path: Path, consistency: Any
) -> None:
    encoder = write_encoder(tmp_path / "encoder.safetensors")
    options = SubstitutionOptions(consistency=consistency)
    task = segmentation_task(weights=str(encoder), substitution=options)
    data = segmentation_data(cohort)
    task.check(data, validates=False)
    model = task.model
    assert model is not None
    batch: Any = next(iter(data.train_dataloader()))
    views = make_views(model, batch, batch["origin"], options, task.augmentation)
    with torch.no_grad():
        first, second = (model(copy) for copy in views.image.chunk(2))
    label = views.like_image(batch["label"])[: len(batch["label"])]
    score = SegmentationLoss(task.loss_options, overlapping=False)
    supervised = sum(
        float(score(copy.logits, label, batch["weight"])["total"]) for copy in (first, second)
    )
    one, other = (
        (first.features[-1], second.features[-1])
        if consistency == "features"
        else (first.logits[0], second.logits[0])
    )
    distance = (one - other).square().flatten(1).mean(dim=1)
    expected = supervised + 0.1 * float((distance * batch["weight"]).sum())
    runner = trainer(tmp_path, steps=1, limit_val_batches=0)
    runner.fit(task, datamodule=data)
    assert float(distance.sum()) > 0
    assert float(runner.callback_metrics["train/total"]) == pytest.approx(expected, rel=1e-4)
    assert float(runner.callback_metrics["train/total"]) == pytest.approx(
        total_by_hand(runner.callback_metrics, 0.1), rel=1e-5
    )


def test_rare_classes_count_by_their_weights(cohort: Path) -> None:
    task = classification_task()
    data = classification_data(cohort)
    task.check(data, validates=False)
    weights = data.describe().class_weights
    batch: Any = next(iter(data.train_dataloader()))
    logits = torch.zeros(len(batch["image"]), 2)
    answer = Answer([logits], [])
    views = TrainingViews(batch["image"], torch.zeros(0), 1, {})
    loss = task.supervise(answer, batch, views, batch["weight"])["total"]
    expected = sum(
        float(share) * weights[int(target)] * np.log(2)
        for share, target in zip(batch["weight"], batch["target_class"], strict=True)
    )
    assert len(set(weights)) == 2
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_annotations_that_are_all_empty_are_refused_and_some_are_counted(tmp_path: Path) -> None:
    data = segmentation_data(write_cohort(tmp_path / "cache", COHORT[:2]))
    studies = list(data.studies("train"))
    blank = [replace(study, label_values=()) for study in studies]
    task = segmentation_task()
    data.studies = lambda _: [blank[0], *studies[1:]]  # type: ignore[method-assign, assignment, return-value]
    with pytest.warns(UserWarning, match="1 of 2 training annotations are empty"):
        task.check(data, validates=False)
    data.studies = lambda _: blank  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(SetupError, match="all 2 training annotations are empty"):
        segmentation_task().check(data, validates=False)


def test_a_random_frozen_encoder_is_no_secret(cohort: Path) -> None:
    task = segmentation_task(freeze="encoder")
    with pytest.warns(UserWarning, match="stays random"):
        task.check(segmentation_data(cohort), validates=False)
