import csv
import json
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import yaml

from brainmvp_lightning.commands import doctor as command
from brainmvp_lightning.commands.doctor import main
from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.volumes.cache import Cache
from tests.doctor.cohort import affine, broken_table, clean_table, head, lesion
from tests.volumes.images import save

FAST = ["--workers", "1", "--time_studies", "0", "--recipe.spacing_mm", "6"]

# Fault -> study and file; each must be found exactly once.
ERRORS = {
    ("missing", "toy_gone", "gone/flair.nii.gz"),
    ("unreadable", "toy_cut", "cut/flair.nii.gz"),
    ("unreadable", "toy_few", "few/flair.nii.gz"),
    ("four_d", "toy_many", "many/flair.nii.gz"),
    ("constant", "toy_flat", "flat/flair.nii.gz"),
    ("nonfinite", "toy_nan", "nan/flair.nii.gz"),
    ("far", "toy_away", "away/flair.nii.gz"),
    ("label_values", "toy_four", "four/seg.nii.gz"),
    ("same_voxels", "toy_twin", "twin/t1.nii.gz"),
    ("same_voxels", "toy_twin", "twin/t2.nii"),
    ("leak", "toy_leak", "leak/t1.nii.gz"),
}


def config_of(table: Path) -> Path:
    """A configuration of prepare for a table."""
    config = table.with_name("prepare.yaml")
    source = {"class_path": "table", "init_args": {"path": str(table)}}
    plain = {
        "source": source,
        "cache": str(table.with_name("cache")),
        "recipe": {"spacing_mm": 6.0},
        "verify": False,
        "workers": 1,
    }
    config.write_text(yaml.safe_dump(plain))
    return config


def test_help_does_not_import_torch_and_states_the_exit_code() -> None:
    code = (
        "import sys\n"
        "from brainmvp_lightning.cli import main\n"
        "try:\n    main(['doctor', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'lightning', 'monai', 'torchio', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "Exit code: 0 without errors, 1 with errors" in text
    assert "of prepare; without effect here" in text


def test_a_clean_cohort_ends_with_code_0_and_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = clean_table(tmp_path)
    assert main([str(table), *FAST, "--strict"]) == 0
    text = capsys.readouterr().out
    assert "look: 3 of 3 studies" in text
    assert "3 studies of 3 patients in 1 data set, 6 readable scans" in text
    last = text.splitlines()[-1]
    assert last.startswith("0 errors, 0 warnings, 0 notes; next: brainmvp prepare --config ")
    assert last.endswith(
        f"--source.path {table} --workers 1 --recipe.spacing_mm 6 --cache cache/scans"
    )


def test_every_fault_is_found_exactly_once_with_a_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = broken_table(tmp_path)
    assert main([str(table), *FAST, "--json", str(tmp_path / "report.json")]) == 1
    report = json.loads((tmp_path / "report.json").read_text())
    found = [
        (row["kind"], row["study"], "/".join(Path(row["file"]).parts[-2:]))
        for row in report["findings"]
        if row["severity"] == "error"
    ]
    assert sorted(found) == sorted(ERRORS)
    others = [(row["kind"], row["severity"]) for row in report["findings"]][len(ERRORS) :]
    assert others == [("misplaced", "warning"), ("single", "note")]
    assert all(row["fix"] and row["sentence"] for row in report["findings"])
    text = capsys.readouterr().out
    for row in report["findings"]:
        assert text.count(row["sentence"]) == 1
    assert "--write_manifest checked.csv" in text.splitlines()[-1]


def test_the_keys_of_the_json_report_are_stable(tmp_path: Path) -> None:
    for name, write in (("clean", clean_table), ("broken", broken_table)):
        out = tmp_path / f"{name}.json"
        main([str(write(tmp_path / name)), *FAST, "--json", str(out)])
        report = json.loads(out.read_text())
        assert report["format"] == 1
        assert set(report) == {
            "format", "source", "quick", "counts", "findings", "availability", "splits",
            "classes", "duplicates", "prediction", "scans",
        }  # fmt: skip
        assert set(report["counts"]) == {
            "datasets", "patients", "studies", "readable_studies", "scans", "labels", "bytes",
            "errors", "warnings", "notes",
        }  # fmt: skip
        assert set(report["scans"][0]) == {
            "study", "dataset", "split", "modality", "file", "shape", "spacing_mm", "median",
            "low", "high", "foreground", "digest",
        }  # fmt: skip
        assert set(report["prediction"]) == {
            "cache_bytes", "cpu_seconds", "wall_seconds", "workers", "memory_per_worker",
            "largest_study", "num_resampled", "num_timed", "free_bytes", "is_partial",
        }  # fmt: skip
        keys = {"kind", "severity", "study", "file", "sentence", "fix"}
        assert all(set(row) == keys for row in report["findings"])
        assert all(
            set(row) == {"study", "split", "name", "file"}
            for group in report["duplicates"]
            for row in group
        )


def test_the_written_manifest_is_clean_and_lists_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    checked = tmp_path / "out" / "checked.csv"
    table = broken_table(tmp_path / "in")
    assert main([str(table), *FAST, "--write_manifest", str(checked)]) == 1
    assert f"--source.path {checked}" in capsys.readouterr().out.splitlines()[-1]
    manifest = Manifest.read(checked, ModalityVocabulary())
    assert not manifest.problems
    kept = {"/".join(scan.path.parts[-2:]) for scan in manifest.scans}
    assert not kept & {file for _, _, file in ERRORS}
    assert {"good/t1.nii.gz", "held/t1.nii.gz", "cut/t1.nii.gz", "four/t1.nii.gz"} <= kept
    assert not any(scan.label for scan in manifest.scans)
    with checked.with_name("checked_set_aside.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(ERRORS)
    assert set(rows[0]) == {"study", "file", "reason", "remedy"}
    assert main([str(checked), *FAST]) == 0


def test_a_configuration_of_prepare_is_understood_and_handed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(clean_table(tmp_path))
    for words in (["--config", str(config)], [str(config)]):
        assert main([*words, "--time_studies", "0", "--json", str(tmp_path / "r.json")]) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.endswith(f"next: brainmvp prepare --config {config}")
    assert not (tmp_path / "cache").exists()


def test_the_command_for_a_checked_configuration_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(broken_table(tmp_path))
    checked = tmp_path / "checked.csv"
    assert main([str(config), "--time_studies", "0", "--write_manifest", str(checked)]) == 1
    words = capsys.readouterr().out.splitlines()[-1].partition("next: brainmvp prepare ")[2]
    assert prepare(words.split()) == 0
    assert (tmp_path / "cache/rejected.csv").read_text().count("\n") == 1  # its head
    assert Cache.open(tmp_path / "cache").spacing_mm == 6.0


def test_strict_counts_warnings(tmp_path: Path) -> None:
    table = clean_table(tmp_path)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1], lines[3], lines[5]]))  # one modality each
    assert main([str(table), *FAST]) == 0
    assert main([str(table), *FAST, "--strict"]) == 1


def test_quick_reads_headers_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(broken_table(tmp_path)), "--quick", "--workers", "1"]) == 1
    text = capsys.readouterr().out
    assert "headers read" in text
    assert "gone/flair.nii.gz" in text
    assert "cut/flair.nii.gz" not in text
    assert "from built-in figures" in text


def test_many_findings_of_a_kind_are_cut_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = clean_table(tmp_path)
    with table.open("a") as file:
        file.writelines(f"toy,x{number},,t1,no{number}.nii.gz,,,train\n" for number in range(14))
    assert main([str(table), *FAST, "--max_rows", "2"]) == 1
    text = capsys.readouterr().out
    assert text.count("there is no such file") == 2
    assert "  and 12 more" in text


def test_the_page_is_written(tmp_path: Path) -> None:
    table = clean_table(tmp_path)
    assert main([str(table), *FAST, "--html", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give either a manifest"),
        (["nowhere.csv"], "nowhere.csv cannot be read"),
        (["nowhere.csv", "--source", "table", "--source.path", "x.csv"], "give either a manifest"),
        (["nowhere.csv", "--split_ratios", "[0,0,0]"], "split_ratios must be three numbers"),
        (["nowhere.csv", "--recipe.reference", "[t9]"], "recipe.reference names t9"),
    ],
)
def test_wrong_calls_end_with_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_a_report_that_cannot_be_written_ends_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "no" / "folder.json"
    assert main([str(clean_table(tmp_path)), *FAST, "--json", str(out)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_interrupt_ends_with_code_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "diagnose", interrupted)
    assert main([str(clean_table(tmp_path)), *FAST]) == 130


def test_lists_of_exclusions_and_splits_and_own_schemes_count(tmp_path: Path) -> None:
    table = clean_table(tmp_path)
    table.write_text(table.read_text().replace(",lesion,", ",mine,"))
    (tmp_path / "out.csv").write_text("patient,reason\np0,moved\n")
    (tmp_path / "splits.csv").write_text("patient,split\np1,train\n")
    words = ["--exclude", str(tmp_path / "out.csv"), "--splits", str(tmp_path / "splits.csv")]
    words += ["--label_schemes", "{mine: {values: {a: 1}, regions: {a: [a]}}}"]
    assert main([str(table), *FAST, *words, "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["splits"] == {"toy": {"train": 1, "val": 0, "test": 1}}
    assert [row["kind"] for row in report["findings"]] == ["handled", "splits"]
    assert "moved" in report["findings"][0]["sentence"]


def test_a_cache_of_another_recipe_and_a_missing_tool_are_errors(tmp_path: Path) -> None:
    config = config_of(clean_table(tmp_path))
    assert prepare(["--config", str(config)]) == 0
    out = tmp_path / "r.json"
    words = ["--config", str(config), "--time_studies", "0", "--json", str(out)]
    assert main(words) == 0
    for more, kind, sentence in (
        (["--recipe.margin_mm", "3"], "cache", "margin_mm: 0.0 there, 3.0 here"),
        (["--recipe.brain_mask", "no-such-tool {image} {mask}"], "tool", "no-such-tool"),
    ):
        assert main([*words, *more]) == 1
        (finding,) = json.loads(out.read_text())["findings"]
        assert (finding["kind"], finding["severity"]) == (kind, "error")
        assert sentence in finding["sentence"]


def test_schemes_of_a_data_set_go_along_with_its_checked_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "Dataset001_Toy"
    for case in ("a", "b"):
        for channel in ("0000", "0001"):
            image = head(zlib.crc32(f"{case}{channel}".encode()))
            save(root / f"imagesTr/{case}_{channel}.nii.gz", image, affine())
        save(root / f"labelsTr/{case}.nii.gz", lesion(1 + (case == "b")), affine())
    facts = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "lump": 1, "bump": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(facts))
    checked = tmp_path / "checked.csv"
    source = ["--source", "nnunet", "--source.root", str(root), "--cache", str(tmp_path / "c")]
    assert main([*source, *FAST, "--write_manifest", str(checked)]) == 0
    words = capsys.readouterr().out.splitlines()[-1].partition("next: brainmvp prepare ")[2]
    assert prepare(shlex.split(words)) == 0
    cache = Cache.open(tmp_path / "c")
    assert {study.label_scheme for study in cache.studies} == set(cache.label_schemes)
    (scheme,) = cache.label_schemes.values()
    assert scheme.values == {"lump": 1, "bump": 2}
