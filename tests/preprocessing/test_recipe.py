import dataclasses
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
