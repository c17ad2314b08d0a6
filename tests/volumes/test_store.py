"""A cache far away: any place, a bounded local copy, patience with the network."""

import os
import pickle
import shutil
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import fsspec
import numpy as np
import pytest

from brainmvp_lightning.volumes.cache import Cache, CacheError, DamagedFrameError
from brainmvp_lightning.volumes.frame import digest_of
from brainmvp_lightning.volumes.local_cache import LocalCache
from brainmvp_lightning.volumes.store import RemoteStore
from tests.volumes.serving import Server


@pytest.fixture
def remote(cache: Cache, tmp_path: Path) -> Iterator[Server]:
    shutil.copytree(cache.path, tmp_path / "served")
    server = Server(tmp_path / "served")
    yield server
    server.stop()


def assert_same(first: Cache, second: Cache) -> None:
    assert list(first.studies) == list(second.studies)
    for study in first.studies:
        for scan in study.scans:
            crops = [c.read_crop(study, scan, (0, 0, 0), (9, 9, 9)) for c in (first, second)]
            np.testing.assert_array_equal(*crops)


def test_a_cache_in_memory_reads_like_a_folder(cache: Cache) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(cache.path), "/bucket/cache", recursive=True)
    try:
        assert_same(Cache.open("memory://bucket/cache/"), cache)
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_cache_over_http_reads_like_a_folder(cache: Cache, remote: Server) -> None:
    assert_same(Cache.open(remote.url), cache)


def test_local_copies_are_read_instead_of_the_network(
    cache: Cache, remote: Server, tmp_path: Path
) -> None:
    for _ in range(2):
        far = Cache.open(remote.url, local_cache=tmp_path / "copies")
        assert_same(far, cache)
    frames = [path for path in remote.requests if "frames" in path]
    assert len(frames) == len(set(frames)) == sum(len(study.scans) for study in cache.studies)


def test_a_damaged_local_copy_is_fetched_again(remote: Server, tmp_path: Path) -> None:
    far = Cache.open(remote.url, local_cache=tmp_path / "copies")
    study = far.studies[0]
    scan = study.scans[0]
    expected = far.read_crop(study, scan, (0, 0, 0), (9, 9, 9))
    copy = tmp_path / "copies" / scan.digest[:2] / scan.digest
    damaged = bytearray(copy.read_bytes())
    damaged[50] ^= 1
    copy.write_bytes(damaged)
    np.testing.assert_array_equal(far.read_crop(study, scan, (0, 0, 0), (9, 9, 9)), expected)
    assert digest_of(copy.read_bytes()) == scan.digest


def store(remote: Server) -> RemoteStore:
    return RemoteStore(remote.url, waits_s=(0.01, 0.02))


def test_passing_faults_of_a_server_are_sat_out(remote: Server) -> None:
    remote.faults = [503, 500]
    assert b"recipe" in store(remote).read("index.json")
    assert len(remote.requests) == 3


def test_lasting_faults_are_one_sentence(remote: Server) -> None:
    remote.faults = [503] * 3
    with pytest.raises(DamagedFrameError, match=r"frames/x.b2nd: cannot be read \(.*503.*3 tries"):
        store(remote).read_checked("frames/x.b2nd", "0")
    assert len(remote.requests) == 3
    with pytest.raises(DamagedFrameError, match=r"x.b2nd: cannot be read"):
        store(remote).read_checked("frames/x.b2nd", "0")
    assert len(remote.requests) == 4  # what is not there is not asked for again


def test_bytes_that_were_damaged_on_the_way_are_fetched_once_more(
    cache: Cache, remote: Server
) -> None:
    scan = cache.studies[0].scans[0]
    remote.faults = [b"rubbish"]
    whole = store(remote).read_checked(scan.file, scan.digest)
    assert digest_of(whole) == scan.digest
    remote.faults = [b"rubbish", b"more"]
    with pytest.raises(DamagedFrameError, match="not those that were written; upload"):
        store(remote).read_checked(scan.file, scan.digest)


def test_an_address_without_a_cache_and_an_unknown_kind_say_so(remote: Server) -> None:
    with pytest.raises(CacheError, match="is not a finished cache"):
        Cache.open(f"{remote.url}/nowhere")
    with pytest.raises(CacheError, match="cannot be opened"):
        Cache.open("nonsense://bucket/cache")


def test_a_missing_package_comes_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", fail)
    with pytest.raises(CacheError, match="pip install s3fs"):
        Cache.open("s3://bucket/cache")


def test_no_thread_is_left_that_a_fork_would_break(remote: Server) -> None:
    before = set(threading.enumerate())
    far = Cache.open(remote.url)
    far.read_crop(far.studies[0], far.studies[0].scans[0], (0, 0, 0), (4, 4, 4))
    mine = {t.name for t in set(threading.enumerate()) - before if "process_request" not in t.name}
    assert not mine
    assert fsspec.asyn.loop[0] is None


def test_an_event_loop_that_runs_already_is_no_obstacle(cache: Cache, remote: Server) -> None:
    import asyncio

    async def in_a_notebook() -> Cache:
        return Cache.open(remote.url)

    assert list(asyncio.run(in_a_notebook()).studies) == list(cache.studies)


def test_a_pickled_cache_connects_anew(cache: Cache, remote: Server) -> None:
    far = Cache.open(remote.url)
    far.read_crop(far.studies[0], far.studies[0].scans[0], (0, 0, 0), (4, 4, 4))
    assert_same(pickle.loads(pickle.dumps(far)), cache)


def fill(folder: Path, first: int) -> None:
    copies = LocalCache(folder, max_bytes=10_000)
    for number in range(first, first + 60):
        content = number.to_bytes(2, "little") * 500
        copies.write(digest_of(content), content)
        found = copies.read(digest_of(content))
        assert found is None or found == content


def test_local_copies_stay_within_their_limit_with_many_processes(tmp_path: Path) -> None:
    context = get_context("fork")
    writers = [context.Process(target=fill, args=(tmp_path, 30 * n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    files = [path for path in tmp_path.glob("*/*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= 10_000 + 2 * 1_000
    assert all(digest_of(path.read_bytes()) == path.name for path in files)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    copies = LocalCache(tmp_path, max_bytes=3_000)
    contents = [bytes([n]) * 900 for n in range(4)]
    digests = [digest_of(content) for content in contents]
    now = time.time()
    for age, number in enumerate((0, 1, 2)):
        copies.write(digests[number], contents[number])
        os.utime(copies.path_of(digests[number]), (now - 1000 + age, now - 1000 + age))
    assert copies.read(digests[0]) == contents[0]  # notes the use
    copies.write(digests[3], contents[3])
    kept = [copies.read(digest) is not None for digest in digests]
    assert kept == [True, False, True, True]


def test_without_room_for_copies_reading_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    copies = LocalCache(tmp_path / "file", max_bytes=1_000)
    with pytest.warns(UserWarning, match="no local copy"):
        copies.write(digest_of(b"x"), b"x")
    assert copies.read(digest_of(b"x")) is None


def test_files_of_killed_writers_are_swept(tmp_path: Path) -> None:
    old, new, foreign = (
        tmp_path / "ab" / name
        for name in (f".ab{'0' * 14}.1.part", f".ab{'1' * 14}.22.part", ".film.mp4.part")
    )
    old.parent.mkdir()
    for path in (old, new, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (0, 0))
    LocalCache(tmp_path, max_bytes=1_000).write(digest_of(b"x"), b"x")
    assert [path.exists() for path in (old, new, foreign)] == [False, True, True]


FOREIGN = (
    "results/model.ckpt",
    "ab/notes.txt",
    f"ab/cd{'0' * 14}",  # of the form of a copy, but in another folder
    f"ab/ab{'0' * 14}.bak",
    f"ab/AB{'0' * 14}",
    f"ab/cd/ab{'0' * 14}",
    "results/run/version_0/model.ckpt",
    f"ab/ab{'1' * 14}/model.ckpt",  # a folder of that form
    f"ab{'2' * 14}",
)


def test_foreign_files_neither_count_nor_are_removed(tmp_path: Path) -> None:
    for name in FOREIGN:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5_000)
        os.utime(path, (1, 1))
    copies = LocalCache(tmp_path, max_bytes=6_000)
    digests = []
    for number in range(10):
        content = bytes([number]) * 1_000
        digests.append(digest_of(content))
        copies.write(digests[-1], content)
    assert [name for name in FOREIGN if not (tmp_path / name).exists()] == []
    assert 5 <= sum(copies.read(digest) is not None for digest in digests) <= 6


def test_many_processes_in_step_stay_near_the_limit(tmp_path: Path) -> None:
    processes = [LocalCache(tmp_path, max_bytes=40_000) for _ in range(64)]
    peak = 0
    for turn in range(8):
        for number, process in enumerate(processes):
            content = (64 * turn + number).to_bytes(200, "little")
            process.write(digest_of(content), content)
        peak = max(peak, sum(path.stat().st_size for path in tmp_path.glob("*/*")))
    assert 30_000 < peak <= 44_000


def test_the_list_of_studies_outlives_the_copies(remote: Server, tmp_path: Path) -> None:
    far = Cache.open(remote.url, local_cache=tmp_path / "copies", local_cache_gb=1e-6)
    for study in far.studies:
        for scan in study.scans:
            far.open_frame(study, scan)
    sent = pickle.dumps(far.studies)
    assert len(sent) < 1_000  # a path, whose file all processes share
    assert list(pickle.loads(sent)) == list(far.studies)
    assert_same(pickle.loads(pickle.dumps(far)), far)
