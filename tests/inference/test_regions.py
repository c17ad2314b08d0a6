"""Regions of annotations and of answers."""

import pytest
import torch

from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.inference.regions import answer_regions, dice_of_regions, label_regions

TUMOUR = {
    "modalities": ("t1",),
    "spacing_mm": (1.0, 1.0, 1.0),
    "centre_mm": (0.0, 0.0, 0.0),
    "crop_size": (8, 8, 8),
    "region_names": ("ET", "TC", "WT"),
    "label_names": ("background", "ED", "NCR", "ET"),
    "label_regions": ((), ("WT",), ("TC", "WT"), ("ET", "TC", "WT")),
}
CLASSES = LabelledDescription(**TUMOUR, num_outputs=4)  # type: ignore[arg-type]
REGIONS = LabelledDescription(**TUMOUR, num_outputs=3, overlapping=True)  # type: ignore[arg-type]


def test_each_class_counts_for_all_regions_it_belongs_to() -> None:
    label = torch.tensor([[[[0, 1, 2, 3]]]], dtype=torch.uint8)
    regions = label_regions(label, CLASSES)
    assert regions[:, 0, 0].int().tolist() == [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]]


def test_the_most_probable_class_decides_where_classes_exclude_each_other() -> None:
    probabilities = torch.tensor([0.3, 0.1, 0.4, 0.2]).view(4, 1, 1, 1)
    assert answer_regions(probabilities, CLASSES).flatten().tolist() == [False, True, True]


def test_overlapping_regions_are_decided_one_by_one() -> None:
    probabilities = torch.tensor([0.5, 0.51, 0.9]).view(3, 1, 1, 1)
    assert answer_regions(probabilities, REGIONS).flatten().tolist() == [False, True, True]
    label = torch.tensor([0, 1, 1], dtype=torch.uint8).view(3, 1, 1, 1)
    assert label_regions(label, REGIONS).flatten().tolist() == [False, True, True]


def test_dice_is_twice_the_shared_over_the_sum_and_1_where_both_are_empty() -> None:
    prediction = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]).bool().view(3, 4, 1, 1)
    truth = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]).bool().view(3, 4, 1, 1)
    assert dice_of_regions(prediction, truth).tolist() == pytest.approx([2 * 1 / 5, 1, 0])
