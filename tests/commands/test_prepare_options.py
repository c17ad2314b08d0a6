"""Shards, lists by hand, label schemes and steps, as the command takes them."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from brainmvp_lightning.commands.prepare import main
from brainmvp_lightning.commands.prepare_report import show_summary
from brainmvp_lightning.commands.progress import show_progress
from brainmvp_lightning.preprocessing.preparation import Prepared
from brainmvp_lightning.preprocessing.summary import summarise
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.volumes.cache import Cache
from brainmvp_lightning.volumes.shards import Shard
from tests.preprocessing.cohort import write_scan
from tests.volumes.images import head, save, scaled

PATIENTS = "abcdef"


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A table of patients a to f with T1 and FLAIR and a label, and how to prepare it."""
    lines = ["patient,modality,path,label,label_scheme"]
    label = (head((12, 14, 10)) > 150).astype(np.uint8)
    label[5, 5, 5] = 7
    save(tmp_path / "label.nii.gz", label, scaled(1.0, (-6, -7, -5)))
    for patient in PATIENTS:
        for modality in ("t1", "flair"):
            path = write_scan(tmp_path, patient, modality).path.relative_to(tmp_path)
            lines.append(f"{patient},{modality},{path},label.nii.gz,mine")
    (tmp_path / "scans.csv").write_text("\n".join(lines))
    config = {
        "source": {"class_path": "table", "init_args": {"path": str(tmp_path / "scans.csv")}},
        "cache": str(tmp_path / "cache"),
        "workers": 1,
        "label_schemes": {"mine": {"values": {"core": 1}, "regions": {"core": ["core"]}}},
    }
    (tmp_path / "prepare.yaml").write_text(yaml.safe_dump(config))
    return ["--config", str(tmp_path / "prepare.yaml")]


def test_shards_end_with_0_and_the_last_one_completes_the_cache(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    num = sum(Shard(1, 2).takes(f"scans_{patient}") for patient in PATIENTS)
    assert main([*arguments, "--shard", "1/2"]) == 0
    text = capsys.readouterr().out
    assert f"this shard is done: it prepared {num} studies" in text
    assert f"{len(PATIENTS) - num} studies of other shards are not finished" in text
    assert not (tmp_path / "cache/index.json").exists()
    assert main([*arguments, "--shard", "2/2"]) == 0
    assert f"prepared {len(PATIENTS) - num} stud" in capsys.readouterr().out
    assert len(Cache.open(tmp_path / "cache").studies) == len(PATIENTS)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--shard", "0/2"], "shard 0/2 does not exist"),
        (["--shard", "/"], "must look like 2/8"),
        (["--exclude", "no.csv"], "no.csv cannot be read"),
        (["--splits", "no.csv"], "no.csv cannot be read"),
        (["--label_schemes", "{x: 1}"], "label scheme 'x' must look like"),
        (["--label_schemes", "{}"], "unknown label scheme 'mine'"),
        (["--recipe.brain_mask", "no_tool {image} {mask}"], "program 'no_tool', which is not"),
    ],
)
def test_wrong_values_end_with_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert main([*arguments, *more]) == 2
    assert words in capsys.readouterr().err


def test_the_nearest_label_scheme_is_named(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    scheme = "{mines: {values: {core: 1}, regions: {core: [core]}}}"
    assert main([*arguments, "--label_schemes", scheme]) == 2
    assert "did you mean 'mines'?" in capsys.readouterr().err


def test_schemes_are_stored_and_values_without_meaning_are_noted(
    arguments: list[str], tmp_path: Path
) -> None:
    assert main(arguments) == 0
    cache = Cache.open(tmp_path / "cache")
    assert {study.label_scheme for study in cache.studies} == {"mine"}
    assert cache.label_schemes["mine"].values == {"core": 1}
    notes = (tmp_path / "cache/notes.csv").read_text()
    assert "label: values 7 mean nothing in label scheme 'mine'" in notes
    assert "../label.nii.gz" in notes


@pytest.mark.parametrize("flag", [["--verify"], ["--verify", "true"], ["--verify=true"]])
def test_verify_says_what_it_checked_and_mends_it(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: list[str]
) -> None:
    assert main(arguments) == 0
    frame = tmp_path / "cache/frames/scans_a/t1.b2nd"
    good = frame.read_bytes()
    frame.write_bytes(good[:-1] + b"?")
    assert main([*arguments, *flag]) == 0
    assert "checked 18 stored volumes: 1 damaged, prepared again" in capsys.readouterr().out
    assert frame.read_bytes() == good
    assert main([*arguments, *flag]) == 0
    assert "checked 18 stored volumes: 0 damaged\n" in capsys.readouterr().out


def test_excluded_studies_are_counted_and_listed(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.csv").write_text("patient,reason\nb,wrong patient\nz,typo\n")
    assert main([*arguments, "--exclude", str(tmp_path / "out.csv")]) == 0
    assert "1 set aside" in capsys.readouterr().out
    cache = Cache.open(tmp_path / "cache")
    assert (len(cache.studies), cache.rejected) == (len(PATIENTS) - 1, 1)
    assert "scans_b,../data/b/" in (tmp_path / "cache/rejected.csv").read_text()
    assert "patient 'z'" in (tmp_path / "cache/notes.csv").read_text()


def test_frozen_splits_win_over_the_hash(arguments: list[str], tmp_path: Path) -> None:
    rows = "\n".join(f"{patient},{'val' if patient < 'd' else 'test'}" for patient in PATIENTS)
    (tmp_path / "splits.csv").write_text(f"patient,split\n{rows}\n")
    assert main([*arguments, "--splits", str(tmp_path / "splits.csv")]) == 0
    splits = {study.patient: study.split for study in Cache.open(tmp_path / "cache").studies}
    assert splits == {patient: "val" if patient < "d" else "test" for patient in PATIENTS}
    assert main(arguments) == 0  # without the list the hash decides again, nothing is prepared
    assert {study.split for study in Cache.open(tmp_path / "cache").studies} != {"val", "test"}


def test_no_scheduler_is_one_sentence_and_code_1(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*arguments, "--scheduler", "tcp://127.0.0.1:1"]) == 1
    assert "pip install 'brainmvp-lightning[cluster]'" in capsys.readouterr().err


def test_brain_masks_of_the_data_set_are_used_and_watched(
    arguments: list[str], tmp_path: Path
) -> None:
    mask = np.zeros((12, 14, 10), np.uint8)
    mask[4:8, 4:9, 3:7] = 1
    save(tmp_path / "mask.nii.gz", mask, scaled(1.0, (-6, -7, -5)))
    lines = (tmp_path / "scans.csv").read_text().splitlines()
    rows = [
        f"{line},{'brain_mask' if not number else 'mask.nii.gz'}"
        for number, line in enumerate(lines)
    ]
    (tmp_path / "scans.csv").write_text("\n".join(rows))
    call = [*arguments, "--recipe.brain_mask", "file"]
    assert main(call) == 0
    (study, *_) = Cache.open(tmp_path / "cache").studies
    assert study.shape == (4, 5, 4)
    mask[8, 4:9, 3:7] = 1
    save(tmp_path / "mask.nii.gz", mask, scaled(1.0, (-6, -7, -5)))
    assert main(call) == 0
    assert Cache.open(tmp_path / "cache").studies[0].shape == (5, 5, 4)


def test_lines_show_scans_and_failures(capsys: pytest.CaptureFixture[str], cache: Cache) -> None:
    with show_progress(Console(), "prepare", "studies") as report:
        report(0, 2)
        report.watch(Prepared(cache.studies[0], (Problem("s", "f", "bad", ""),)))
        report(1, 2)
        report.watch(Prepared(None, (Problem("s", "f", "bad", ""),)))
        report(2, 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "prepare: 0 of 2 studies, 0.0 studies/s"
    assert lines[1].startswith("prepare: 1 of 2 studies, ")
    assert " scans/s, 1 set aside, " in lines[1]
    assert lines[1].endswith(" s left")
    assert lines[2].endswith("2 set aside")


def test_several_data_sets_are_counted_in_a_table(cache: Cache) -> None:
    studies = [*cache.studies, *(replace(study, dataset="[b]") for study in cache.studies)]
    screen = io.StringIO()
    summary = summarise(studies, [], 0)
    show_summary(Console(file=screen, width=120), summary, Path("c"), 1.0)
    rows = [line.split() for line in screen.getvalue().splitlines() if "│ [b]" in line]
    scans = sum(len(study.scans) for study in cache.studies)
    assert rows[0][:6] == ["│", "[b]", "│", str(len(cache.studies)), "│", str(scans)]


def test_a_rewritten_index_is_not_called_nothing_to_do(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    (tmp_path / "out.csv").write_text("patient\nb\n")
    call = [*arguments, "--exclude", str(tmp_path / "out.csv")]
    capsys.readouterr()
    assert main(call) == 0
    text = capsys.readouterr().out
    assert "was rewritten: splits, classes or exclusions changed" in text
    assert "nothing to do" not in text
    assert main(call) == 0
    assert "nothing to do: cache" in capsys.readouterr().out


def test_frozen_splits_know_excluded_patients(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("patient\nb\n")
    (tmp_path / "splits.csv").write_text("patient,split\na,val\nb,val\n")
    lists = ["--exclude", str(tmp_path / "out.csv"), "--splits", str(tmp_path / "splits.csv")]
    assert main([*arguments, *lists]) == 0
    assert "no study fits it" not in (tmp_path / "cache/notes.csv").read_text()
