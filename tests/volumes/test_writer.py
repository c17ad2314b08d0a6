import errno
from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.volumes import atomic, writer
from brainmvp_lightning.volumes.atomic import remove_leftovers, write_bytes
from brainmvp_lightning.volumes.errors import CacheError, CacheWriteError
from brainmvp_lightning.volumes.journal import Journal
from brainmvp_lightning.volumes.lock import lock_folder
from brainmvp_lightning.volumes.writer import CacheWriter, differing_settings, write_frame

VOXELS = np.arange(6**3, dtype=np.int16).reshape(6, 6, 6)


def test_frames_of_equal_voxels_are_equal_bytes(tmp_path: Path) -> None:
    first = write_frame(tmp_path / "a", "s", "t1", VOXELS, {"slope": 1.0})
    assert write_frame(tmp_path / "b", "s", "t1", VOXELS, {"slope": 1.0}) == first
    assert first[0] == "frames/s/t1.b2nd"
    assert (tmp_path / "a" / first[0]).stat().st_size == first[2]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "a", b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    CacheWriter(root, {}, "h")
    leftover = root / "frames" / ".t1.b2nd.123.part"
    leftover.write_bytes(b"half")
    CacheWriter(root, {}, "h")
    assert not leftover.exists()
    assert remove_leftovers(root) == 0


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run the same command again"),
        (errno.EROFS, "the folder is read-only; choose another cache folder"),
        (errno.EACCES, "the folder is read-only"),
        (errno.EIO, "see to the disk"),
    ],
)
def test_a_write_error_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(path: Path, content: bytes) -> None:
        raise OSError(number, "Input/output error")

    monkeypatch.setattr(writer, "write_bytes", fail)
    with pytest.raises(CacheWriteError, match=f"^cannot write .*t1.b2nd: .*{words}"):
        write_frame(tmp_path, "s", "t1", VOXELS, {})


def test_the_journal_ignores_a_torn_last_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert journal.read() == []
    journal.append({"a": 1})
    journal.append({"b": 2})
    journal.path.write_bytes(journal.path.read_bytes()[:-3])
    assert journal.read() == [{"a": 1}]
    journal.append({"c": 3})
    assert journal.read() == [{"a": 1}, {"c": 3}]


def test_another_recipe_names_what_differs(tmp_path: Path) -> None:
    CacheWriter(tmp_path, {"spacing_mm": 1.0, "margin_mm": 0}, "one")
    with pytest.raises(CacheError, match=r"another recipe \(spacing_mm: 1.0 there, 2.0 here\)"):
        CacheWriter(tmp_path, {"spacing_mm": 2.0, "margin_mm": 0}, "two")


def test_differences_go_into_nested_settings() -> None:
    changes = differing_settings({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": None})
    assert changes == ["a.c: 2 there, 3 here"]


def test_finished_studies_are_remembered_and_the_last_entry_counts(tmp_path: Path) -> None:
    first = CacheWriter(tmp_path, {}, "h")
    first.finish("s1", {"inputs": 1})
    first.finish("s2", {"inputs": 2})
    first.finish("s1", {"inputs": 3})
    second = CacheWriter(tmp_path, {}, "h")
    assert second.finished == {
        "s1": {"study": "s1", "inputs": 3},
        "s2": {"study": "s2", "inputs": 2},
    }


def test_reopening_withdraws_the_index(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path, {}, "h")
    assert writer.commit([], ("t1",), 1.0, 0)
    assert writer.is_committed()
    assert not writer.commit([], ("t1",), 1.0, 0)  # nothing changed, nothing written
    writer.reopen()
    assert not writer.is_committed()


def test_only_one_process_writes(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path),
        pytest.raises(CacheError, match="another process is writing"),
        lock_folder(tmp_path),
    ):
        pass
    with lock_folder(tmp_path):
        pass


def test_two_machines_never_share_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()

    def look(_: int) -> None:
        names.update(path.name for path in tmp_path.glob(".*.part"))

    monkeypatch.setattr(atomic.os, "fsync", look)
    for _ in range(2):
        write_bytes(tmp_path / "a", b"x")
    assert len(names) == 2
