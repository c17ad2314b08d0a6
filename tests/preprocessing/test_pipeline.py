import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from brainmvp_lightning.preprocessing import pipeline
from brainmvp_lightning.preprocessing.executors import Job, Killer, Results
from brainmvp_lightning.preprocessing.pipeline import Options, Recipe
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes import writer
from brainmvp_lightning.volumes.cache import Cache, CacheError, CacheWriteError
from brainmvp_lightning.volumes.shards import Shard
from tests.preprocessing.cohort import contents, frame_times, run, write_cohort, write_scan


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path)
    calls: list[tuple[int, int]] = []
    first = run(tmp_path, scans, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert (first.num_studies, first.num_new, first.num_partnered) == (3, 3, 3)
    before, times = contents(tmp_path / "cache"), frame_times(tmp_path)
    second = run(tmp_path, scans, progress=lambda done, total: calls.append((done, total)))
    assert calls[4:] == [(3, 3)]
    assert (second.num_studies, second.num_new) == (3, 0)
    assert contents(tmp_path / "cache") == before
    assert frame_times(tmp_path) == times


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path)
    run(tmp_path, scans)
    (tmp_path / "cache").rename(tmp_path / "first")
    run(tmp_path, scans, workers=2)
    (tmp_path / "cache").rename(tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_a_source_that_changed_is_prepared_again_and_nothing_else(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path)
    run(tmp_path, scans)
    before = frame_times(tmp_path)
    os.utime(scans[2].path, ns=(1, 1))
    assert run(tmp_path, scans).num_new == 1
    after = frame_times(tmp_path)
    assert {name for name in before if after[name] != before[name]} == {"d_p1/t1", "d_p1/flair"}


def test_a_repaired_file_joins_at_the_next_run(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path)
    good = scans[1].path.read_bytes()
    scans[1].path.write_bytes(good[:100])
    assert len(run(tmp_path, scans).rejected) == 1
    assert len(run(tmp_path, scans).rejected) == 1  # remembered without trying again
    scans[1].path.write_bytes(good)
    summary = run(tmp_path, scans)
    assert (summary.num_new, summary.rejected) == (1, ())
    assert Cache.open(tmp_path / "cache").studies[0].modalities == ("flair", "t1")


def test_studies_come_and_go_without_preparing_the_others(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path)
    run(tmp_path, scans[:4])
    assert run(tmp_path, scans).num_new == 1
    assert [study.id for study in Cache.open(tmp_path / "cache").studies] == [
        "d_p0",
        "d_p1",
        "d_p2",
    ]
    assert run(tmp_path, scans[2:]).num_new == 0
    assert [study.id for study in Cache.open(tmp_path / "cache").studies] == ["d_p1", "d_p2"]


def test_splits_and_classes_change_without_preparing(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path, 1)
    run(tmp_path, scans)
    changed = [replace(scan, split="test", target_class="LGG") for scan in scans]
    assert run(tmp_path, changed).num_new == 0
    study = Cache.open(tmp_path / "cache").studies[0]
    assert (study.split, study.target_class) == ("test", "LGG")


def test_missing_frames_are_made_again_and_damaged_ones_when_asked(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path)
    run(tmp_path, scans)
    before = contents(tmp_path / "cache")
    (tmp_path / "cache/frames/d_p0/t1.b2nd").unlink()
    assert run(tmp_path, scans).num_new == 1
    assert contents(tmp_path / "cache") == before
    frame = tmp_path / "cache/frames/d_p1/flair.b2nd"
    damaged = bytearray(frame.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    frame.write_bytes(damaged)
    assert run(tmp_path, scans).num_new == 0
    assert run(tmp_path, scans, verify=True).num_new == 1
    assert contents(tmp_path / "cache") == before


def test_another_recipe_is_refused_by_what_differs(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path, 1)
    run(tmp_path, scans)
    with pytest.raises(CacheError, match=r"another recipe \(spacing_mm: 1.0 there, 2.0 here\)"):
        run(tmp_path, scans, Recipe(spacing_mm=2.0))


def test_a_full_disk_stops_the_job_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_cohort(tmp_path, 4)
    run(tmp_path / "whole", scans)
    good, written = writer.write_bytes, []

    def fills_up(path: Path, content: bytes) -> None:
        if len(written) >= 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        good(path, content)

    monkeypatch.setattr(writer, "write_bytes", fills_up)
    with pytest.raises(CacheWriteError, match="the disk is full; free some space and run the same"):
        run(tmp_path, scans)
    with pytest.raises(CacheError, match="is not a finished cache"):
        Cache.open(tmp_path / "cache")
    monkeypatch.setattr(writer, "write_bytes", good)
    assert run(tmp_path, scans).num_new == 2  # two studies of two frames were complete
    frames = [files_of_frames(tmp_path / name) for name in ("cache", "whole/cache")]
    assert frames[0] == frames[1]


def files_of_frames(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*.b2nd")}


def test_an_index_is_never_valid_while_its_frames_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_cohort(tmp_path, 1)
    run(tmp_path, scans)
    os.utime(scans[0].path, ns=(1, 1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "prepare_study", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, scans)
    with pytest.raises(CacheError, match="not a finished cache"):
        Cache.open(tmp_path / "cache")


def test_an_unforeseen_fault_costs_one_study_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_cohort(tmp_path)
    good = pipeline.prepare_study

    def sometimes(study: object, recipe: Recipe, root: Path) -> object:
        if study.id == "d_p1":  # type: ignore[attr-defined]
            raise ZeroDivisionError("odd")
        return good(study, recipe, root)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "prepare_study", sometimes)
    summary = run(tmp_path, scans)
    assert summary.num_studies == 2
    assert "could not be prepared (ZeroDivisionError: odd)" in summary.rejected[0].reason


@pytest.mark.parametrize("shard", [None, Shard(1, 1)])
def test_a_study_that_kills_workers_is_listed_and_tried_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: Shard | None
) -> None:
    scans = write_cohort(tmp_path)
    options = Options(shard=shard)

    def kills(studies: list[Study], job: Job, workers: int) -> Results:
        for study in studies:
            yield study, Killer.of(study) if study.id == "d_p1" else job(study)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "spread_over_processes", kills)
        for _ in range(2):
            summary = run(tmp_path, scans, options=options)
            assert (summary.num_studies, len(summary.rejected)) == (2, 1)
    assert "ended a worker process twice" in (tmp_path / "cache/rejected.csv").read_text()
    summary = run(tmp_path, scans, options=options)
    assert (summary.num_studies, summary.num_new, summary.rejected) == (3, 1, ())
    assert run(tmp_path, scans, options=options).num_new == 0


def test_nothing_usable_makes_no_cache_but_a_list(tmp_path: Path) -> None:
    scan = write_scan(tmp_path, "p", "t1")
    scan.path.unlink()
    summary = run(tmp_path, [scan])
    assert (summary.num_studies, len(summary.rejected)) == (0, 1)
    assert "there is no such file" in (tmp_path / "cache/rejected.csv").read_text()
    with pytest.raises(CacheError):
        Cache.open(tmp_path / "cache")


def test_studies_of_one_modality_are_counted(tmp_path: Path) -> None:
    summary = run(tmp_path, [write_scan(tmp_path, "p", "t1"), write_scan(tmp_path, "q", "t2")])
    assert (summary.num_studies, summary.num_partnered) == (2, 0)


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path, 1)
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(CacheWriteError, match=r"^cannot write .*cache: File exists"):
        run(tmp_path, scans)
    (tmp_path / "cache").unlink()
    (tmp_path / "cache/.lock").mkdir(parents=True)
    with pytest.raises(CacheWriteError, match=r"^cannot write .*\.lock: Is a directory"):
        run(tmp_path, scans)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path, 1)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/thesis.tex").write_text("x")
    with pytest.raises(CacheError, match=r"no cache but holds other files \(thesis.tex\)"):
        run(tmp_path, scans)


PREPARE = """
import sys
from pathlib import Path
from tests.preprocessing.cohort import run
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary

root = Path(sys.argv[1])
scans = Manifest.read(root / "scans.csv", ModalityVocabulary()).scans
run(root, list(scans), workers=2)
"""


def test_kill_9_in_the_middle_then_a_rerun_gives_the_same_cache(tmp_path: Path) -> None:
    scans = write_cohort(tmp_path, 6)
    Manifest(tuple(scans)).with_splits().write(tmp_path / "scans.csv")
    run(tmp_path, scans)
    (tmp_path / "cache").rename(tmp_path / "whole")
    # A named pipe in place of one file: its study waits for ever, the others are finished.
    blocked = scans[6].path
    content, times = blocked.read_bytes(), blocked.stat()
    blocked.unlink()
    os.mkfifo(blocked)
    job = subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(tmp_path)], cwd=Path(__file__).parents[2]
    )
    journal = tmp_path / "cache/journal.jsonl"
    wait_for(lambda: journal.exists() and len(journal.read_bytes().splitlines()) == 6)
    job.send_signal(signal.SIGKILL)
    job.wait()
    with pytest.raises(CacheError, match="not a finished cache"):
        Cache.open(tmp_path / "cache")
    leftover = tmp_path / "cache/frames/d_p3/.t1.b2nd.1.part"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_bytes(b"half a frame")
    with journal.open("ab") as file:
        file.write(b'{"study": "d_p3", "inp')
    done = frame_times(tmp_path)
    blocked.unlink()
    blocked.write_bytes(content)
    os.utime(blocked, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(tmp_path, scans).num_new == 1
    assert {name: time for name, time in frame_times(tmp_path).items() if name in done} == done
    assert contents(tmp_path / "whole") == contents(tmp_path / "cache")


def wait_for(condition: object, seconds: float = 60) -> None:
    started = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - started < seconds
        time.sleep(0.01)


def test_the_journal_is_plain_text(tmp_path: Path) -> None:
    run(tmp_path, write_cohort(tmp_path, 1))
    lines = (tmp_path / "cache/journal.jsonl").read_text().splitlines()
    header, entry = map(json.loads, lines)
    assert header["recipe"] == Recipe().to_json()
    assert (entry["study"], set(entry["inputs"])) == ("d_p0", {"t1", "flair"})
