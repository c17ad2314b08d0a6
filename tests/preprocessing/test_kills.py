"""Kill -9 at any moment leaves a folder in which the next run goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainmvp_lightning.preprocessing.pipeline import Options
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.atomic import TEMPORARY
from brainmvp_lightning.volumes.cache import Cache
from brainmvp_lightning.volumes.frame import digest_of
from brainmvp_lightning.volumes.journal import read_journals
from brainmvp_lightning.volumes.shards import Shard
from tests.preprocessing.cohort import contents, run, write_cohort

PREPARE = """
import sys
from pathlib import Path
from brainmvp_lightning.preprocessing.pipeline import Options
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.volumes.shards import Shard
from tests.preprocessing.cohort import run

root, shard, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
scans = Manifest.read(root / "scans.csv", ModalityVocabulary()).scans
options = Options(shard=Shard.parse(shard) if shard else None)
run(root, list(scans), workers=workers, options=options)
"""
WAYS = ((("", 2),), (("1/2", 1), ("2/2", 2)), (("1/2", 1), ("2/2", 1)))  # shard, workers


def start(root: Path, shard: str, workers: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(root), shard, str(workers)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def kill(job: subprocess.Popen[bytes]) -> None:
    """End a job and its workers, and take over nothing but its words."""
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)
    _, words = job.communicate()
    assert job.returncode in (0, -signal.SIGKILL), words.decode()


def num_lines(cache: Path) -> int:
    return sum(len(lines) for lines in read_journals(cache).values())


def disturb(root: Path, ways: list[tuple[tuple[str, int], ...]], rng: random.Random) -> int:
    """Start jobs in these ways and kill them; return how many were killed before their end."""
    num_killed = 0
    for way in ways:
        goal = num_lines(root / "cache") + rng.randint(1, 8)
        jobs = [start(root, *which) for which in way]
        while num_lines(root / "cache") < goal and any(job.poll() is None for job in jobs):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        num_killed += any(job.poll() is None for job in jobs)
        for job in jobs:
            kill(job)
    return num_killed


def finish_and_compare(root: Path, scans: list[Scan]) -> None:
    for shard in (Shard(1, 2), Shard(2, 2)):
        run(root, scans, options=Options(shard=shard))
    cache = Cache.open(root / "cache")
    for study in cache.studies:
        for scan in study.scans:
            assert digest_of((cache.path / scan.file).read_bytes()) == scan.digest
    assert contents(root / "whole") == contents(root / "cache")
    assert not list(cache.path.rglob(f".*{TEMPORARY}"))
    assert run(root, scans, verify=True).num_new == 0


def whole_cache(root: Path, num_studies: int) -> list[Scan]:
    scans = write_cohort(root, num_studies)
    Manifest(tuple(scans)).with_splits().write(root / "scans.csv")
    run(root, scans)
    (root / "cache").rename(root / "whole")
    return scans


def test_three_kills_at_random_moments_leave_no_trace(tmp_path: Path) -> None:
    scans = whole_cache(tmp_path, 40)
    assert disturb(tmp_path, list(WAYS), random.Random(time.time_ns())) > 0
    finish_and_compare(tmp_path, scans)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_leave_no_trace(tmp_path: Path) -> None:
    scans = whole_cache(tmp_path, 120)
    rng = random.Random(time.time_ns())
    assert disturb(tmp_path, [rng.choice(WAYS) for _ in range(20)], rng) > 10
    finish_and_compare(tmp_path, scans)
