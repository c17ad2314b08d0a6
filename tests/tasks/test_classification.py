"""What a classification logs in validation and learns from, in numbers worked out by hand."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.inference.model import Answer
from brainmvp_lightning.tasks.classification import ClassificationTask
from brainmvp_lightning.tasks.copies import TrainingViews
from tests.tasks.fine_tuning import BACKBONE, trainer

SIZE = (4, 4, 4)
LOG_2, LOG_4 = math.log(2), math.log(4)


class ToldHead(TaskHead):
    """Answers an image of the grey n / 100 with the n-th of the logits it was told."""

    def __init__(self, backbone: Backbone, num_outputs: int, *, told: list[list[float]]) -> None:
        super().__init__()
        del backbone
        self.num_outputs = num_outputs
        self.register_buffer("told", torch.tensor(told))

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        """Look the answer up."""
        del features, auxiliary
        numbers = (100 * image.mean(dim=(1, 2, 3, 4))).round().long()  # b c x y z -> b
        return [self.told[numbers]]  # type: ignore[index]


def describe(classes: Sequence[str], weights: Sequence[float] = ()) -> LabelledDescription:
    return LabelledDescription(
        modalities=("t1",),
        spacing_mm=(1.0, 1.0, 1.0),
        centre_mm=(0.0, 0.0, 0.0),
        crop_size=SIZE,
        num_outputs=len(classes),
        class_names=tuple(classes),
        class_weights=tuple(weights),
        resized_to=SIZE,
    )


def batch(numbers: Sequence[int], truth: Sequence[int], weight: float = 1.0) -> dict[str, Any]:
    """Studies whose grey is their number."""
    num = len(numbers)
    grey = torch.tensor(numbers).reshape(num, 1, 1, 1, 1) / 100
    return {
        "image": grey.expand(num, 1, *SIZE).clone(),
        "present": torch.ones(num, 1, dtype=torch.bool),
        "target_class": torch.tensor(truth),
        "start": torch.zeros(num, 3, dtype=torch.int64),
        "origin": torch.zeros(num, 3, dtype=torch.int64),
        "weight": torch.full((num,), weight),
        "geometry": [None] * num,
        "study": [f"study {number}" for number in numbers],
        "faults": [],
    }


def run(task: ClassificationTask, folder: Path, batches: list[dict[str, Any]]) -> dict[str, float]:
    loader: DataLoader[dict[str, Any]] = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    (logged,) = trainer(folder).validate(task, dataloaders=loader, verbose=False)
    return dict(logged)


def validate(
    folder: Path, classes: Sequence[str], logits: list[list[float]], truth: list[int]
) -> dict[str, float]:
    """Validate a network that answers with `logits`, in batches of two.

    The end repeats the first study with weight 0 and another class, as uneven ranks do.
    """
    task = ClassificationTask(BACKBONE, partial(ToldHead, told=logits))
    task.build(describe(classes), seed=0)
    pairs = [range(n, min(n + 2, len(truth))) for n in range(0, len(truth), 2)]
    batches = [batch(list(pair), [truth[n] for n in pair]) for pair in pairs]
    padding = batch([0], [(truth[0] + 1) % len(classes)], weight=0.0)
    return run(task, folder, [*batches, padding])


def test_two_classes_are_scored_for_the_last_one(tmp_path: Path) -> None:
    # Log odds of B: those above 0 are called B.
    odds, truth = [-2.0, 1.0, -1.0, 2.0, 1.5], [0, 0, 1, 1, 1]
    logged = validate(tmp_path, ["A", "B"], [[0.0, z] for z in odds], truth)
    assert logged["val/accuracy"] == pytest.approx(3 / 5)  # the second and the third are wrong
    # Of 3 x 2 pairs, only (-1, 1) is the wrong way round.
    assert logged["val/auc"] == pytest.approx(5 / 6)
    # B: 2 found, 1 invented, 1 missed; of A, F1 would be 1/2.
    assert logged["val/f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    costs = [math.log1p(math.exp(-z if label else z)) for z, label in zip(odds, truth, strict=True)]
    assert logged["val/cross_entropy"] == pytest.approx(sum(costs) / 5)


def test_three_classes_are_scored_by_the_mean_over_classes(tmp_path: Path) -> None:
    probabilities = [
        [0.7, 0.2, 0.1],  # A, called A
        [0.3, 0.4, 0.3],  # A, called B
        [0.2, 0.6, 0.2],  # B, called B
        [0.5, 0.3, 0.2],  # B, called A
        [0.1, 0.25, 0.65],  # C, called C
        [0.2, 0.1, 0.7],  # C, called C
        [0.5, 0.1, 0.4],  # C, called A
    ]
    logits = [[math.log(p) for p in row] for row in probabilities]
    logged = validate(tmp_path, ["A", "B", "C"], logits, [0, 0, 1, 1, 2, 2, 2])
    assert logged["val/accuracy"] == pytest.approx(4 / 7)
    # One against the rest. A: 0.7 beats five and 0.3 three of five; B: five and four; C: all.
    assert logged["val/auc"] == pytest.approx((8 / 10 + 9 / 10 + 12 / 12) / 3)
    # Found, invented, missed. A: 1, 2, 1; B: 1, 1, 1; C: 2, 0, 1.
    assert logged["val/f1"] == pytest.approx((2 / 5 + 2 / 4 + 4 / 5) / 3)
    right = [0.7, 0.3, 0.6, 0.3, 0.65, 0.7, 0.4]
    assert logged["val/cross_entropy"] == pytest.approx(-sum(map(math.log, right)) / 7)


def test_a_validation_without_readable_study_has_no_auc(tmp_path: Path) -> None:
    task = ClassificationTask(BACKBONE, partial(ToldHead, told=[[0.0, 0.0]]))
    task.build(describe(["A", "B"]), seed=0)
    logged = run(task, tmp_path, [batch([0], [0], weight=0.0)])
    assert math.isnan(logged["val/auc"])


def loss(
    truth: list[int], *, copies: int = 1, weights: Sequence[float] = (2.0, 0.5), **options: Any
) -> float:
    """Score two studies, answered 1/4 : 3/4 and 1/2 : 1/2, each with half a share."""
    task = ClassificationTask(BACKBONE, **options)
    task.build(describe(["A", "B"], weights), seed=0)
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]).repeat(copies, 1)
    share = torch.full((2 * copies,), 0.5)
    views = TrainingViews(torch.empty(0), torch.empty(0), copies, {})
    row: Any = batch([0, 1], truth)
    terms = task.supervise(Answer([logits], []), row, views, share)
    assert terms["total"] is terms["cross_entropy"]
    return float(terms["total"])


def test_the_loss_is_the_mean_cross_entropy() -> None:
    assert loss([0, 1], class_weights=False) == pytest.approx((LOG_4 + LOG_2) / 2)


def test_rare_classes_count_by_their_weight() -> None:
    assert loss([0, 1]) == pytest.approx((2 * LOG_4 + 0.5 * LOG_2) / 2)
    assert loss([1, 0]) == pytest.approx((0.5 * math.log(4 / 3) + 2 * LOG_2) / 2)


def test_smoothing_spreads_a_share_of_the_target_over_all_classes() -> None:
    # 0.2 of the target: 0.1 for each class.
    first = 0.9 * LOG_4 + 0.1 * math.log(4 / 3)
    smooth = loss([0, 1], class_weights=False, label_smoothing=0.2)
    assert smooth == pytest.approx((first + LOG_2) / 2)


def test_each_part_of_a_smoothed_target_has_the_weight_of_its_class() -> None:
    first = 0.9 * 2 * LOG_4 + 0.1 * 0.5 * math.log(4 / 3)
    second = 0.9 * 0.5 * LOG_2 + 0.1 * 2 * LOG_2
    assert loss([0, 1], label_smoothing=0.2) == pytest.approx((first + second) / 2)


def test_both_copies_of_a_study_are_supervised() -> None:
    assert loss([0, 1], copies=2) == pytest.approx(2 * loss([0, 1]))


def test_a_study_without_class_costs_nothing() -> None:
    assert loss([0, -1], class_weights=False) == pytest.approx(LOG_4 / 2)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0])
def test_smoothing_of_the_whole_target_is_refused(label_smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"model\.label_smoothing is a share in \[0, 1\)"):
        ClassificationTask(BACKBONE, label_smoothing=label_smoothing)
