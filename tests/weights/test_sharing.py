"""Configurations that are shared name things, not places."""

from pathlib import Path

import pytest

from brainmvp_lightning.weights.sharing import shareable

START = Path("/home/anna/study")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/anna/study/cache/mine", "cache/mine"),
        ("/home/anna/study", "."),
        ("/data/ward 7/cache", "cache"),
        ("/home/bob", "."),
        ("~", "."),
        ("~bob", "."),
        ("~/cache", "cache"),
        ("../elsewhere/cache", "cache"),
        ("/home/anna/study/../../bob/x", "x"),
        ("C:\\Users\\anna\\cache", "cache"),
        ("s3://bucket/lab/cache?key=secret", "cache"),
        ("https://anna:word@host/cache/", "cache"),
        ("https://host", ""),
        ("https://anna:w/ord@host", ""),
        ("http://[anna:word@host/cache", ""),
        ("host:/mnt/anna/cache", "host:cache"),
        ("anna@host:/mnt/my scans/cache", "cache"),
        ("rsync anna@host:~/cache there", "rsync cache there"),
        ("data:/home/anna/cache", "data:cache"),
        ("-I/home/anna/include", "-Iinclude"),
        ("see /data/ward/notes.txt, please", "see notes.txt, please"),
        ("--cache=/data/ward/cache", "--cache=cache"),
        ("runs/finetune", "runs/finetune"),
        ("mm/s, 1/2 and/or 3", "mm/s, 1/2 and/or 3"),
        ("brainmvp_lightning.tasks.pretrain.PretrainTask", None),
    ],
)
def test_paths_become_names(text: str, expected: str | None) -> None:
    assert shareable(text, start=START) == (text if expected is None else expected)


def test_values_keep_their_kind_and_objects_become_their_class() -> None:
    found = shareable(
        {"a": (1, 2.5, None, True), "b": {"c": Path("/x/y"), "d": object()}, "_instantiator": 1},
        start=START,
    )
    assert found == {"a": [1, 2.5, None, True], "b": {"c": "y", "d": "object"}}
