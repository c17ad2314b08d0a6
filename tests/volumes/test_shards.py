from pathlib import Path

import pytest

from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.journal import Journal, journal_file, latest_entries, read_journals
from brainmvp_lightning.volumes.lock import lock_commit, lock_folder
from brainmvp_lightning.volumes.shards import Shard
from brainmvp_lightning.volumes.writer import CacheWriter


def test_shards_share_the_studies_without_overlap() -> None:
    names = [f"study-{number}" for number in range(1000)]
    shares = [{name for name in names if Shard(index, 4).takes(name)} for index in (1, 2, 3, 4)]
    assert sum(map(len, shares)) == 1000
    assert set.union(*shares) == set(names)
    assert all(200 < len(share) < 300 for share in shares)


def test_a_shard_takes_a_study_for_ever() -> None:
    assert [Shard(index, 3).takes("site_p01_base") for index in (1, 2, 3)] == [False, True, False]


def test_one_shard_of_one_takes_everything() -> None:
    assert Shard.parse(" 1/1 ").takes("anything")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0/4", "counted from 1, such as 1/8"),
        ("5/4", "does not exist"),
        ("/", "must look like 2/8; in a job array of SLURM"),
        ("1", "must look like 2/8"),
        ("-1/4", "must look like 2/8"),
    ],
)
def test_a_wrong_shard_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Shard.parse(text)


def test_shards_run_at_once_but_each_only_once(tmp_path: Path) -> None:
    with lock_folder(tmp_path, Shard(1, 2)):
        with lock_folder(tmp_path, Shard(2, 2)):
            pass
        with (
            pytest.raises(CacheError, match="already; wait for it"),
            lock_folder(tmp_path, Shard(1, 2)),
        ):
            pass


def test_shards_of_another_count_wait(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path, Shard(1, 2)),
        pytest.raises(CacheError, match=r"a shard of 2, not of 3, is at work"),
        lock_folder(tmp_path, Shard(2, 3)),
    ):
        pass
    with lock_folder(tmp_path, Shard(2, 3)):  # the first has let go
        pass


def test_shards_and_a_whole_job_exclude_each_other(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path, Shard(1, 2)),
        pytest.raises(CacheError, match="another process is writing"),
        lock_folder(tmp_path),
    ):
        pass
    with (
        lock_folder(tmp_path),
        pytest.raises(CacheError, match="another process, which is no shard, is writing"),
        lock_folder(tmp_path, Shard(1, 2)),
    ):
        pass


def test_a_refused_shard_holds_nothing(tmp_path: Path) -> None:
    with lock_folder(tmp_path, Shard(1, 2)):
        with pytest.raises(CacheError), lock_folder(tmp_path, Shard(1, 2)):
            pass
        with lock_commit(tmp_path):
            pass
    with lock_folder(tmp_path):
        pass


def test_the_latest_line_counts_within_and_among_journals(tmp_path: Path) -> None:
    whole, part = (
        Journal(tmp_path / journal_file(None)),
        Journal(tmp_path / journal_file(Shard(1, 2))),
    )
    whole.append({"recipe": {}})
    whole.append({"study": "a", "inputs": 1, "at": 10})
    whole.append({"study": "b", "inputs": 1, "at": 30})
    part.append({"study": "a", "inputs": 2, "at": 20})
    part.append({"study": "b", "inputs": 2, "at": 20})
    journals = read_journals(tmp_path)
    assert list(journals) == ["journal.1-of-2.jsonl", "journal.jsonl"]
    assert latest_entries(journals.values()) == {
        "a": {"study": "a", "inputs": 2},
        "b": {"study": "b", "inputs": 1},
    }


def test_a_study_that_is_being_prepared_again_is_not_finished(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path, {}, "h")
    writer.finish("a", {"inputs": 1})
    writer.withdraw(["a", "new"])
    assert CacheWriter(tmp_path, {}, "h").finished == {}
    assert len(Journal(tmp_path / "journal.jsonl").read()) == 3  # nothing about the new one


def test_every_journal_must_fit_the_recipe(tmp_path: Path) -> None:
    CacheWriter(tmp_path, {"spacing_mm": 1.0}, "one", Shard(1, 2))
    with pytest.raises(CacheError, match=r"another recipe \(spacing_mm: 1.0 there, 2.0 here\)"):
        CacheWriter(tmp_path, {"spacing_mm": 2.0}, "two", Shard(2, 2))


def test_a_shard_leaves_the_unfinished_files_of_others_alone(tmp_path: Path) -> None:
    CacheWriter(tmp_path, {}, "h", Shard(1, 2))
    mine, theirs = (tmp_path / f"frames/{name}/.t1.b2nd.7.part" for name in ("mine", "theirs"))
    for path in (mine, theirs):
        path.parent.mkdir()
        path.write_bytes(b"half")
    CacheWriter(tmp_path, {}, "h", Shard(1, 2)).withdraw(["mine"])
    assert not mine.exists()
    assert theirs.exists()
