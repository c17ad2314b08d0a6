import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.preprocessing.bias import bias_field, check_bias_tool, correct_bias
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan, Study
from brainmvp_lightning.volumes.nifti import Volume
from tests.preprocessing.heads import brain, scan_head

N4 = Recipe(bias_correction="n4")


def corrected(name: str, volume: Volume) -> tuple[Volume, list[Problem]]:
    scan = Scan("p", "", "d", name, Path("a.nii"))
    study = Study("p", "d", "p", "", (scan,), None, None, "train")
    problems: list[Problem] = []
    return correct_bias(study, {scan: volume}, N4, problems)[scan], problems


def shade(volume: Volume) -> np.ndarray:
    """A field that doubles from left to right and falls towards the top, ``x y z``."""
    x, _, z = np.meshgrid(*(np.linspace(-1, 1, extent) for extent in volume.shape), indexing="ij")
    field: np.ndarray = np.exp(0.35 * x - 0.2 * z).astype(np.float32)
    return field


def unevenness(image: np.ndarray, volume: Volume) -> float:
    """Coefficient of variation in the brain."""
    values = image[brain(volume)]
    return float(values.std() / values.mean())


@pytest.mark.parametrize("is_stripped", [False, True])
def test_a_known_field_is_taken_away(is_stripped: bool) -> None:
    clean = scan_head(0, None, (4, 4, 4), noise=1.0)
    inside = brain(clean) if is_stripped else np.ones(clean.shape, bool)
    shaded = Volume(
        np.where(inside, clean.array * shade(clean), 0).astype(np.float32), clean.affine
    )
    even, problems = corrected("t1", shaded)
    assert problems == []
    before, after = unevenness(shaded.array, clean), unevenness(even.array, clean)
    # The brain is not of one grey, so what is left is compared with the head without a field.
    assert before > 1.3 * unevenness(clean.array, clean)
    assert after < 1.1 * unevenness(clean.array, clean)
    if is_stripped:
        assert np.all(even.array[~inside] == 0)


def test_the_mean_brightness_stays() -> None:
    clean = scan_head(0, None, (6, 6, 6), noise=1.0)
    mask = clean.array > 50
    field = bias_field(clean.array, mask, np.array([6.0, 6, 6]))
    assert field.shape == clean.shape
    assert np.log(field[mask]).mean() == pytest.approx(0, abs=1e-4)


def test_maps_of_numbers_are_left_alone() -> None:
    volume = scan_head(1, None, (6, 6, 6))
    assert corrected("adc", volume)[0] is volume


def test_negative_intensities_are_left_alone_and_named() -> None:
    volume = scan_head(1, None, (6, 6, 6))
    standardised = Volume((volume.array - 80) / 50, volume.affine)
    found, problems = corrected("t1", standardised)
    assert found is standardised
    assert "negative intensities" in problems[0].reason
    assert problems[0].is_handled


def test_without_the_package_the_hint_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = scan_head(0, None, (10, 10, 10))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "SimpleITK", None)
        with pytest.raises(MissingToolError, match="pip install SimpleITK"):
            corrected("t1", volume)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingToolError, match="pip install SimpleITK"):
        check_bias_tool(N4)
