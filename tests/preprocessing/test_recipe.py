import json

import pytest

from brainmvp_lightning.preprocessing.recipe import Recipe


def test_equal_recipes_have_equal_hashes_and_others_do_not() -> None:
    assert Recipe().hash() == Recipe(spacing_mm=1.0).hash()
    assert len({recipe.hash() for recipe in (Recipe(), Recipe(2.0), Recipe(margin_mm=3))}) == 3


def test_the_settings_are_plain_json() -> None:
    settings = Recipe().to_json()
    assert json.loads(json.dumps(settings)) == settings
    assert settings["spacing_mm"] == 1.0
    assert settings["pipeline_version"] == 1


@pytest.mark.parametrize(
    "options", [{"spacing_mm": 0}, {"margin_mm": -1}, {"min_overlap": 2}, {"max_nonfinite": -0.1}]
)
def test_senseless_values_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"recipe.{next(iter(options))}"):
        Recipe(**options)  # type: ignore[arg-type]
