"""Annotation and prediction over an image."""

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from brainmvp_lightning.callbacks.drawing import draw_overlay

NAMES = {0: "background", 1: "core", 2: "oedema"}


def coloured(path: Path) -> np.ndarray:
    """Share of pixels that are not grey, left, middle and right."""
    pixels = imread(path)[..., :3]
    is_coloured = np.ptp(pixels, axis=2) > 0.1
    height = len(pixels)
    rows = is_coloured[int(0.15 * height) : int(0.85 * height)]  # without the legend
    return np.array([part.mean() for part in np.array_split(rows, 3, axis=1)])


def label(plane: int) -> np.ndarray:
    volume = np.zeros((12, 12, 8), np.uint8)
    volume[3:9, 3:9, plane] = 2
    volume[5:7, 5:7, plane] = 1
    return volume


def test_the_slice_with_most_of_the_annotation_is_drawn(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((12, 12, 8), np.float32)
    path = tmp_path / "pictures" / "same.png"
    draw_overlay(image, {"annotation": label(6), "prediction": label(6)}, path, names=NAMES)
    plain, first, second = coloured(path)
    assert plain == 0
    assert first > 0.05
    assert second > 0.05
    draw_overlay(image, {"annotation": label(6), "prediction": label(1)}, path, names=NAMES)
    assert coloured(path)[2] == 0  # what was predicted lies elsewhere


def test_an_empty_annotation_leaves_the_choice_to_the_prediction(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((12, 12, 8), np.float32)
    path = tmp_path / "one.png"
    empty = np.zeros_like(label(0))
    draw_overlay(image, {"annotation": empty, "prediction": label(1)}, path, names=NAMES)
    assert coloured(path)[1] == 0
    assert coloured(path)[2] > 0.05
    draw_overlay(image, {"annotation": empty, "prediction": empty}, path, names=NAMES)
    assert not coloured(path).any()
