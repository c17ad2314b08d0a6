"""Score tables survive the disk, and say where they are damaged."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from brainmvp_lightning.evaluation.class_tables import ClassScore, read_classes, write_classes
from brainmvp_lightning.evaluation.lesions import LesionCounts
from brainmvp_lightning.evaluation.segmentation import RegionScore
from brainmvp_lightning.evaluation.tables import CaseScore, read_cases, write_cases

CASE = CaseScore.of(
    RegionScore("ET", 0.1 + 0.2, 1 / 3, "scored", 1e-3, 12345.678901234567, LesionCounts(3, 2, 1)),
    study="ped-001",
    dataset='tumours, "children"',
    modalities=["t1", "t2"],
    space="native",
    split="test",
)
MISS = replace(CASE, region="TC", dice=0.0, hd95_mm=math.nan, outcome="missed")
ANSWER = ClassScore.of(
    [0.1, 0.7, 0.2], ["a", "b", "c"], truth="c", study="s1", dataset="d", modalities=["t1"]
)


def test_rows_come_back_to_the_last_bit(tmp_path: Path) -> None:
    write_cases(tmp_path / "test" / "cases.csv", [CASE, MISS])
    first, second = read_cases(tmp_path / "test" / "cases.csv")
    assert first == CASE
    assert first.modalities == "t1+t2"
    assert math.isnan(second.hd95_mm)
    assert replace(second, hd95_mm=0.0) == replace(MISS, hd95_mm=0.0)


def test_the_file_does_not_depend_on_the_order_of_the_studies(tmp_path: Path) -> None:
    other = replace(CASE, study="ped-000")
    write_cases(tmp_path / "one.csv", [CASE, MISS, other])
    write_cases(tmp_path / "two.csv", [other, CASE, MISS])
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_a_case_that_counts_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ped-001 / t1\\+t2 / native / ET was scored twice"):
        write_cases(tmp_path / "cases.csv", [CASE, replace(CASE, dice=0.5)])
    assert not list(tmp_path.iterdir())


def damage(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.30000000000000004", "0.3.0", "line 2 .*0.3.0"),
        (",missed,", ",lost,", "line 3 .*'lost' is none of scored"),
        (",native,", ",", "line 2 .*13 of 14 cells"),
        ("0.30000000000000004", "inf", "line 2 .*not finite"),
        (",missed,0.001,12345.678901234567,3,2,1\n", ",missed,0.001", "cut off in line 3"),
        ("hd95_mm", "hd95", "its columns are study"),
        ('"tumours', '"tumours"x', "no CSV table"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "cases.csv"
    write_cases(path, [CASE, MISS])
    damage(path, old, new)
    with pytest.raises(ValueError, match=message):
        read_cases(path)


def test_empty_binary_and_missing_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    with pytest.raises(FileNotFoundError, match=r"there is no .*cases\.csv"):
        read_cases(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        read_cases(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_cases(path)


def test_answers_of_a_classifier_come_back_with_their_classes_in_order(tmp_path: Path) -> None:
    write_classes(tmp_path / "cases.csv", [ANSWER])
    text = (tmp_path / "cases.csv").read_text()
    assert text == (
        "study,dataset,split,modalities,truth,predicted,p_a,p_b,p_c\ns1,d,,t1,c,b,0.1,0.7,0.2\n"
    )
    (back,) = read_classes(tmp_path / "cases.csv")
    assert back == ANSWER
    assert list(back.probabilities) == ["a", "b", "c"]


def test_answers_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    with pytest.raises(ValueError, match="expected a, b, c"):
        write_classes(path, [ANSWER, replace(ANSWER, study="s2", probabilities={"a": 1.0, "b": 0})])
    with pytest.raises(ValueError, match="class 'd'"):
        write_classes(path, [replace(ANSWER, truth="d")])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        write_classes(path, [replace(ANSWER, probabilities={"a": math.nan, "b": 0.5, "c": 0.5})])
    with pytest.raises(ValueError, match="scored twice"):
        write_classes(path, [ANSWER, ANSWER])
    write_classes(path, [ANSWER])
    damage(path, ",c,b,", ",z,b,")
    with pytest.raises(ValueError, match=r"line 2 .*class 'z'"):
        read_classes(path)
