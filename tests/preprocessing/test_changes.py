"""What a cache makes of changes to its surroundings: lists, folders, drives, clocks."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from brainmvp_lightning.preprocessing import pipeline
from brainmvp_lightning.preprocessing.pipeline import Options, Recipe
from brainmvp_lightning.volumes.cache import Cache, CacheError
from brainmvp_lightning.volumes.frame import digest_of
from brainmvp_lightning.volumes.lock import COMMIT_LOCK
from brainmvp_lightning.volumes.shards import Shard
from brainmvp_lightning.volumes.writer import CacheWriter
from tests.preprocessing.cohort import SHAPE, contents, run, write_cohort, write_scan
from tests.volumes.images import head, save, scaled


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + seconds * 10**9)


def frames(root: Path) -> list[str]:
    folder = root / "cache/frames"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_a_corrected_patient_and_session_reach_the_index(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path, "P01_1", "t1"), write_scan(tmp_path, "P01_2", "t1")]
    run(tmp_path, scans)
    corrected = [replace(scan, patient="P01", session=scan.patient[-1]) for scan in scans]
    assert run(tmp_path, corrected).num_new == 0  # the ids are the same
    studies = Cache.open(tmp_path / "cache").studies
    assert [(study.patient, study.session) for study in studies] == [("P01", "1"), ("P01", "2")]
    assert len({study.split for study in studies}) == 1


def test_a_cache_whose_studies_are_all_left_out_cannot_be_opened(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path, 1)
    run(tmp_path, scans)
    assert run(tmp_path, []).num_studies == 0
    with pytest.raises(CacheError, match="not a finished cache"):
        Cache.open(tmp_path / "cache")
    assert run(tmp_path, scans).num_new == 0


def test_frames_of_scans_that_are_gone_go_and_those_of_studies_left_out_stay(
    tmp_path: Path,
) -> None:
    scans = write_cohort(tmp_path, 2)
    run(tmp_path, scans)
    run(tmp_path, scans[:1])
    assert frames(tmp_path) == ["d_p0/t1.b2nd", "d_p1/flair.b2nd", "d_p1/t1.b2nd"]
    scans[0].path.write_bytes(b"no image")
    assert run(tmp_path, [scans[0], *scans[2:]]).num_studies == 1
    assert frames(tmp_path) == ["d_p1/flair.b2nd", "d_p1/t1.b2nd"]


def test_what_a_dead_worker_left_of_a_frame_goes_with_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, good = write_cohort(tmp_path, 1), pipeline.prepare_study
    left = tmp_path / "cache/frames/d_p0/.t1.b2nd.77.part"

    def second_attempt(*arguments: object) -> object:
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
        return good(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "prepare_study", second_attempt)
    run(tmp_path, scans)
    assert not left.exists()


def test_files_at_fault_are_found_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_cohort(tmp_path, 2)
    scans[0].path.write_bytes(b"junk")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    relative = [replace(scan, path=scan.path.relative_to(tmp_path)) for scan in scans]
    run(Path(), relative)
    rows = (tmp_path / "cache/rejected.csv").read_text()
    assert "d_p0,../data/p0/t1.nii.gz,it is no" in rows
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(tmp_path, scans).num_new == 0
    assert (tmp_path / "cache/rejected.csv").read_text() == rows


def test_a_cache_folder_can_move(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path, 2)
    run(tmp_path, scans)
    (tmp_path / "new/place").mkdir(parents=True)
    (tmp_path / "cache").rename(tmp_path / "new/place/cache")
    assert run(tmp_path / "new/place", scans).num_new == 0
    cache = Cache.open(tmp_path / "new/place/cache")
    for study in cache.studies:
        for scan in study.scans:
            assert (cache.path / scan.source["path"]).exists()


def test_files_of_equal_size_and_time_that_changed_places_are_prepared_again(
    tmp_path: Path,
) -> None:
    scans = []
    for modality in ("t1", "flair"):
        scan = write_scan(tmp_path, "p", modality)
        plain = replace(scan, path=scan.path.with_suffix(""))
        save(plain.path, head(SHAPE, seed=len(modality)), scaled(1.0, (-6, -7, -5)))
        os.utime(plain.path, ns=(1, 1))
        scans.append(plain)
    assert scans[0].path.stat().st_size == scans[1].path.stat().st_size
    run(tmp_path, scans)
    swapped = [replace(a, path=b.path) for a, b in zip(scans, reversed(scans), strict=True)]
    assert run(tmp_path, swapped).num_new == 1


def test_a_drive_that_is_not_there_withdraws_nothing(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path, 4)
    run(tmp_path, scans)
    before = contents(tmp_path / "cache")
    (tmp_path / "data").rename(tmp_path / "away")
    with pytest.raises(CacheError, match=r"8 of 8 files .*/flair.nii.gz; is a drive not mounted\?"):
        run(tmp_path, scans)
    assert contents(tmp_path / "cache") == before
    (tmp_path / "away").rename(tmp_path / "data")
    assert run(tmp_path, scans).num_new == 0
    scans[0].path.unlink()  # one file is no drive
    assert len(run(tmp_path, scans).rejected) == 1


def test_a_clock_that_is_behind_does_not_bring_back_old_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_cohort(tmp_path, 4)
    run(tmp_path, scans, options=Options(shard=Shard(1, 1)))
    save(scans[1].path, head(SHAPE, level=300, seed=99), scaled(1.0, (-6, -7, -5)))
    set_clock(monkeypatch, -3600)
    shards = [Options(shard=Shard(number, 2)) for number in (1, 2)]
    assert sum(run(tmp_path, scans, options=options).num_new for options in shards) == 1
    cache = Cache.open(tmp_path / "cache")
    for study in cache.studies:
        for scan in study.scans:
            assert digest_of((cache.path / scan.file).read_bytes()) == scan.digest


def test_a_study_withdrawn_by_a_slow_clock_stays_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CacheWriter(tmp_path, {}, "h", Shard(1, 1)).finish("s", {"inputs": {}})
    set_clock(monkeypatch, -60)
    CacheWriter(tmp_path, {}, "h").withdraw(["s"])
    assert CacheWriter(tmp_path, {}, "h").finished == {}


def test_shards_of_two_recipes_that_started_at_once_make_no_cache(tmp_path: Path) -> None:
    first = CacheWriter(tmp_path, {"spacing_mm": 1.0}, "one", Shard(1, 2))
    header = tmp_path / "journal.1-of-2.jsonl"
    written = header.read_bytes()
    header.unlink()
    CacheWriter(tmp_path, {"spacing_mm": 2.0}, "two", Shard(2, 2))
    header.write_bytes(written)
    with pytest.raises(CacheError, match=r"another recipe \(spacing_mm: 2.0 there, 1.0 here\)"):
        first.refresh()


def test_a_job_looks_at_the_recipes_of_others_while_none_can_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    make: Callable[..., CacheWriter] = pipeline.CacheWriter

    def made_under_lock(root: Path, *more: object) -> CacheWriter:
        with (root / COMMIT_LOCK).open("a+b") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return make(root, *more)

    monkeypatch.setattr(pipeline, "CacheWriter", made_under_lock)
    options = Options(shard=Shard(1, 1))
    assert run(tmp_path, write_cohort(tmp_path, 1), Recipe(), options=options).num_new == 1
