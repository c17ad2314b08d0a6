from brainmvp_lightning.doctor.duplicates import check_duplicates, find_duplicates
from brainmvp_lightning.doctor.facts import StudyFacts
from tests.doctor import made


def copy_of(name: str, digest: str, **facts: object) -> StudyFacts:
    """A study of one T1 with this content."""
    scans = (made.scan("t1", name, made.look(digest=digest)),)
    return made.study(name, scans=scans, **facts)


def judge(*studies: StudyFacts) -> list[tuple[str, str, str]]:
    findings = check_duplicates(find_duplicates(studies))
    return [(row.kind, row.severity, row.study) for row in findings]


def test_different_images_are_no_duplicates() -> None:
    assert judge(copy_of("a", "1"), copy_of("b", "2")) == []


def test_the_copy_outside_the_test_set_leaks() -> None:
    studies = (copy_of("a", "1", split="train"), copy_of("b", "1", split="test"))
    assert judge(*studies) == [("leak", "error", "a")]
    (finding,) = check_duplicates(find_duplicates(studies))
    assert "t1 of a (train) has the voxels of t1 of b (test)" in finding.sentence


def test_leaks_cross_data_sets_and_reach_validation() -> None:
    studies = (
        copy_of("a", "1", split="val", dataset="x"),
        copy_of("b", "1", split="test", dataset="y"),
        copy_of("c", "1", split="train", dataset="z"),
    )
    assert judge(*studies) == [("leak", "error", "a"), ("leak", "error", "c")]


def test_one_image_of_two_patients_or_sessions_in_one_split_is_a_warning() -> None:
    assert judge(copy_of("a", "1"), copy_of("b", "1")) == [("copy", "warning", "b")]
    visits = copy_of("a1", "1", patient="a"), copy_of("a2", "1", patient="a")
    (finding,) = check_duplicates(find_duplicates(visits))
    assert finding.severity == "warning"
    assert "of another session" in finding.sentence


def test_one_image_under_two_modalities_names_both_files_once() -> None:
    seen = made.look(digest="1")
    study = made.study("a", scans=(made.scan("t1", "a", seen), made.scan("t2", "a", seen)))
    findings = check_duplicates(find_duplicates([study]))
    assert [(row.kind, row.severity) for row in findings] == [("same_voxels", "error")] * 2
    assert [row.file for row in findings] == ["a/t1.nii.gz", "a/t2.nii.gz"]


def test_the_same_label_of_two_patients_is_a_warning_but_empty_ones_are_not() -> None:
    first, second = made.label("x", 1), made.label("x", 1)
    assert judge(made.study("a", label=first), made.study("b", label=second)) == []
    second = type(second)(second.path.with_name("other.nii.gz"), (1,), second.digest)
    assert judge(made.study("a", label=first), made.study("b", label=second)) == [
        ("copy", "warning", "b")
    ]
    empty = [made.study(name, label=made.label("x")) for name in "ab"]
    assert judge(*empty) == []
