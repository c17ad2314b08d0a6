"""Crops of target and partner lie at one place; bad scans are set aside and counted."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from brainmvp_lightning.batches import StudyBatch
from brainmvp_lightning.datamodules.datasets import CropOptions, StudyCrops
from brainmvp_lightning.datamodules.sampling import SampleRequest
from brainmvp_lightning.volumes.cache import Cache, CachedStudy, Clip

SIZE = (16, 16, 16)


def study_named(cache: Cache, patient: str) -> CachedStudy:
    return next(study for study in cache.studies if study.patient == patient)


def crops(cache: Cache, *patients: str, **options: object) -> StudyCrops:
    studies = [study_named(cache, patient) for patient in patients]
    centres = np.array([np.asarray(study.shape) // 2 for study in studies])
    return StudyCrops(cache, studies, centres, CropOptions(SIZE, Clip(), **options))  # type: ignore[arg-type]


def request(study: int, key: int = 7, weight: float = 1.0) -> SampleRequest:
    return SampleRequest(study=study, key=key, batch_key=1, weight=weight, num_studies=2)


def read(dataset: StudyCrops, *requests: SampleRequest) -> StudyBatch:
    return dataset.__getitems__(list(requests)).unpack()


def test_target_and_partner_are_cut_at_the_place_that_origin_says(cache: Cache) -> None:
    dataset = crops(cache, "a")
    batch = read(dataset, request(0))
    study = study_named(cache, "a")
    start = batch["origin"][0].numpy() + np.asarray(study.shape) // 2
    for modality, image in (
        (batch["modality"][0], batch["image"][0, 0]),
        (batch["partner_modality"][0], batch["partner"][0, 0]),
    ):
        scan = study.scan(cache.modalities[int(modality)])
        expected = cache.read_unit_crop(study, scan, start.tolist(), SIZE, Clip())
        assert np.array_equal(image, expected)
    assert batch["modality"][0] != batch["partner_modality"][0]


def test_a_batch_holds_partners_only_for_studies_that_have_one(cache: Cache) -> None:
    dataset = crops(cache, "c", "a", "b")
    batch = read(dataset, *(request(n) for n in range(3)))
    assert batch["image"].shape == (3, 1, *SIZE)
    assert batch["partner"].shape == (2, 1, *SIZE)
    assert batch["partner_rows"].tolist() == [1, 2]
    assert batch["weight"].tolist() == pytest.approx([1 / 3] * 3)
    assert batch["image"].dtype == batch["partner"].dtype == torch.float32


def test_a_batch_without_any_partner_is_whole(cache: Cache) -> None:
    batch = read(crops(cache, "c"), request(0))
    assert batch["partner"].shape == (0, 1, *SIZE)
    assert batch["partner_rows"].shape == (0,)


def test_all_modalities_of_a_study_share_its_weight(cache: Cache) -> None:
    dataset = crops(cache, "d", "b", modalities_per_step="all")
    batch = read(dataset, request(0), request(1, key=8))
    assert batch["weight"].tolist() == pytest.approx([0.5 / 5] * 5 + [0.5 / 2] * 2)
    assert batch["study"] == [study_named(cache, "d").id] * 5 + [study_named(cache, "b").id] * 2
    assert len(set(batch["key"].tolist())) == 7
    assert len(set(batch["modality"][:5].tolist())) == 5


def test_padding_has_no_share(cache: Cache) -> None:
    dataset = crops(cache, "a", "b")
    batch = read(dataset, request(0, weight=2.0), request(1, weight=0.0))
    assert batch["weight"].tolist() == [1.0, 0.0]


@pytest.fixture
def damaged(cache: Cache, tmp_path: Path) -> Cache:
    shutil.copytree(cache.path, tmp_path / "cache")
    return Cache.open(tmp_path / "cache")


def damage(cache: Cache, patient: str, modality: str) -> None:
    path = cache.path / study_named(cache, patient).scan(modality).file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_damaged_scan_is_named_and_replaced(damaged: Cache) -> None:
    damage(damaged, "b", "t1")
    dataset = crops(damaged, "b")
    t2 = damaged.modalities.index("t2")
    for key in range(8):
        batch = read(dataset, request(0, key))
        assert batch["modality"].tolist() == [t2]
        assert len(batch["partner"]) == 0
        assert len(batch["faults"]) == 1
        assert "t1.b2nd" in batch["faults"][0]


def test_a_study_without_a_readable_scan_has_no_share(damaged: Cache) -> None:
    (damaged.path / study_named(damaged, "c").scan("t1").file).unlink()
    batch = read(crops(damaged, "c"), request(0))
    assert batch["weight"].tolist() == [0.0]
    assert not batch["image"].any()
    assert len(batch["faults"]) == 1


def test_shared_damage_in_a_whole_study_leaves_the_rest(damaged: Cache) -> None:
    damage(damaged, "d", "dwi")
    batch = read(crops(damaged, "d", modalities_per_step="all"), request(0))
    assert len(batch["image"]) == 4
    assert batch["weight"].sum() == pytest.approx(1.0)
