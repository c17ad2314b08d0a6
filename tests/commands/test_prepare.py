import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from brainmvp_lightning.commands import prepare as command
from brainmvp_lightning.commands.prepare import build_parser, main
from brainmvp_lightning.commands.prepare_report import MAX_ROWS
from brainmvp_lightning.commands.progress import show_progress
from brainmvp_lightning.volumes import writer
from brainmvp_lightning.volumes.cache import Cache
from tests.preprocessing.cohort import write_cohort, write_scan
from tests.volumes.images import head, save, scaled

CONFIGS = Path(__file__).parents[2] / "configs" / "prepare"


def table_config(root: Path, rows: list[str], **more: object) -> list[str]:
    """A table of ``patient,modality`` rows of good scans, and the arguments to prepare it."""
    lines = ["patient,modality,path"]
    for row in rows:
        patient, modality = row.split(",")
        scan = write_scan(root, patient, modality)
        lines.append(f"{patient},{modality},{scan.path.relative_to(root)}")
    (root / "scans.csv").write_text("\n".join(lines))
    config = {
        "source": {"class_path": "table", "init_args": {"path": str(root / "scans.csv")}},
        "cache": str(root / "cache"),
        "workers": 1,
        **more,
    }
    (root / "prepare.yaml").write_text(yaml.safe_dump(config))
    return ["--config", str(root / "prepare.yaml")]


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\n"
        "from brainmvp_lightning.commands.prepare import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'lightning', 'monai', 'torchio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--recipe.spacing_mm" in done.stdout


@pytest.mark.parametrize("name", ["demo", "bids", "table"])
def test_shipped_configs_equal_their_own_printed_config(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    config = CONFIGS / f"{name}.yaml"
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(["--config", str(config), "--print_config"])
        assert end.value.code == 0
        printed.append(capsys.readouterr().out)
        config = tmp_path / "printed.yaml"
        config.write_text(printed[-1])
    assert printed[0] == printed[1]
    parts = build_parser().instantiate_classes(build_parser().parse_args(["--config", str(config)]))
    assert type(parts.source).__name__ == {"demo": "synthetic"}.get(name, name)


def test_templates_spell_out_every_option() -> None:
    for name in ("bids", "table"):
        written = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        parsed = build_parser().parse_args(["--config", str(CONFIGS / f"{name}.yaml")])
        assert set(written) == set(vars(parsed)) - {"config"}
        assert set(written["recipe"]) == set(vars(parsed.recipe))
        assert set(written["source"]["init_args"]) == set(vars(parsed.source.init_args))


def test_a_table_becomes_a_cache_and_a_second_call_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = table_config(tmp_path, ["p,t1", "p,FLAIR", "q,T1Gd"])
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "prepare: 2 of 2 studies" in text
    assert "3 scans: FLAIR 1, T1 1, T1CE 1" in text
    assert "3 scans without loss, largest quantisation error 0.0e+00" in text
    assert "1 with two modalities or more" in text
    assert [study.id for study in Cache.open(tmp_path / "cache").studies] == ["scans_p", "scans_q"]
    assert main(arguments) == 0
    assert "nothing to do: cache" in capsys.readouterr().out


def test_options_override_the_file(tmp_path: Path) -> None:
    arguments = table_config(tmp_path, ["p,t1"])
    more = ["--cache", str(tmp_path / "other"), "--recipe.spacing_mm", "2", "--workers", "1"]
    assert main([*arguments, *more, "--split_ratios", "[0,0,1]"]) == 0
    cache = Cache.open(tmp_path / "other")
    assert (cache.spacing_mm, cache.studies[0].split) == (2.0, "test")


def test_extra_modalities_follow_the_published_ones(tmp_path: Path) -> None:
    (tmp_path / "scans.csv").write_text("patient,modality,path\np,SWAN,x.nii.gz\n")
    save(tmp_path / "x.nii.gz", head(), scaled())
    arguments = ["--source", "table", "--source.path", str(tmp_path / "scans.csv")]
    arguments += ["--cache", str(tmp_path / "c"), "--extra_modalities", "{swi: [swan]}"]
    assert main([*arguments, "--workers", "1"]) == 0
    cache = Cache.open(tmp_path / "c")
    assert cache.modalities[-1] == "swi"
    assert cache.studies[0].modalities == ("swi",)


def test_bad_files_are_listed_at_the_end_and_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = table_config(tmp_path, ["p,t1", "p,t2", "q,t1"])
    (tmp_path / "data/p/t2.nii.gz").write_bytes(b"")
    with (tmp_path / "scans.csv").open("a") as table:
        table.write("\nq,T9,data/q/t9.nii.gz\n")
    assert main(arguments) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "2 set aside" in text
    assert "0 bytes" in text
    assert "unknown modality" in text
    rows = (tmp_path / "cache/rejected.csv").read_text().splitlines()
    assert rows[0] == "study,file,reason,remedy"
    assert rows[1].startswith("scans_q")
    assert "'T9'" in rows[1]
    assert rows[2] == (
        "scans_p,../data/p/t2.nii.gz,it is empty (0 bytes),download or convert it again"
    )


def test_no_study_with_a_partner_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(table_config(tmp_path, ["p,t1", "q,t1"])) == 0
    assert "warning: no study has two modalities" in capsys.readouterr().out


def test_nothing_usable_ends_with_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = table_config(tmp_path, ["p,t1"])
    (tmp_path / "data/p/t1.nii.gz").unlink()
    assert main(arguments) == 1
    assert "nothing could be prepared" in capsys.readouterr().out


def test_another_recipe_ends_with_code_1_and_names_the_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = table_config(tmp_path, ["p,t1"])
    assert main(arguments) == 0
    assert main([*arguments, "--recipe.margin_mm", "3"]) == 1
    assert "another recipe (margin_mm: 0.0 there, 3.0 here)" in capsys.readouterr().err


def test_a_full_disk_ends_with_code_1_and_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "write_bytes", full)
    assert main(table_config(tmp_path, ["p,t1"])) == 1
    error = capsys.readouterr().err
    assert "the disk is full; free some space and run the same command again" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source.path", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["--recipe.reference", "[t1,t9]"], "recipe.reference names t9"),
        (["--split_ratios", "[0,0,0]"], "split_ratios must be three numbers"),
        (["--extra_modalities", "{t2: [t1]}"], "'t1' cannot mean 't2'"),
    ],
)
def test_wrong_values_end_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    config = table_config(tmp_path, ["p,t1"])
    assert main([*config, *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", "tabel", "--cache", "x"],
        ["--recipe.spacing_nm", "2"],
        ["--recipe.spacing_mm", "two"],
        ["--recipe.spacing_mm", "-1"],
        [],
    ],
)
def test_wrong_names_end_with_code_2_in_the_parser(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


def test_an_interrupted_job_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "prepare", interrupted)
    assert main(table_config(tmp_path, ["p,t1"])) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_a_terminal_gets_a_bar_with_rate_and_time_left() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with show_progress(console, "prepare", "studies") as report:
        report(0, 4)
        report(4, 4)
    assert "4/4" in screen.getvalue()
    assert "studies/s" in screen.getvalue()


def test_many_bad_files_do_not_flood_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cohort(tmp_path, 1)
    rows = "\n".join(f"p0,x{number},a.nii" for number in range(50))
    (tmp_path / "scans.csv").write_text(f"patient,modality,path\np0,t1,data/p0/t1.nii.gz\n{rows}\n")
    arguments = ["--source", "table", "--source.path", str(tmp_path / "scans.csv")]
    assert main([*arguments, "--cache", str(tmp_path / "c"), "--workers", "1"]) == 0
    assert f"({50 - MAX_ROWS} more, all in" in capsys.readouterr().out
