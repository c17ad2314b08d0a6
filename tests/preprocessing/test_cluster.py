"""Work on a Dask cluster; without dask.distributed only the hint is tested."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.preprocessing import cluster as module
from brainmvp_lightning.preprocessing.cluster import absolute, spread_over_cluster
from brainmvp_lightning.preprocessing.pipeline import Options
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.volumes.errors import CacheError
from tests.preprocessing.cohort import contents, run, write_cohort
from tests.preprocessing.jobs import cancelled, deadly_for_x, failing, harmless, slow, studies

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own


@contextmanager
def cluster(**options: Any) -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, **options}
    with distributed.LocalCluster(**settings) as local:
        yield local.scheduler_address


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with cluster(processes=False, protocol="tcp", host="127.0.0.1") as found:
        yield found


def test_a_cluster_gives_the_same_cache(tmp_path: Path, address: str) -> None:
    scans = write_cohort(tmp_path)
    run(tmp_path, scans)
    (tmp_path / "cache").rename(tmp_path / "first")
    run(tmp_path, scans, options=Options(scheduler=address))
    assert contents(tmp_path / "first") == contents(tmp_path / "cache")


def test_every_study_is_done_once_with_few_tasks_at_a_time(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AHEAD", 1)
    results = list(spread_over_cluster(studies(tmp_path, "abcdef"), harmless, address))
    assert sorted(study.id for study, _ in results) == list("abcdef")


def test_a_fault_of_the_job_ends_the_work(tmp_path: Path, address: str) -> None:
    with pytest.raises(OSError, match="no disk for"):
        list(spread_over_cluster(studies(tmp_path, "abc"), failing, address))


def test_a_lost_connection_is_one_sentence(tmp_path: Path, address: str) -> None:
    with pytest.raises(CacheError, match=r"connection to the scheduler was lost; run the same"):
        list(spread_over_cluster(studies(tmp_path, "a"), cancelled, address))


def test_a_file_that_vanishes_on_the_way_is_the_business_of_the_job(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies(tmp_path, "a")[0]
    answers = [[str(tmp_path / "gone.nii")], []]
    monkeypatch.setattr(module, "_present", lambda *_: answers.pop(0))
    assert list(spread_over_cluster([study], harmless, address)) == [(study, harmless(study))]
    assert answers == []


def test_a_file_that_only_the_worker_does_not_see_ends_the_job(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounted_here").mkdir()  # on the worker the same folder is there but empty
    (tmp_path / "mounted_here/label.nii").touch()
    study = replace(studies(tmp_path, "a")[0], label=tmp_path / "mounted_here/label.nii")
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: not is_hidden(path) and exists(path))
    with pytest.raises(CacheError, match=r"the worker on .* does not see .*label.nii; use folders"):
        list(spread_over_cluster([study], harmless, address))


def is_hidden(path: Path) -> bool:
    """Tell whether a thread of the worker looks for the label."""
    return path.name == "label.nii" and threading.current_thread() is not threading.main_thread()


def test_workers_must_see_every_file_that_the_recipe_uses(tmp_path: Path) -> None:
    names = ("label.nii", "mask.nii", "template.nii")
    label, mask, template = (tmp_path / name for name in names)
    for path in (label, mask, template):
        path.touch()
    study = studies(tmp_path, "a")[0]
    scans = (replace(study.scans[0], brain_mask=mask),)
    study = replace(study, scans=scans, label=label)
    recipe = Recipe(brain_mask="file", template=str(template), template_registration="rigid")
    image = str(study.scans[0].path)
    assert set(module._present(study, recipe)) == {image, *map(str, (label, mask, template))}
    assert set(module._present(study, Recipe())) == {image, str(label)}


def test_workers_that_all_went_away_end_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_S", 0.05)
    monkeypatch.setattr(module, "LONELY_S", 0.1)
    distributed = pytest.importorskip("distributed")
    settings: dict[str, Any] = {"processes": False, "dashboard_address": None, "n_workers": 1}
    with distributed.LocalCluster(protocol="tcp", host="127.0.0.1", **settings) as local:
        results = spread_over_cluster(studies(tmp_path, "abcdefgh"), slow, local.scheduler_address)
        next(results)
        local.scale(0)
        with pytest.raises(CacheError, match=r"all workers have been gone .* run the same command"):
            list(results)


def test_no_scheduler_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    with pytest.raises(CacheError, match=r"no scheduler answers at tcp://127.0.0.1:1 .*start one"):
        list(spread_over_cluster(studies(tmp_path, "a"), harmless, "tcp://127.0.0.1:1"))


def test_without_the_package_the_hint_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingToolError, match=r"pip install 'brainmvp-lightning\[cluster\]'"):
        list(spread_over_cluster(studies(tmp_path, "a"), harmless, "x"))


def test_a_worker_that_does_not_see_the_files_or_runs_another_version_ends_the_job(
    tmp_path: Path,
) -> None:
    study = studies(tmp_path, "a")[0]
    with pytest.raises(CacheError, match=r"does not see /nowhere/a.nii; use folders"):
        module._do(study, ["/nowhere/a.nii"], module.PIPELINE_VERSION, harmless)
    with pytest.raises(CacheError, match="runs another version"):
        module._do(study, [], module.PIPELINE_VERSION + 1, harmless)


def test_paths_for_workers_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies(tmp_path, "a")[0]
    monkeypatch.chdir(tmp_path)
    scan = replace(study.scans[0], path=Path("a.nii.gz"), brain_mask=Path("m.nii"))
    found = absolute(replace(study, scans=(scan,), label=Path("l.nii")))
    assert found.scans[0].path == tmp_path / "a.nii.gz"
    assert (found.scans[0].brain_mask, found.scans[0].label) == (tmp_path / "m.nii", None)
    assert found.label == tmp_path / "l.nii"


@pytest.mark.slow
def test_two_processes_give_the_same_cache_and_survive_a_deadly_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_cohort(tmp_path, 6)
    run(tmp_path, scans)
    (tmp_path / "cache").rename(tmp_path / "first")
    with cluster(processes=True, n_workers=2) as address:
        monkeypatch.chdir(tmp_path)
        run(tmp_path, scans, options=Options(scheduler=address))
        assert contents(tmp_path / "first") == contents(tmp_path / "cache")
        found = {
            study.id: prepared.problems[0].reason
            for study, prepared in spread_over_cluster(
                studies(tmp_path, "axb"), deadly_for_x, address
            )
        }
    assert "ended a worker process twice" in found.pop("x")
    assert found == {"a": "done", "b": "done"}
