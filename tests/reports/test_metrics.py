"""Logs of a run are joined by step, whatever state they are in."""

from pathlib import Path

from brainmvp_lightning.reports.metrics import Curve, read_logs, thin
from tests.reports.folders import write_log

HEADER = "epoch,step,train/total,val/total"


def test_a_resumed_run_is_one_curve_and_its_later_log_counts(tmp_path: Path) -> None:
    write_log(tmp_path, 0, HEADER, "0,0,9,", "0,1,8,", "1,2,7,0.7", "1,3,6,")
    write_log(tmp_path, 10, HEADER, "3,4,2,")
    write_log(tmp_path, 2, HEADER, "1,2,5,", "2,3,4,0.4")  # went on from step 2
    logs = read_logs(tmp_path / "logs")
    assert logs.curves["train/total"] == Curve((0, 1, 2, 3, 4), (9, 8, 5, 4, 2))
    assert logs.curves["val/total"] == Curve((3,), (0.4,))
    assert (logs.num_parts, logs.last_step, logs.last_epoch) == (3, 4, 3)
    assert not logs.faults


def test_a_fresh_start_in_a_used_folder_is_no_resumption(tmp_path: Path) -> None:
    write_log(tmp_path, 0, HEADER, "0,0,9,", "0,5,8,")
    for version, continues in ((1, "false"), (2, "true")):
        log = write_log(tmp_path, version, HEADER, f"{version},{3 * version},5,")
        log.with_name("start.json").write_text(f'{{"continues": {continues}}}')
    logs = read_logs(tmp_path / "logs")
    assert logs.curves["train/total"] == Curve((3, 6), (5, 5))
    assert logs.num_parts == 2


def test_a_damaged_start_is_one_that_is_not_known(tmp_path: Path) -> None:
    write_log(tmp_path, 0, HEADER, "0,0,9,")
    log = write_log(tmp_path, 1, HEADER, "0,1,8,")
    log.with_name("start.json").write_text("[")
    assert read_logs(tmp_path / "logs").num_parts == 2


def test_logs_of_tests_cut_no_curve(tmp_path: Path) -> None:
    write_log(tmp_path, 0, "epoch,step,train/total,data/faults", "0,0,3,0", "0,1,2,0")
    write_log(tmp_path, 1, "epoch,step,test/dice,data/faults", "0,0,0.5,4")
    logs = read_logs(tmp_path / "logs")
    assert logs.curves["train/total"].steps == (0, 1)
    assert logs.curves["data/faults"] == Curve((0, 1), (0, 0))
    assert logs.num_parts == 1


def test_broken_lines_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    write_log(tmp_path, 0, HEADER, "0,0,3,", "0,1", "0,nan,1,", "0,2,nan,1", "0,x,1,1", "0,3,1,")
    logs = read_logs(tmp_path / "logs")
    assert logs.curves["train/total"] == Curve((0, 3), (3, 1), num_gaps=1)
    assert logs.faults == (
        "logs/version_0/metrics.csv: 3 broken lines are left out",
        "logs: values that are not finite are gaps in the curves: 1 of train/total",
    )


def test_files_without_steps_are_named(tmp_path: Path) -> None:
    write_log(tmp_path, 0, "a,b", "1,2")
    write_log(tmp_path, 1, "")
    logs = read_logs(tmp_path / "logs")
    assert not logs.curves
    assert [fault.split(" ")[0] for fault in logs.faults] == [
        "logs/version_0/metrics.csv",
        "logs/version_1/metrics.csv",
    ]


def test_thinning_keeps_extremes_and_ends() -> None:
    values = [0.0] * 1000
    values[333], values[777] = 5.0, -5.0
    thinned = thin(Curve(tuple(range(1000)), tuple(values)), most=50)
    assert len(thinned.steps) <= 53
    assert {0, 333, 777, 999} <= set(thinned.steps)
    assert list(thinned.steps) == sorted(thinned.steps)
