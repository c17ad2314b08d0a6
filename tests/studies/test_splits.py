import itertools
from collections import Counter

import pytest

from brainmvp_lightning.studies.splits import labelled_patients, parse_split, split_of


def test_the_split_depends_on_nothing_but_the_patient_and_the_seed() -> None:
    assert split_of("a", "p1") == split_of("a", "p1")
    names = [f"p{number}" for number in range(40)]
    assert [split_of("a", name) for name in names] != [
        split_of("a", name, seed=1) for name in names
    ]
    assert [split_of("a", name) for name in names] != [split_of("b", name) for name in names]


def test_shares_are_six_to_one_to_three() -> None:
    counts = Counter(split_of("a", f"p{number}") for number in range(10_000))
    # Standard deviation of a share of 0.6 over 10,000 patients: 0.005.
    assert counts["train"] / 10_000 == pytest.approx(0.6, abs=0.02)
    assert counts["val"] / 10_000 == pytest.approx(0.1, abs=0.012)
    assert counts["test"] / 10_000 == pytest.approx(0.3, abs=0.02)


def test_a_share_of_zero_stays_empty() -> None:
    assert {split_of("a", f"p{number}", (1, 0, 0)) for number in range(200)} == {"train"}
    assert {split_of("a", f"p{number}", (0, 0, 1)) for number in range(200)} == {"test"}


@pytest.mark.parametrize("ratios", [(1, 1), (0, 0, 0), (2, -1, 1)])
def test_bad_ratios_are_refused(ratios: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="split_ratios must be three numbers"):
        split_of("a", "p", ratios)


def test_spellings_of_splits() -> None:
    names = ("Train", "training", "valid", "Validation", "test")
    assert [parse_split(name) for name in names] == ["train", "train", "val", "val", "test"]
    with pytest.raises(ValueError, match="unknown split 'trian'"):
        parse_split("trian")


def kept(names: list[str], fraction: float, seed: int = 0, dataset: str = "a") -> set[str]:
    patients = [(dataset, name) for name in names]
    return {name for _, name in labelled_patients(patients, fraction, seed)}


def test_who_keeps_a_label_keeps_it_at_every_larger_fraction() -> None:
    names = [f"p{number}" for number in range(59)]
    chosen = [kept(names, fraction) for fraction in (0.2, 0.4, 0.6, 0.8, 1.0)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(chosen))
    assert [len(some) for some in chosen] == [12, 24, 36, 48, 59]  # rounded up


def test_the_number_of_labelled_patients_is_exact() -> None:
    names = [f"p{number}" for number in range(75)]
    assert {len(kept(names, 0.2, seed)) for seed in range(20)} == {15}
    assert len(kept(["p1"], 0.01)) == 1


def test_several_visits_of_a_patient_count_once() -> None:
    assert len(labelled_patients([("a", "p1"), ("a", "p1"), ("a", "p2")], 0.5)) == 1


def test_who_keeps_a_label_does_not_follow_from_the_split() -> None:
    names = [f"p{number}" for number in range(500)]
    training = [name for name in names if split_of("a", name) == "train"]
    first = sum(name in kept(names, 0.5) for name in training)
    assert first / len(training) == pytest.approx(0.5, abs=0.1)


def test_another_seed_or_data_set_keeps_others() -> None:
    names = [f"p{number}" for number in range(60)]
    assert kept(names, 0.5) == kept(names, 0.5)
    assert kept(names, 0.5) != kept(names, 0.5, seed=1)
    assert kept(names, 0.5) != kept(names, 0.5, dataset="b")


@pytest.mark.parametrize("fraction", [0.0, -0.2, 1.1, 20.0])
def test_a_fraction_that_is_no_share_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"label_fraction is .* above 0 and at most 1"):
        labelled_patients([("a", "p")], fraction)
