"""Tables and picture."""

import csv
from pathlib import Path

import pytest
from matplotlib import image

from brainmvp_lightning.sweeps.parameters import Parameter
from brainmvp_lightning.sweeps.report import write_report
from brainmvp_lightning.sweeps.scales import number_scale, scale_of
from brainmvp_lightning.sweeps.tables import short_names
from brainmvp_lightning.sweeps.trials import FAILED, Trial
from tests.sweeps.making import finished, sweep_of

RATE = Parameter("model.init_args.optimizer.learning_rate", "log_uniform_values", low=1e-4, high=1)
KIND = Parameter("model.init_args.backbone", "categorical", values=("unet3d", None))
FIXED = Parameter("trainer.max_epochs", "constant", values=(3,))
SWEEP = sweep_of(RATE, KIND, FIXED)


def trial(number: int, metric: float, rate: float, kind: str | None) -> Trial:
    values = {RATE.name: rate, KIND.name: kind, FIXED.name: 3}
    return finished(number, metric, **values)


def test_tables_and_picture_show_the_best_first(tmp_path: Path) -> None:
    trials = [trial(0, 0.5, 1e-3, None), trial(1, 0.25, 1e-2, "unet3d"), trial(2, 0, 1.0, None)]
    trials[2].state, trials[2].reason = FAILED, "ended with code 1"
    text, files = write_report(SWEEP, tmp_path, trials)
    assert "3 trials, 2 finished, 1 failed. val/dice: lower is better" in text
    assert "| trial_0001 | 0.25 | 0.25 | 0.01 | unet3d | 2 min | finished |" in text
    assert "The same in all: `trainer.max_epochs=3`." in text
    assert f"-c {tmp_path}/trial_0001/values.json" in text
    assert [file.name for file in files] == ["trials.csv", "trials.md", "trials.png"]
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["trial_0001", "trial_0000", "trial_0002"]
    assert [row["val/dice"] for row in rows] == ["0.25", "0.5", ""]
    assert [row[KIND.name] for row in rows] == ["unet3d", "null", "null"]
    assert rows[2]["reason"] == "ended with code 1"
    pixels = image.imread(tmp_path / "trials.png")[..., :3]
    coloured = (pixels.max(-1) - pixels.min(-1)) > 0.15  # lines; axes and words are grey
    assert coloured.mean() > 0.001


def test_without_a_metric_there_is_no_picture(tmp_path: Path) -> None:
    text, files = write_report(SWEEP, tmp_path, [Trial(0, {}, {}, FAILED)])
    assert [file.name for file in files] == ["trials.csv", "trials.md"]
    assert "none" not in text
    assert "1 failed" in text


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    names = ["model.init_args.a.init_args.weight", "model.init_args.b.init_args.weight", "x.rate"]
    assert list(short_names(names).values()) == ["a.weight", "b.weight", "rate"]
    assert short_names(["m.backbone", "m.backbone.depth"]) == {
        "m.backbone": "backbone",
        "m.backbone.depth": "depth",
    }


def test_axes_have_round_numbers_at_their_places() -> None:
    log = scale_of(RATE, [1e-4, 1e-2], "rate")
    assert log.is_log
    assert [label for _, label in log.ticks()] == ["0.0001", "0.001", "0.01"]
    assert log.place(1e-3) == pytest.approx(0.5)
    line = number_scale([0.0, 1.0], "x")
    assert [label for _, label in line.ticks()] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert number_scale([0.5, 0.5], "x").place(0.5) == pytest.approx(0.5)
    numbers = Parameter("n", "categorical", values=(4, 1, 2))
    heights = [scale_of(numbers, [1], "n").place(value) for value in (1, 2, 4)]
    assert heights == pytest.approx([1 / 6, 3 / 6, 5 / 6])
