import subprocess
import sys
from pathlib import Path

import pytest

from brainmvp_lightning.preprocessing.executors import Results, spread_over_processes
from tests.preprocessing.jobs import (
    deadly_for_x,
    deadly_once_for_x,
    failing,
    harmless,
    studies,
)


def reasons(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    for study, prepared in results:
        assert study.id not in found
        found[study.id] = prepared.problems[0].reason
    return found


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_study_is_done_once(tmp_path: Path, workers: int) -> None:
    results = spread_over_processes(studies(tmp_path, "abcdefgh"), harmless, workers)
    assert reasons(results) == dict.fromkeys("abcdefgh", "done")


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    assert list(spread_over_processes([], harmless, 2)) == []


def test_a_study_that_kills_its_worker_twice_is_set_aside_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    results = reasons(spread_over_processes(studies(tmp_path, "abxcdefg"), deadly_for_x, 2))
    assert "ended a worker process twice, most likely for lack of memory" in results.pop("x")
    assert results == dict.fromkeys("abcdefg", "done")


def test_a_study_that_kills_its_worker_once_is_done_on_its_own(tmp_path: Path) -> None:
    results = reasons(spread_over_processes(studies(tmp_path, "axb"), deadly_once_for_x, 2))
    assert results == dict.fromkeys("abx", "done")


def test_a_fault_of_the_job_ends_the_work(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no disk for"):
        list(spread_over_processes(studies(tmp_path, "abcd"), failing, 2))


def test_a_script_without_a_guard_gets_one_sentence(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from brainmvp_lightning.preprocessing.executors import spread_over_processes\n"
        "from tests.preprocessing.jobs import harmless, studies\n"
        f"list(spread_over_processes(studies(Path({str(tmp_path)!r}), 'ab'), harmless, 2))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "CacheError: worker processes cannot start; use --workers 1" in done.stderr
