"""Tables and plots say what the runs did."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from brainmvp_lightning.experiments.plan import Plan
from brainmvp_lightning.experiments.report import write_report
from brainmvp_lightning.experiments.tables import escape_latex, write_latex, write_markdown
from tests.experiments.scores import place, write_answers, write_dice

ARMS = ("scratch", "brain_mvp")
BASE = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def plan(folder: Path, kind: str) -> Plan:
    """Two arms, two shares, two seeds: the second arm is better by 0.1, seed 1 by 0.02."""
    places = [
        write_dice(
            place(folder, arm, fraction, seed),
            [v + 0.1 * number + 0.02 * seed + 0.1 * fraction for v in BASE],
        )
        for fraction in ((0.5, 1.0) if kind == "label_efficiency" else (1.0,))
        for number, arm in enumerate(ARMS)
        for seed in (0, 1)
    ]
    return Plan(kind, ARMS, (), tuple(places))


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_table_of_runs_has_a_row_for_each(tmp_path: Path) -> None:
    write_report(plan(tmp_path, "label_efficiency"), tmp_path)
    rows = read(tmp_path / "results.csv")
    assert [(r["arm"], r["fraction"], r["seed"]) for r in rows[:3]] == [
        ("scratch", "0.5", "0"),
        ("scratch", "0.5", "1"),
        ("brain_mvp", "0.5", "0"),
    ]
    assert float(rows[0]["dice"]) == pytest.approx(0.35 + 0.05)
    assert float(rows[0]["dice_WT"]) == pytest.approx(0.4)
    assert float(rows[0]["hd95_mm"]) == 2.0
    assert (rows[0]["cases"], rows[0]["misses"]) == ("6", "0")
    assert len(rows) == 8


def test_the_table_of_arms_holds_means_intervals_and_tests(tmp_path: Path) -> None:
    write_report(plan(tmp_path, "label_efficiency"), tmp_path)
    first, second, *_ = read(tmp_path / "table.csv")
    assert float(first["dice"]) == pytest.approx(0.41)
    assert float(first["dice_sd"]) == pytest.approx(0.02 / 2**0.5)
    assert float(first["dice_low"]) < 0.41 < float(first["dice_high"])
    assert first["difference"] == first["p"] == first["p_holm"] == ""
    assert float(second["difference"]) == pytest.approx(0.1)
    assert second["pairs"] == "6"
    assert float(second["p"]) == pytest.approx(2 / 64)
    assert float(second["p_holm"]) == pytest.approx(4 / 64)


@pytest.mark.parametrize("kind", ["label_efficiency", "ablation"])
def test_tables_for_readers_say_what_their_numbers_are(tmp_path: Path, kind: str) -> None:
    write_report(plan(tmp_path, kind), tmp_path)
    text, tex = (tmp_path / "table.md").read_text(), (tmp_path / "table.tex").read_text()
    share = "46.00" if kind == "ablation" else "41.00"
    assert f"| scratch | 2 | 6 | {share} ± 1.41 | [" in text
    assert "| +10.00 | [10.00, 10.00] |" in text
    assert f"scratch & 2 & 6 & {share} $\\pm$ 1.41 & [" in tex
    assert r"brain\_mvp" in tex
    assert ("| 100 % | brain_mvp |" in text) == (kind == "label_efficiency")
    for part in ("6 test cases", "95 % bootstrap interval", "Wilcoxon", "Holm"):
        assert part in text
        assert escape_latex(part) in tex
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(text.splitlines()) - 3
    assert len({row.count(" & ") for row in rows}) == 1


@pytest.mark.parametrize("kind", ["label_efficiency", "ablation"])
def test_the_plot_shows_something_in_the_colour_of_each_arm(tmp_path: Path, kind: str) -> None:
    report = write_report(plan(tmp_path, kind), tmp_path)
    picture = imread(tmp_path / f"{kind}.png")
    assert tmp_path / f"{kind}.png" in report.files
    assert picture.shape[0] > 500
    for colour in ((0x5A, 0x5A, 0x5A), (0x00, 0x72, 0xB2)):
        is_colour = np.abs(picture[..., :3] - np.array(colour) / 255).max(axis=-1) < 0.01
        assert 200 < is_colour.sum() < picture[..., 0].size / 10


def test_runs_that_are_missing_are_said_to_be(tmp_path: Path) -> None:
    whole = plan(tmp_path, "ablation")
    whole.places[-1].cases.unlink()
    report = write_report(whole, tmp_path)
    assert report.missing == [whole.places[-1].cell]
    assert "Unfinished: 3 of 4 runs." in (tmp_path / "table.md").read_text()
    for here in whole.places[:-1]:
        here.cases.unlink()
    assert write_report(whole, tmp_path).files == []


def test_a_classification_has_its_tables_and_plot(tmp_path: Path) -> None:
    answers = {"a": ("well", 0.1), "b": ("well", 0.7), "c": ("sick", 0.6), "d": ("sick", 0.8)}
    better = {**answers, "b": ("well", 0.2)}
    places = (
        write_answers(place(tmp_path, "scratch"), answers),
        write_answers(place(tmp_path, "brain_mvp"), better),
    )
    write_report(Plan("label_efficiency", ARMS, (), places), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| scratch | 1 | 4 | 0.7500 | [" in text
    assert "| brain_mvp | 1 | 4 | 1.0000 | [1.0000, 1.0000] | 1.0000 | 1.0000 | +0.1250 |" in text
    assert "probability of the true class" in text
    assert (tmp_path / "label_efficiency.png").is_file()


@pytest.mark.parametrize("kind", ["label_efficiency", "ablation"])
def test_what_is_undefined_is_a_dash_and_no_fault(tmp_path: Path, kind: str) -> None:
    alone = write_answers(place(tmp_path, "scratch"), {"a": ("well", 0.1)})
    write_report(Plan(kind, ("scratch",), (), (alone,)), tmp_path)
    assert (
        "| scratch | 1 | 1 | - | - | 1.0000 | - | - | - | - |"
        in (tmp_path / "table.md").read_text()
    )


def test_latex_is_escaped() -> None:
    assert escape_latex(r"a_b & 5 % \x {~^} #$ ± <") == (
        r"a\_b \& 5 \% \textbackslash{}x \{\textasciitilde{}\textasciicircum{}\} \#\$ $\pm$ $<$"
    )
    tex = write_latex([["Arm", "x"], ["a_b", "1"]], "100 %", "t")
    assert r"\caption{100 \%}" in tex
    assert "a\\_b & 1 \\\\\n" in tex
    assert tex.index(r"\toprule") < tex.index(r"\midrule") < tex.index(r"\bottomrule")


def test_a_bar_in_a_name_does_not_split_a_cell_of_markdown() -> None:
    assert r"| a\|b | 1 |" in write_markdown([["Arm", "x"], ["a|b", "1"]], "Caption.")


def test_scores_that_do_not_count_are_left_out(tmp_path: Path) -> None:
    made = plan(tmp_path, "ablation")
    report = write_report(made, tmp_path, [made.places[1].cell])
    assert report.missing == [made.places[1].cell]
    assert [row["seed"] for row in read(tmp_path / "results.csv")] == ["0", "0", "1"]
    assert "Unfinished: 3 of 4 runs." in (tmp_path / "table.md").read_text()


def test_runs_without_a_defined_score_are_a_dash(tmp_path: Path) -> None:
    only = {"1": ("sick", 0.9), "2": ("sick", 0.4)}  # one class, so there is no AUC
    places = tuple(write_answers(place(tmp_path, "scratch", seed=n), only) for n in (0, 1))
    report = write_report(Plan("ablation", ("scratch",), (), places), tmp_path)
    assert report.rows[0].spread is None
    assert "| scratch | 2 | 2 | - ± - | - |" in (tmp_path / "table.md").read_text()
