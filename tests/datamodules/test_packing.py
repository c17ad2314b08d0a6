"""Batches travel as integers and arrive as the intensities that `read_unit_crop` gives."""

import copy
import gc
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import move_data_to_device

from brainmvp_lightning.batches import StudyBatch
from brainmvp_lightning.datamodules import sharing
from brainmvp_lightning.datamodules.datasets import CropOptions, StudyCrops
from brainmvp_lightning.datamodules.packing import PackedBatch, Source
from brainmvp_lightning.datamodules.sampling import SampleRequest
from brainmvp_lightning.datamodules.sharing import BatchPool, warn_of_little_room
from brainmvp_lightning.volumes.cache import Cache, CachedStudy, CacheError, Clip
from brainmvp_lightning.volumes.frame import OpenFrame, encode_frame
from tests.training import LossRecord, small_data, small_task, small_trainer

SIZE = (16, 16, 16)
CLIPS = (Clip(), Clip(5, 95, "volume"), Clip(0, 100))


def crops(cache: Cache, **options: Any) -> StudyCrops:
    centres = np.asarray(cache.studies.column("shape") // 2)
    return StudyCrops(
        cache, cache.studies, centres, CropOptions(**{"size": SIZE, "clip": Clip(), **options})
    )


def request(study: int, key: int = 7, weight: float = 1.0) -> SampleRequest:
    return SampleRequest(study=study, key=key, batch_key=1, weight=weight, num_studies=7)


def packed(dataset: StudyCrops, count: int = 7) -> PackedBatch:
    return dataset.__getitems__([request(n, key=n) for n in range(count)])


def expected(cache: Cache, dataset: StudyCrops, batch: StudyBatch, row: int, modality: int) -> Any:
    place = next(n for n, study in enumerate(cache.studies) if study.id == batch["study"][row])
    start = batch["origin"][row].numpy() + dataset.reference_voxels[place]
    study, options = cache.studies[place], dataset.options
    scan = study.scan(cache.modalities[modality])
    return cache.read_unit_crop(study, scan, start.tolist(), options.size, options.clip)


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("size", [(16, 16, 16), (40, 16, 48)])
@pytest.mark.parametrize("modalities", ["1", "all"])
def test_unpacked_crops_are_those_of_read_unit_crop(
    cache: Cache, clip: Clip, size: tuple[int, int, int], modalities: str
) -> None:
    dataset = crops(cache, clip=clip, size=size, modalities_per_step=modalities, crops_per_visit=2)
    batch = packed(dataset).unpack()
    for row, modality in enumerate(batch["modality"].tolist()):
        image = expected(cache, dataset, batch, row, modality)
        np.testing.assert_allclose(batch["image"][row, 0], image, atol=1e-6)
    rows = zip(batch["partner_rows"].tolist(), batch["partner_modality"].tolist(), strict=True)
    for place, (row, modality) in enumerate(rows):
        image = expected(cache, dataset, batch, row, modality)
        np.testing.assert_allclose(batch["partner"][place, 0], image, atol=1e-6)
    assert len(batch["partner"]) > 0
    assert batch["image"].max() == 1


def source(slope: float, lower: float, upper: float, dtype: str = "int16") -> Source:
    voxels = np.arange(-32768, -32768 + 8**3, dtype=np.int16).reshape(8, 8, 8)
    percentiles = {"foreground": {"1": lower, "99": upper}}
    scan = replace(SCAN, slope=slope, intercept=0.0, percentiles=percentiles, dtype=dtype)
    return Source(OpenFrame(encode_frame(voxels, {})), scan, Clip())


SCAN: Any = None


@pytest.fixture(autouse=True)
def scan(cache: Cache) -> None:
    global SCAN
    SCAN = cache.studies[0].scans[0]


@pytest.mark.parametrize(
    ("slope", "lower", "upper"),
    [
        (1.0, -32700.0, -32400.0),
        (-0.5, 16200.0, 16384.0),
        (1.0, -32768.0, -32768.0),
        (1.0, 5.0, 5.0),
    ],
)
def test_voxels_beyond_the_box_are_zero_whatever_the_scale(
    slope: float, lower: float, upper: float
) -> None:
    stored = source(slope, lower, upper)
    crop = np.empty((12, 8, 8), np.int16)
    stored.decode((-4, 0, 0), crop)
    scale, offset = stored.mapping
    unit = np.clip(crop.astype(np.float32) * np.float32(scale) + np.float32(offset), 0, 1)
    assert (unit[:4] == 0).all()
    real = slope * np.arange(-32768, -32768 + 8**3).reshape(8, 8, 8)
    wanted = np.clip((real - lower) / (upper - lower), 0, 1) if upper > lower else real >= upper
    np.testing.assert_allclose(unit[4:], wanted, atol=1e-4)


def test_integers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CacheError, match="do not fit 16 bits"):
        source(1.0, 0.0, 100.0, dtype="int32")
    with pytest.raises(CacheError, match="do not fit 16 bits"):
        source(1.0, -40000.0, 100.0)


def test_crops_of_a_visit_share_its_weight_and_its_scans(cache: Cache) -> None:
    dataset = crops(cache, crops_per_visit=3)
    batch = dataset.__getitems__([request(0, weight=2.0), request(1, key=8)]).unpack()
    assert batch["weight"].tolist() == pytest.approx([1 / 3] * 3 + [1 / 6] * 3)
    assert len(set(batch["key"].tolist())) == 6
    assert batch["key"][0] == 7
    assert len({tuple(origin) for origin in batch["origin"][:3].tolist()}) == 3
    for name in ("modality", "partner_modality"):
        assert len(set(batch[name][:3].tolist())) == 1  # type: ignore[literal-required]
    assert batch["partner_rows"].tolist() == list(range(6))


def test_all_modalities_of_several_crops_are_sent_once(cache: Cache) -> None:
    place = next(n for n, study in enumerate(cache.studies) if study.patient == "d")
    dataset = crops(cache, crops_per_visit=2, modalities_per_step="all")
    batch = dataset.__getitems__([request(place)])
    assert len(batch.voxels) == 10  # five modalities at two places; partners are among them
    unpacked = batch.unpack()
    assert unpacked["partner"].shape[0] == 10
    assert len(set(unpacked["key"].tolist())) == 10
    assert unpacked["weight"].sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("modalities", "most"), [("1", 2 * 3), ("all", 2 * 3 * 8)])
def test_the_capacity_of_a_batch_depends_on_the_number_of_visits_only(
    cache: Cache, modalities: str, most: int
) -> None:
    dataset = crops(cache, crops_per_visit=3, modalities_per_step=modalities)
    assert len(cache.modalities) == 8
    for first in range(len(cache.studies) - 1):
        batch = dataset.__getitems__([request(first), request(first + 1)]).unpack()
        assert batch["capacity"] == most
        assert len(batch["image"]) <= most


@pytest.fixture
def damaged(cache: Cache, tmp_path: Path) -> Cache:
    shutil.copytree(cache.path, tmp_path / "cache")
    return Cache.open(tmp_path / "cache")


def test_a_scan_that_cannot_be_read_leaves_no_trace_in_a_batch(damaged: Cache) -> None:
    study: CachedStudy = next(study for study in damaged.studies if study.patient == "d")
    (damaged.path / study.scan("dwi").file).unlink()
    dataset = crops(damaged, modalities_per_step="all", crops_per_visit=2)
    batch = packed(dataset).unpack()
    assert len(batch["faults"]) == 1
    assert "dwi.b2nd" in batch["faults"][0]
    assert batch["study"].count(study.id) == 8
    assert batch["weight"].sum() == pytest.approx(1.0)
    for row, modality in enumerate(batch["modality"].tolist()):
        image = expected(damaged, dataset, batch, row, modality)
        np.testing.assert_allclose(batch["image"][row, 0], image, atol=1e-6)


def test_a_batch_survives_pickling_and_moving(cache: Cache) -> None:
    dataset = crops(cache)
    batch = packed(dataset)
    copy = pickle.loads(pickle.dumps(batch))
    moved = move_data_to_device(copy, torch.device("cpu"))
    for name, value in packed(dataset).unpack().items():
        other = moved.unpack()[name]
        assert torch.equal(other, value) if isinstance(value, torch.Tensor) else other == value


def test_a_slot_is_lent_to_one_batch_at_a_time_and_comes_back() -> None:
    pool = BatchPool(num_workers=2, ahead=0, slot_size=8)
    slots = [pool.take(1, 8) for _ in range(3)]
    assert [slot.number for slot in slots if slot] == [2, 3]
    assert slots[2] is None  # all taken
    assert pool.take(0, 9) is None  # too large
    arrived = pickle.loads(pickle.dumps(slots[0]))
    arrived.view((8,)).fill_(5)
    assert slots[0] is not None
    assert slots[0].view((8,)).tolist() == [5] * 8
    arrived.end()
    arrived.end()  # once is enough
    again = pool.take(1, 8)
    assert again is not None
    assert again.number == 2
    lost = pickle.loads(pickle.dumps(again))
    del lost  # a batch that nobody used
    gc.collect()
    assert pool.take(1, 8) is not None


def test_batches_of_workers_are_those_of_the_training_process(cache_folder: Path) -> None:
    options: dict[str, Any] = {"visits_per_epoch": 8, "crops_per_visit": 2, "crop_centre": 0.5}
    alone = small_data(cache_folder, **options)
    helped = small_data(cache_folder, num_workers=2, **options)
    held = list(helped.train_dataloader())  # more batches than there are slots
    for ours, theirs in zip(alone.train_dataloader(), held, strict=True):
        first, second = ours.unpack(), theirs.unpack()
        for name in ("image", "partner", "key", "weight"):
            assert torch.equal(first[name], second[name])
        assert first["study"] == second["study"]


def test_slots_serve_epoch_after_epoch(cache_folder: Path) -> None:
    loader = small_data(cache_folder, num_workers=1, visits_per_epoch=4).train_dataloader()
    for _ in range(3):
        batches = [packed.lease for packed in loader if packed.unpack()]
        assert batches == [None] * len(loader)
        next(iter(loader))  # an epoch that is given up
    pool = loader.study_crops.pool
    gc.collect()
    taken = [pool.take(0, 1) for _ in range(pool.slots_each)]
    assert sum(slot is None for slot in taken) <= 4  # no more than are read ahead


def test_without_a_free_slot_a_worker_uses_memory_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Info:
        id = 0

    monkeypatch.setattr(sharing, "get_worker_info", Info)
    pool = BatchPool(num_workers=1, ahead=0, slot_size=8)
    lent = [sharing.allocate((2, 4), pool) for _ in range(3)]
    assert [slot is None for _, slot in lent] == [False, False, True]
    assert lent[2][0].is_shared()
    assert sharing.allocate((2, 4), None)[1] is None


def test_training_gets_intensities(cache_folder: Path, tmp_path: Path) -> None:
    record = LossRecord()
    data = small_data(cache_folder, num_workers=1, crops_per_visit=2, crop_centre="foreground")
    small_trainer(tmp_path, record, epochs=1).fit(small_task(), data)
    assert len(record.losses) == 3
    assert all(np.isfinite(loss) for loss in record.losses.values())


def test_intensities_come_in_the_precision_of_the_run(cache_folder: Path, tmp_path: Path) -> None:
    data = small_data(cache_folder)
    (first, *_) = data.train_dataloader()
    data.trainer = pl.Trainer(precision="64-true", logger=False, accelerator="cpu")
    batch = data.on_after_batch_transfer(first, 0)
    assert batch["image"].dtype == torch.float64
    assert data.on_after_batch_transfer(batch, 0) is batch


def test_options_that_make_no_sense_are_refused(cache_folder: Path) -> None:
    with pytest.raises(ValueError, match="crops_per_visit must be at least 1"):
        small_data(cache_folder, crops_per_visit=0)
    with pytest.raises(ValueError, match="crop_centre"):
        small_data(cache_folder, crop_centre=2.0)


def test_little_shared_memory_is_said_before_workers_start(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.warns(UserWarning, match=r"need .* MB of shared memory.*--shm-size="):
        warn_of_little_room(free, folder=tmp_path)  # two bytes a voxel
    warn_of_little_room(1000, folder=tmp_path)
    warn_of_little_room(free, folder=tmp_path / "none")


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_a_copy_of_an_arrived_batch_has_voxels_of_its_own(cache_folder: Path, how: Any) -> None:
    data = small_data(cache_folder, num_workers=1, batch_size=1, visits_per_epoch=6)
    batches = iter(data.train_dataloader())
    batch = next(batches)
    assert batch.lease is not None
    wanted = batch.voxels.clone()
    copied = how(batch)
    assert torch.equal(copied.voxels, wanted)
    copied.unpack()
    del copied
    gc.collect()
    for other in batches:  # the worker overwrites every slot that is free
        other.give_back()
    assert torch.equal(batch.voxels, wanted)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_cannot_give_a_slot_back() -> None:
    pool = BatchPool(1, ahead=1, slot_size=8)
    slot = pool.take(0, 8)
    assert slot is not None
    lease = sharing.Lease(pool, slot.number)
    child = os.fork()
    if child == 0:
        lease.end()
        os._exit(0)
    os.waitpid(child, 0)
    assert not pool.is_free[slot.number].acquire(block=False)
    lease.end()
    assert pool.is_free[slot.number].acquire(block=False)
    pool.is_free[slot.number].release()


def test_voxels_that_were_given_back_are_gone(cache_folder: Path) -> None:
    data = small_data(cache_folder, num_workers=1)
    batch = next(iter(data.train_dataloader()))
    batch.unpack()
    assert batch.voxels.numel() == 0
