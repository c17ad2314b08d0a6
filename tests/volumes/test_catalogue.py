"""Damage to ``index.json`` is named with what to do; it never changes what a cache says."""

import json
from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.studies.labels import label_schemes
from brainmvp_lightning.volumes.cache import Cache, CacheError
from brainmvp_lightning.volumes.records import study_to_json
from brainmvp_lightning.volumes.writer import CacheWriter

DAMAGED = r"^.*/index\.json cannot be read \(.*\); delete this file and run 'brainmvp prepare'"


@pytest.fixture
def index(cache: Cache, tmp_path: Path) -> Path:
    schemes = {"lesion": label_schemes()["lesion"]}
    writer = CacheWriter(tmp_path / "cache", {"ratio": 0.1, "ä": None}, "h")
    assert writer.commit(cache.studies, cache.modalities, 0.1, 3, schemes)
    return tmp_path / "cache" / "index.json"


def facts(cache: Cache) -> tuple[Any, ...]:
    names = "recipe", "recipe_hash", "modalities", "spacing_mm", "rejected", "label_schemes"
    return (*(getattr(cache, name) for name in names), list(cache.studies.column("id")))


def test_a_flipped_bit_is_named_or_changes_nothing(index: Path) -> None:
    content = index.read_bytes()
    written = facts(Cache.open(index.parent))
    named = 0
    for place in range(0, 8 * len(content), 13):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        index.write_bytes(damaged)
        try:
            assert facts(Cache.open(index.parent)) == written
        except CacheError:
            named += 1
    assert named > len(content) / 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"spacing_mm": 0.1, "rej', '"spacing_mm": 2.1, "rej'),
        ('"rejected": 3', '"rejected": 2'),
        ('"t1"', '"t3"'),
        ('"lesion": 1', '"lesion": 3'),
    ],
)
def test_a_value_that_was_not_written_is_never_used(index: Path, before: str, after: str) -> None:
    text = index.read_text()
    assert before in text
    index.write_text(text.replace(before, after))
    with pytest.raises(CacheError, match=DAMAGED) as caught:
        Cache.open(index.parent)
    assert "not those that were written" in str(caught.value)


def rewrite(index: Path, **changes: Any) -> None:
    """Change values; None takes one away."""
    values = {**json.loads(index.read_text()), **changes}
    kept = {name: value for name, value in values.items() if value is not None}
    index.write_text(json.dumps(kept))


def test_an_index_without_checksum_is_of_an_earlier_version(index: Path) -> None:
    written = facts(Cache.open(index.parent))
    rewrite(index, index_digest=None)
    assert facts(Cache.open(index.parent)) == written


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": None}, "it has no 'recipe'"),
        ({"recipe_hash": None}, "it has no 'recipe_hash'"),
        ({"modalities": None}, "it has no 'modalities'"),
        ({"spacing_mm": None}, "it has no 'spacing_mm'"),
        ({"rejected": None}, "it has no 'rejected'"),
        ({"studies_file": None}, "it has no 'studies_file'"),
        ({"digest": None}, "it has no 'digest'"),
        ({"recipe": [1]}, "its 'recipe' is no dict"),
        ({"modalities": "t1"}, "its 'modalities' is no list"),
        ({"modalities": [1]}, "its 'modalities' are no names"),
        ({"spacing_mm": "1.0"}, "its 'spacing_mm' is no float"),
        ({"rejected": True}, "its 'rejected' is no int"),
        ({"label_schemes": [1]}, "its 'label_schemes' are no label schemes"),
        ({"label_schemes": {"a": 1}}, "its 'label_schemes' are no label schemes"),
        ({"format": 1}, "it has no 'studies'"),
        ({"format": 1, "studies": [{}]}, "its studies are not those that were written"),
        ({"format": 1, "studies": [3]}, "its studies are not those that were written"),
    ],
)
def test_what_is_missing_or_of_another_kind_is_named(
    index: Path, change: dict[str, Any], words: str
) -> None:
    rewrite(index, index_digest=None, **change)
    with pytest.raises(CacheError, match=DAMAGED) as caught:
        Cache.open(index.parent)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"', "", "\xff"])
def test_an_index_that_is_no_index_is_named(index: Path, text: str) -> None:
    index.write_text(text, encoding="latin-1")
    with pytest.raises(CacheError, match=DAMAGED):
        Cache.open(index.parent)


@pytest.mark.parametrize("format_", [[], {}, 99, None, "2"])
def test_another_format_is_named(index: Path, format_: Any) -> None:
    rewrite(index, format=format_)
    with pytest.raises(CacheError, match="this version reads 1 and 2"):
        Cache.open(index.parent)


def test_preparing_again_mends_the_index(index: Path, cache: Cache) -> None:
    content = index.read_bytes()
    index.unlink()
    schemes = {"lesion": label_schemes()["lesion"]}
    writer = CacheWriter(index.parent, {"ratio": 0.1, "ä": None}, "h")
    assert writer.commit(cache.studies, cache.modalities, 0.1, 3, schemes)
    assert index.read_bytes() == content
    assert not writer.commit(cache.studies, cache.modalities, 0.1, 3, schemes)


def test_the_older_format_is_checked_where_it_can_be(index: Path, cache: Cache) -> None:
    studies = [study_to_json(study) for study in cache.studies]
    old = {"format": 1, "studies": studies, "label_schemes": None, "index_digest": None}
    rewrite(index, **old)
    assert list(Cache.open(index.parent).studies) == list(cache.studies)
    del studies[0]["affine"]
    rewrite(index, **old)
    with pytest.raises(CacheError, match=DAMAGED):
        Cache.open(index.parent)
