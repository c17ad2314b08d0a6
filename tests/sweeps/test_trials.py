"""The file of trials."""

from pathlib import Path

import pytest

from brainmvp_lightning.sweeps.history import logged_names, read_history
from brainmvp_lightning.sweeps.parameters import Parameter
from brainmvp_lightning.sweeps.trials import FAILED, STOPPED, ChangedSweepError, Trial, Trials, rank
from tests.sweeps.making import finished, sweep_of

SWEEP = sweep_of(Parameter("a", "categorical", values=(1, None, [2, 3])))


def test_trials_come_back_as_they_were(tmp_path: Path) -> None:
    trials = Trials(tmp_path, SWEEP, 0)
    trials.items += [finished(0, 0.5, a=None), Trial(1, {"a": [2, 3]}, {"a": 0.9})]
    trials.save()
    assert Trials(tmp_path, SWEEP, 0).items == trials.items


def test_another_sweep_is_refused(tmp_path: Path) -> None:
    Trials(tmp_path, SWEEP, 0).save()
    with pytest.raises(ChangedSweepError, match="of a sweep with other metric and seed; choose"):
        Trials(tmp_path, sweep_of(*SWEEP.parameters, goal="maximize"), 1)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ChangedSweepError, match="is damaged"):
        Trials(tmp_path, SWEEP, 0)


def test_failed_and_stopped_trials_come_after_finished_ones() -> None:
    stopped = Trial(0, {}, {}, STOPPED, [0.1])
    failed = Trial(1, {}, {}, FAILED, [0.0])
    trials = [stopped, failed, finished(2, 0.5), finished(3, 0.4)]
    numbers = [[one.number for one in rank(trials, is_higher_better=up)] for up in (False, True)]
    assert numbers == [[3, 2, 0, 1], [2, 3, 0, 1]]
    assert failed.metric is None


def test_a_run_with_several_starts_has_one_history(tmp_path: Path) -> None:
    tables = {
        "version_0": "epoch,step,val/dice\n0,9,0.1\n1,19,0.2\n",
        "version_10": "epoch,step,val/dice\n3,39,0.4\n4,49,0.",  # being written
        "version_2": "epoch,step,val/dice,val/auc\n1,19,0.25,\n2,29,0.3,\n2,29,,0.9\n",
    }
    for name, text in tables.items():
        (tmp_path / "logs" / name).mkdir(parents=True)
        (tmp_path / "logs" / name / "metrics.csv").write_text(text)
    assert read_history(tmp_path, "val/dice") == [0.1, 0.25, 0.3, 0.4]
    assert read_history(tmp_path, "val/f1") == []
    assert logged_names(tmp_path) == ["epoch", "step", "val/dice", "val/auc"]
