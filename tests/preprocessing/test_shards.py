import os
from pathlib import Path

import pytest

from brainmvp_lightning.preprocessing.pipeline import Options
from brainmvp_lightning.preprocessing.summary import Summary
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.cache import Cache, CacheError
from brainmvp_lightning.volumes.lock import lock_folder
from brainmvp_lightning.volumes.shards import Shard
from tests.preprocessing.cohort import contents, frame_times, run, write_cohort

NUM = 8


def part(root: Path, scans: list[Scan], text: str, **more: object) -> Summary:
    return run(root, scans, options=Options(shard=Shard.parse(text)), **more)


@pytest.fixture
def scans(tmp_path: Path) -> list[Scan]:
    return write_cohort(tmp_path, NUM)


def own(text: str) -> int:
    return sum(Shard.parse(text).takes(f"d_p{number}") for number in range(NUM))


def test_the_last_shard_commits_what_one_job_would_have_made(
    tmp_path: Path, scans: list[Scan]
) -> None:
    run(tmp_path, scans)
    (tmp_path / "cache").rename(tmp_path / "whole")
    first = part(tmp_path, scans, "1/3")
    assert (first.num_new, first.num_waiting) == (own("1/3"), NUM - own("1/3"))
    assert first.num_studies == own("1/3")
    part(tmp_path, scans, "3/3")
    with pytest.raises(CacheError, match="not a finished cache"):
        Cache.open(tmp_path / "cache")
    last = part(tmp_path, scans, "2/3")
    assert (last.num_new, last.num_waiting, last.num_studies) == (own("2/3"), 0, NUM)
    assert contents(tmp_path / "whole") == contents(tmp_path / "cache")
    assert part(tmp_path, scans, "1/3").num_new == 0
    assert run(tmp_path, scans).num_new == 0


def test_a_whole_job_goes_on_where_shards_stopped(tmp_path: Path, scans: list[Scan]) -> None:
    part(tmp_path, scans, "1/2")
    times = frame_times(tmp_path)
    assert run(tmp_path, scans).num_new == NUM - own("1/2")
    after = frame_times(tmp_path)
    assert {name: after[name] for name in times} == times
    assert part(tmp_path, scans, "2/2").num_new == 0


def test_another_number_of_shards_goes_on_as_well(tmp_path: Path, scans: list[Scan]) -> None:
    part(tmp_path, scans, "1/2")
    num_new = sum(part(tmp_path, scans, f"{index}/3").num_new for index in (1, 2, 3))
    assert num_new == NUM - own("1/2")
    assert len(Cache.open(tmp_path / "cache").studies) == NUM


def test_a_shard_without_studies_is_no_fault(tmp_path: Path, scans: list[Scan]) -> None:
    empty = next(index for index in range(1, 51) if own(f"{index}/50") == 0)
    assert part(tmp_path, scans, f"{empty}/50").num_waiting == NUM


def test_a_torn_line_of_a_shard_costs_its_study_only(tmp_path: Path, scans: list[Scan]) -> None:
    part(tmp_path, scans, "1/2")
    part(tmp_path, scans, "2/2")
    journal = tmp_path / "cache/journal.2-of-2.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    assert part(tmp_path, scans, "1/2").num_waiting == 1
    assert part(tmp_path, scans, "2/2").num_new == 1


def test_a_changed_file_is_noticed_by_every_shard(tmp_path: Path, scans: list[Scan]) -> None:
    run(tmp_path, scans)
    theirs = next(scan for scan in scans if not Shard(1, 2).takes(f"d_{scan.patient}"))
    os.utime(theirs.path, ns=(1, 1))
    summary = part(tmp_path, scans, "1/2")
    assert (summary.num_new, summary.num_waiting) == (0, 1)
    assert part(tmp_path, scans, "2/2").num_new == 1


def test_shards_refuse_a_folder_that_a_whole_job_holds(tmp_path: Path, scans: list[Scan]) -> None:
    part(tmp_path, scans, "1/2")
    with lock_folder(tmp_path / "cache"), pytest.raises(CacheError, match="which is no shard"):
        part(tmp_path, scans, "2/2")


def test_a_damaged_frame_is_never_committed_by_a_run_that_does_not_look(
    tmp_path: Path, scans: list[Scan], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, scans)
    frame = tmp_path / "cache/frames/d_p1/flair.b2nd"
    damaged = bytearray(frame.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    frame.write_bytes(damaged)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("brainmvp_lightning.preprocessing.pipeline.prepare_study", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, scans, verify=True)
    assert run(tmp_path, scans).num_new == 1  # the search for damage is not forgotten


def test_verify_counts_what_it_checked(tmp_path: Path, scans: list[Scan]) -> None:
    run(tmp_path, scans)
    (tmp_path / "cache/frames/d_p1/flair.b2nd").write_bytes(b"")
    frame = tmp_path / "cache/frames/d_p2/flair.b2nd"
    frame.write_bytes(frame.read_bytes()[:-1] + b"?")
    summary = run(tmp_path, scans, verify=True)
    assert (summary.num_new, summary.num_checked, summary.num_damaged) == (2, 2 * NUM - 2, 1)
