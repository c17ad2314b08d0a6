"""Classification metrics against torchmetrics, and what absent classes leave undefined."""

import json

import numpy as np
import pytest
import torch
from torchmetrics.functional import classification as reference

from brainmvp_lightning.evaluation.class_tables import ClassScore
from brainmvp_lightning.evaluation.classification import auc, format_classes, summarise_classes

NAMES = ["a", "b", "c", "d"]


def answers(num_classes: int, num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw probabilities with ties, ``n k``, and true classes, ``n``, all of them present."""
    rng = np.random.default_rng(seed)
    truth = np.arange(num) % num_classes
    scores = rng.random((num, num_classes)).round(1) + 0.3 * np.eye(num_classes)[truth] + 0.01
    return scores / scores.sum(axis=1, keepdims=True), truth


def rows(probabilities: np.ndarray, truth: np.ndarray) -> list[ClassScore]:
    names = NAMES[: probabilities.shape[1]]
    return [
        ClassScore.of(
            values, names, truth=names[label], study=f"s{i:03}", dataset="d", modalities=["t1"]
        )
        for i, (values, label) in enumerate(zip(probabilities, truth, strict=True))
    ]


def metrics(probabilities: np.ndarray, truth: np.ndarray) -> dict:
    (block,) = summarise_classes(rows(probabilities, truth), num=200)["blocks"]
    return block["metrics"]


@pytest.mark.parametrize("num_classes", [3, 4])
def test_metrics_of_several_classes_equal_those_of_torchmetrics(num_classes: int) -> None:
    probabilities, truth = answers(num_classes, 60)
    ours = metrics(probabilities, truth)
    given = torch.from_numpy(probabilities), torch.from_numpy(truth), num_classes
    expected = {
        "accuracy": reference.multiclass_accuracy(*given, average="micro"),
        "balanced_accuracy": reference.multiclass_accuracy(*given, average="macro"),
        "auc": reference.multiclass_auroc(*given, average="macro"),
        "f1": reference.multiclass_f1_score(*given, average="macro"),
    }
    for name, value in expected.items():
        assert ours[name]["estimate"] == pytest.approx(float(value), abs=1e-6), name
        assert ours[name]["low"] <= ours[name]["estimate"] <= ours[name]["high"]


def test_metrics_of_two_classes_equal_those_of_torchmetrics_for_the_last_one() -> None:
    probabilities, truth = answers(2, 50)
    ours = metrics(probabilities, truth)
    positive, labels = torch.from_numpy(probabilities[:, 1]), torch.from_numpy(truth)
    called = torch.from_numpy(probabilities.argmax(axis=1))
    assert ours["auc"]["estimate"] == pytest.approx(
        float(reference.binary_auroc(positive, labels)), abs=1e-6
    )
    assert ours["f1"]["estimate"] == pytest.approx(
        float(reference.binary_f1_score(called, labels)), abs=1e-6
    )
    assert ours["f1"]["note"] == ours["auc"]["note"] == "b is positive"


def test_the_area_counts_ties_half() -> None:
    is_positive = np.array([[True, True, False, False]])
    # Pairs: 0.9 beats both; 0.5 beats 0.2 and ties with 0.5.
    assert auc(is_positive, np.array([[0.9, 0.5, 0.5, 0.2]]))[0] == 3.5 / 4
    assert auc(is_positive, np.full((1, 4), 0.5))[0] == 0.5


def test_confusion_has_a_row_for_each_true_class() -> None:
    probabilities = np.eye(3)[[0, 1, 1, 2]]
    (block,) = summarise_classes(rows(probabilities, np.array([0, 0, 1, 2])))["blocks"]
    assert block["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert block["support"] == {"a": 2, "b": 1, "c": 1}
    assert block["metrics"]["accuracy"]["estimate"] == 0.75
    assert block["metrics"]["balanced_accuracy"]["estimate"] == pytest.approx(2.5 / 3)


def test_an_absent_class_leaves_metrics_undefined_and_says_why() -> None:
    probabilities, truth = answers(3, 30)
    present = truth < 2
    ours = metrics(probabilities[present], truth[present])
    for name in ("balanced_accuracy", "auc", "f1"):
        assert ours[name]["estimate"] is None
        assert ours[name]["note"] == "undefined, for no case is of class c"
    assert ours["accuracy"]["estimate"] is not None


def test_f1_of_two_classes_needs_only_the_positive_one() -> None:
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
    ours = metrics(probabilities, np.array([1, 1, 1]))
    assert ours["f1"]["estimate"] == pytest.approx(2 * 2 / (2 + 3))
    assert ours["auc"]["estimate"] is None
    none = metrics(probabilities, np.array([0, 0, 0]))
    assert none["f1"]["estimate"] is None


def test_intervals_stay_defined_with_one_case_of_a_class() -> None:
    probabilities, truth = answers(2, 20)
    truth[:] = 0
    truth[0] = 1
    interval = metrics(probabilities, truth)["auc"]
    assert 0 <= interval["low"] <= interval["estimate"] <= interval["high"] <= 1


def test_a_model_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        summarise_classes(rows(np.ones((2, 1)), np.zeros(2, int)))


def test_the_summary_is_plain_json_and_readable_text() -> None:
    probabilities, truth = answers(2, 8)
    present = truth == 0
    summary = summarise_classes(rows(probabilities[present], truth[present]))
    json.dumps(summary, allow_nan=False)
    text = format_classes(summary)
    assert text.startswith("d, t1: 4 cases\n")
    assert "auc: undefined, for no case is of class b" in text
    assert format_classes(summarise_classes([])) == "no cases"
