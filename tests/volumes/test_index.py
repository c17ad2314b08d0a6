"""Ten thousand studies open at once; a damaged list of studies is never used."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.studies.labels import label_schemes
from brainmvp_lightning.volumes.cache import Cache, CachedStudy, CacheError
from brainmvp_lightning.volumes.index import (
    MAX_PARSED,
    StudyIndex,
    StudySelection,
    digest_of_studies,
    encode_studies,
)
from brainmvp_lightning.volumes.records import study_to_json
from brainmvp_lightning.volumes.writer import CacheWriter


def many(cache: Cache, count: int) -> list[CachedStudy]:
    first = cache.studies[0]
    return [
        replace(first, id=f"s{n}", split="val" if n % 5 == 0 else "train", target_class=None)
        for n in range(count)
    ]


def as_index(studies: list[CachedStudy]) -> StudyIndex:
    content = encode_studies(studies)
    return StudyIndex(content, digest_of_studies(content))


def test_studies_come_back_in_order_whatever_they_hold(cache: Cache) -> None:
    studies = [*cache.studies, replace(cache.studies[0], id="ä", patient="日本", label_values=(1,))]
    index = as_index(studies)
    assert list(index) == studies
    assert index[-1] == studies[-1]
    assert list(index[2:4]) == studies[2:4]
    with pytest.raises(IndexError):
        index[len(studies)]


def test_columns_say_what_the_records_say(cache: Cache) -> None:
    index = as_index(list(cache.studies))
    for name in ("id", "patient", "split", "dataset"):
        assert index.column(name).tolist() == [getattr(study, name) for study in cache.studies]
    assert index.column("target_class").tolist() == [""] * len(index)
    assert index.column("num_scans").tolist() == [len(study.scans) for study in cache.studies]
    assert index.column("has_label").tolist() == [False] * len(index)
    np.testing.assert_array_equal(index.column("affine"), [s.affine for s in cache.studies])
    np.testing.assert_array_equal(index.column("shape"), [s.shape for s in cache.studies])
    has_t2 = ["t2" in study.modalities for study in cache.studies]
    assert index.has_modality("t2").tolist() == has_t2
    assert not index.has_modality("nonsense").any()
    with pytest.raises(ValueError, match="read-only"):
        index.column("shape")[0] = 0


def test_an_index_of_nothing_is_whole() -> None:
    index = as_index([])
    assert len(index) == 0
    assert index.column("split").tolist() == []
    assert index.column("affine").shape == (0, 4, 4)


def test_few_records_are_kept_however_many_are_read(cache: Cache) -> None:
    index = as_index(many(cache, MAX_PARSED + 50))
    for study in index:
        assert index[int(study.id[1:])] is study
    assert len(index._parsed) == MAX_PARSED


def test_a_selection_parses_what_is_asked_for_only(cache: Cache) -> None:
    index = as_index(many(cache, 50))
    chosen = StudySelection(index, np.flatnonzero(index.column("split") == "val"))
    assert len(chosen) == 10
    assert chosen.column("id").tolist() == [f"s{n}" for n in range(0, 50, 5)]
    assert chosen[3].id == "s15"
    assert [study.id for study in chosen[8:]] == ["s40", "s45"]
    assert len(index._parsed) == 3


def test_a_pickled_index_is_its_path(cache: Cache, tmp_path: Path) -> None:
    content = encode_studies(many(cache, 500))
    (tmp_path / "studies").write_bytes(content)
    index = StudyIndex(tmp_path / "studies", digest_of_studies(content))
    sent = pickle.dumps(index)
    assert len(sent) < 1000 < len(content)
    assert pickle.loads(sent)[499].id == "s499"


def test_an_index_whose_file_is_gone_is_sent_whole(cache: Cache, tmp_path: Path) -> None:
    studies = many(cache, 20)
    content = encode_studies(studies)
    (tmp_path / "studies").write_bytes(content)
    index = StudyIndex(tmp_path / "studies", digest_of_studies(content))
    (tmp_path / "studies").unlink()
    again = pickle.loads(pickle.dumps(index))
    assert list(again) == studies
    assert list(pickle.loads(pickle.dumps(again))) == studies


@pytest.fixture
def copied(cache: Cache, tmp_path: Path) -> Path:
    shutil.copytree(cache.path, tmp_path / "cache")
    return tmp_path / "cache"


def test_a_damaged_list_of_studies_is_named_with_what_to_do(copied: Path) -> None:
    (file,) = copied.glob("studies-*.bin")
    content = file.read_bytes()
    for place in (0, len(content) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(CacheError, match=r"studies-.*not those.*'brainmvp prepare'"):
            Cache.open(copied)
    file.write_bytes(b"")
    with pytest.raises(CacheError, match=r"delete index\.json"):
        Cache.open(copied)
    file.unlink()
    with pytest.raises(CacheError, match="no such file"):
        Cache.open(copied)


def test_an_older_index_is_read(cache: Cache, copied: Path) -> None:
    index = json.loads((copied / "index.json").read_text())
    for key in ("studies_file", "digest", "num_studies", "label_schemes", "index_digest"):
        index.pop(key)
    index.update(format=1, studies=[study_to_json(study) for study in cache.studies])
    (copied / "index.json").write_text(json.dumps(index))
    old = Cache.open(copied)
    assert list(old.studies) == list(cache.studies)
    assert list(pickle.loads(pickle.dumps(old)).studies) == list(cache.studies)
    assert old.label_schemes == {}


def test_committing_replaces_the_list_and_names_the_label_schemes(
    cache: Cache, copied: Path
) -> None:
    writer = CacheWriter(copied, cache.recipe, cache.recipe_hash)
    fewer = list(cache.studies[:2])
    schemes = {"lesion": label_schemes()["lesion"]}
    assert writer.commit(fewer, cache.modalities, cache.spacing_mm, 0, label_schemes=schemes)
    opened = Cache.open(copied)
    assert list(opened.studies) == fewer
    assert opened.label_schemes == schemes
    assert len(list(copied.glob("studies-*.bin"))) == 1
    assert not writer.commit(fewer, cache.modalities, cache.spacing_mm, 0, label_schemes=schemes)


def test_an_index_of_ten_thousand_studies_is_small_and_its_list_is_shared(
    cache: Cache, copied: Path
) -> None:
    writer = CacheWriter(copied, cache.recipe, cache.recipe_hash)
    writer.commit(many(cache, 300), cache.modalities, cache.spacing_mm, 0)
    assert (copied / "index.json").stat().st_size < 10_000
    assert len(pickle.dumps(Cache.open(copied))) < 10_000
