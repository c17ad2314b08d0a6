"""``brainmvp report`` from the command line, with folders in any state."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from brainmvp_lightning.commands.report import main
from brainmvp_lightning.reports.run_folder import find_runs, read_run
from tests.reports.folders import CASES, write_finetuning, write_pretraining


def test_runs_become_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pretraining(tmp_path / "pretrain")
    write_finetuning(tmp_path / "finetune" / "a")
    write_finetuning(tmp_path / "finetune" / "b")
    page = tmp_path / "out" / "report.html"
    folders = [str(tmp_path / "pretrain"), str(tmp_path / "finetune")]
    assert main([*folders, "-o", str(page), "--title", "Mine"]) == 0
    text = page.read_text()
    assert "<title>Mine</title>" in text
    for name in ("pretrain", "finetune/a", "finetune/b"):
        assert f"{name}</th>" in text, name
    printed = capsys.readouterr().out
    assert f"wrote {page}: 3 runs, " in printed
    assert "none was ever learned" in printed


def spoil(file: str, content: bytes) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / file).parent.mkdir(parents=True, exist_ok=True)
        (run / file).write_bytes(content)

    return write


def cut(file: str) -> Callable[[Path], None]:
    def shorten(run: Path) -> None:
        content = (run / file).read_bytes()
        (run / file).write_bytes(content[: len(content) // 2])

    return shorten


def replace(file: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / file).write_bytes((run / file).read_bytes().replace(old, new, 1))

    return change


WORST = f"test/volumes/{CASES[0]}"


@pytest.mark.parametrize(
    ("spoiled", "named"),
    [
        (spoil("config.yaml", b"a: [1"), "config.yaml is damaged"),
        (spoil("config.yaml", b"- 1\n"), "config.yaml is damaged: it holds list"),
        (lambda run: (run / "config.yaml").unlink(), "config.yaml is missing"),
        (spoil("run.json", b"{"), "run.json is damaged"),
        (spoil("run.json", b'{"git": 3, "versions": [], "data": {"scans": 1}}'), ""),
        (spoil("encoder.md", b"\xff\xfe"), "encoder.md is damaged"),
        (spoil("logs/version_0/metrics.csv", b"\x00\x01"), "metrics.csv has no column 'step'"),
        (cut("logs/version_0/metrics.csv"), ""),
        (spoil("logs/version_0/metrics.csv", b""), "metrics.csv has no column 'step'"),
        (cut("test/cases.csv"), "test/cases.csv is damaged: test/cases.csv is cut off"),
        (spoil("test/cases.csv", b"a,b\n1,2\n"), "test/cases.csv is damaged"),
        (cut(f"{WORST}/image.nii.gz"), "volumes of case 1 are damaged"),
        (cut(f"{WORST}/case.json"), "volumes of case 1 are damaged"),
        (spoil(f"{WORST}/case.json", b'{"dice": 3}'), "case.json has not the entries"),
        (
            spoil(f"{WORST}/case.json", b'{"dice": {"a": "b"}, "names": [], "modality": 1}'),
            "case.json has a Dice that is no number",
        ),
        (replace("test/cases.csv", b"scored", b"scared"), "test/cases.csv is damaged: line 2"),
        (replace("logs/version_0/metrics.csv", b"val/dice", b"templates/t1"), ""),
        (cut(f"{WORST}/label.nii.gz"), "volumes of case 1 are damaged"),
        (spoil("pictures/overlay_0001.png", b"no picture"), "overlay_0001.png is damaged"),
        (spoil("templates/t1.nii.gz", b"no image"), "templates/t1.nii.gz is damaged"),
        (spoil("templates/t1.nii.gz", b""), "templates/t1.nii.gz is damaged"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_is_shown(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoiled: Callable[[Path], None],
    named: str,
) -> None:
    run = write_finetuning(tmp_path / "run")
    spoiled(run)
    page = tmp_path / "report.html"
    assert main([str(run), "-o", str(page)]) == 0
    text = page.read_text()
    printed = capsys.readouterr()
    assert named in printed.out
    assert named.replace("'", "&#x27;") in text
    assert not printed.err
    assert 'id="summary"' in text
    assert str(tmp_path) not in text
    assert CASES[0] not in text


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder, "there is nothing to show in "),
        (lambda folder: folder / "absent", "is missing"),
        (lambda folder: (folder / "file.txt", (folder / "file.txt").touch())[0], "is a file"),
    ],
)
def test_nothing_to_show_ends_in_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], Path],
    reason: str,
) -> None:
    assert main([str(make(tmp_path)), "-o", str(tmp_path / "report.html")]) == 2
    printed = capsys.readouterr().err
    assert reason in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert not (tmp_path / "report.html").exists()


def test_an_empty_run_is_left_out_beside_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pretraining(tmp_path / "good")
    spoil("run.json", json.dumps([]).encode())(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    page = tmp_path / "report.html"
    folders = [str(tmp_path / name) for name in ("good", "empty", "other")]
    assert main([*folders, "-o", str(page)]) == 0
    told = capsys.readouterr().err
    assert "empty has nothing to show" in told
    assert "other holds no run" in told
    assert "good</th>" in page.read_text()


def test_runs_below_a_folder_are_found_once(tmp_path: Path) -> None:
    write_finetuning(tmp_path / "b" / "seed_0")
    write_pretraining(tmp_path / "a")
    (tmp_path / "a" / "logs" / "version_0" / "config.yaml").write_text("x: 1")
    assert find_runs(tmp_path) == [tmp_path / "a", tmp_path / "b" / "seed_0"]


def test_the_last_picture_counts_only_if_it_is_a_new_one(tmp_path: Path) -> None:
    run = write_pretraining(tmp_path / "run")
    newest = run / "pictures" / "templates_0004.png"
    last = run / "pictures" / "templates_last.png"
    last.write_bytes(newest.read_bytes())
    assert list(read_run(run, "run").pictures["templates"]) == ["0002", "0004"]
    last.write_bytes((run / "pictures" / "templates_0002.png").read_bytes())
    assert list(read_run(run, "run").pictures["templates"]) == ["0002", "0004", "last"]
