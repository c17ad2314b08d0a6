import dataclasses
import re
from pathlib import Path

import pytest

from brainmvp_lightning.preprocessing.recipe import STEPS, Recipe


def test_steps_that_are_not_used_are_not_mentioned() -> None:
    plain = Recipe().to_json()
    assert not set(STEPS) & set(plain)
    fields = {field.name for field in dataclasses.fields(Recipe)}
    assert set(plain) == fields - set(STEPS) | {"codec", "pipeline_version"}


@pytest.mark.parametrize(
    "options",
    [
        {"registration": "rigid"},
        {"registration": "affine"},
        {"brain_mask": "file"},
        {"brain_mask": "tool {image} {mask}"},
        {"bias_correction": "n4"},
    ],
)
def test_every_step_makes_another_recipe(options: dict[str, str]) -> None:
    recipe = Recipe(**options)  # type: ignore[arg-type]
    assert recipe.to_json() == {**Recipe().to_json(), **options}
    assert recipe.hash() != Recipe().hash()


def test_a_template_is_known_by_its_content(tmp_path: Path) -> None:
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.nii").write_bytes(content)
    hashes = [
        Recipe(template=str(tmp_path / name / "t.nii"), template_registration="affine").hash()
        for name in "abc"
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    with pytest.raises(ValueError, match=r"recipe.template .* cannot be read"):
        Recipe(template=str(tmp_path / "d.nii"), template_registration="affine").hash()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"margin_mm": "a"}, "recipe.margin_mm is 'a'; it must be a number"),
        ({"spacing_mm": None}, "recipe.spacing_mm is None; it must be a number"),
        ({"max_nonfinite": True}, "it must be a number"),
        ({"margin_mm": float("nan")}, "it must be a number"),
        ({"reference": 3}, "recipe.reference is 3; it must be a list of words"),
        ({"reference": "t1"}, "it must be a list of words"),
        ({"brain_mask": 3}, "recipe.brain_mask is 3; it must be a word"),
        ({"template": 3}, "recipe.template is 3; it must be a word"),
        ({"foreground": ["auto"]}, "it must be one of auto, nonzero, threshold"),
        ({"interpolation": "cubic"}, "it must be one of linear, nearest"),
    ],
)
def test_a_damaged_record_says_which_setting_it_is(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Recipe.from_json({**Recipe().to_json(), **changes})


def test_a_record_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a mapping"):
        Recipe.from_json(["spacing_mm"])  # type: ignore[arg-type]
    assert Recipe.from_json({**Recipe().to_json(), "template": None}) == Recipe()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"registration": "elastic"}, "recipe.registration is 'elastic'; use none, rigid"),
        ({"template": "t.nii"}, "go together"),
        ({"template_registration": "rigid"}, "go together"),
        ({"brain_mask": "bet"}, "use none, file, deepbet, hd-bet, or a command"),
        ({"brain_mask": "bet {image}"}, "with {image} and {mask} in it"),
        ({"bias_correction": "n3"}, "use none or n4"),
    ],
)
def test_values_that_make_no_sense_are_named(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe(**options)  # type: ignore[arg-type]
