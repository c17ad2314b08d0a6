import pytest

from brainmvp_lightning.studies.labels import LabelScheme, find_scheme, label_schemes


def test_enhancing_tumour_is_4_up_to_2021_and_3_from_2023() -> None:
    schemes = label_schemes()
    old, new = schemes["brats2021"].region_values(), schemes["brats2023"].region_values()
    assert old == {"ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}
    assert new == {"ET": (3,), "TC": (1, 3), "WT": (1, 2, 3)}


def test_value_of_another_release_is_named() -> None:
    assert label_schemes()["brats2023"].unknown_values((0, 1, 2, 4)) == (4,)


def test_own_scheme_joins_and_round_trips() -> None:
    plain = {"values": {"a": 2, "b": 5}, "regions": {"all": ["a", "b"]}}
    scheme = label_schemes({"mine": plain})["mine"]
    assert scheme.region_values() == {"all": (2, 5)}
    assert {key: scheme.to_json()[key] for key in plain} == plain


@pytest.mark.parametrize(
    ("plain", "match"),
    [
        ({"values": {"a": 0}, "regions": {"r": ["a"]}}, "above 0"),
        ({"values": {"a": 1, "b": 1}, "regions": {"r": ["a"]}}, "differ"),
        ({"values": {"a": 1}, "regions": {"r": ["x"]}}, "region 'r' names x"),
        ({"values": [1]}, "must look like"),
        ("tumour", "must look like"),
    ],
)
def test_senseless_scheme_is_refused(plain: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        label_schemes({"mine": plain})


def test_misspelt_scheme_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'brats2021'"):
        find_scheme("brats-2021", {"brats2021": LabelScheme("x", {"a": 1}, {"r": ("a",)})})
