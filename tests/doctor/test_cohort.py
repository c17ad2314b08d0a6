from brainmvp_lightning.doctor.cohort import (
    availability,
    check_cohort,
    check_schemes,
    class_table,
    split_table,
)
from brainmvp_lightning.doctor.facts import StudyFacts
from brainmvp_lightning.studies.labels import label_schemes
from brainmvp_lightning.studies.modality import VOCABULARY
from tests.doctor import made


def three_splits() -> list[StudyFacts]:
    return [made.study(split, "flair t1", split=split) for split in ("train", "val", "test")]


def kinds(*studies: StudyFacts) -> list[tuple[str, str]]:
    findings = check_cohort([*three_splits(), *studies])
    return [(finding.kind, finding.severity) for finding in findings]


def test_availability_counts_modalities_and_combinations_by_data_set() -> None:
    studies = [*three_splits(), made.study("a", "t1"), made.study("b", "t2", dataset="e")]
    found = availability([*studies, made.study("c", "")], VOCABULARY)
    assert found["d"].num_studies == 4
    assert found["d"].modalities == {"flair": 3, "t1": 4}
    assert found["d"].combinations == {("flair", "t1"): 3, ("t1",): 1}
    assert found["e"].modalities == {"t2": 1}


def test_tables_of_splits_and_classes() -> None:
    studies = [made.study("a", target_class="HGG"), made.study("b", split="test")]
    assert split_table(studies) == {"d": {"train": 1, "val": 0, "test": 1}}
    assert class_table(studies) == {"d": {"HGG": {"train": 1, "val": 0, "test": 0}}}


def test_a_complete_cohort_has_no_findings() -> None:
    assert kinds() == []


def test_lone_modalities_are_a_note_unless_there_is_nothing_else() -> None:
    assert kinds(made.study("a")) == [("single", "note")]
    lone = [made.study(split, split=split) for split in ("train", "val", "test")]
    assert [(row.kind, row.severity) for row in check_cohort(lone)] == [("single", "warning")]


def test_sessions_splits_grids_and_names_are_noted() -> None:
    again = made.study("train2", "flair t1", patient="train", session="2")
    assert kinds(again) == [("sessions", "note")]
    assert kinds(made.study("a", "flair t1", resampled=("t1",))) == [("resampled", "note")]
    other = made.study("e_train", "flair t1", dataset="e", patient="train", split="test")
    (finding,) = check_cohort([*three_splits(), other])
    assert (finding.kind, finding.severity) == ("names", "note")
    assert "1 patients of d and e" in finding.sentence
    assert "1 of them in different splits" in finding.sentence
    (finding,) = check_cohort(three_splits()[1:])
    assert (finding.kind, finding.severity) == ("splits", "warning")
    (finding,) = check_cohort(three_splits()[:2])
    assert (finding.severity, finding.sentence) == ("note", "no study is in test")


def test_a_class_that_cannot_be_learned_is_a_warning() -> None:
    held = made.study("a", "flair t1", split="test", target_class="rare")
    findings = [row for row in check_cohort([*three_splits(), held]) if row.kind == "classes"]
    assert [row.severity for row in findings] == ["warning", "note"]
    assert findings[0].sentence == "no study of class rare of d is in train"
    assert findings[1].sentence == "3 studies of d have no class (train, val, test)"


def test_one_empty_label_is_a_warning_and_many_are_a_note() -> None:
    full = [made.study(f"f{number}", "flair t1", label=made.label("f", 1)) for number in range(9)]
    empty = [made.study(f"e{number}", "flair t1", label=made.label("e")) for number in range(3)]
    assert kinds(*full, empty[0]) == [("empty_label", "warning")]
    assert kinds(*full, *empty) == [("empty_label", "note")]


def test_unknown_and_missing_schemes_are_named_once() -> None:
    studies = [
        made.study("a", label=made.label("a", 1), label_scheme="brats2032"),
        made.study("b", label=made.label("b", 1), label_scheme="brats2032"),
        made.study("c", label=made.label("c", 1, 8), dataset="e"),
    ]
    wrong, missing = check_schemes(studies, label_schemes())
    assert (wrong.kind, wrong.severity) == ("scheme", "error")
    assert "did you mean 'brats2023'" in wrong.sentence
    assert "2 studies name it" in wrong.sentence
    assert (missing.kind, missing.severity) == ("no_scheme", "note")
    assert "they hold 1, 8" in missing.sentence
    assert missing.fix == "set label_scheme, such as mrbrains13_training"
