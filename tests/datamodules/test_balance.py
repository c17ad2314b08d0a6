"""Which modalities take part, and how often data sets and modalities are drawn."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.datamodules.balance import check_modalities, modality_weights
from brainmvp_lightning.volumes.cache import Cache
from tests.training import small_data


def targets(cache_folder: Path, num_epochs: int, **options: Any) -> tuple[Counter[str], set[str]]:
    """Count the target modalities of some epochs, and name all that were shown."""
    data = small_data(cache_folder, **options)
    loader = data.train_dataloader()
    names = data.cache.modalities
    counts: Counter[str] = Counter()
    shown: set[str] = set()
    for epoch in range(num_epochs):
        loader.study_sampler.set_epoch(epoch)
        for packed in loader:
            batch = packed.unpack()
            counted = zip(batch["modality"].tolist(), batch["weight"].tolist(), strict=True)
            counts.update(names[modality] for modality, share in counted if share > 0)
            shown |= {names[k] for k in batch["modality"].tolist()}
            shown |= {names[k] for k in batch["partner_modality"].tolist()}
    return counts, shown


def test_only_the_named_modalities_are_shown(cache_folder: Path) -> None:
    data = small_data(cache_folder, modalities=["t1", "t2"])
    assert {study.patient for study in data.studies("train")} == {"a", "b", "c", "d", "e"}
    assert targets(cache_folder, 6, modalities=["t1", "t2"])[1] == {"t1", "t2"}


def test_studies_without_enough_of_the_named_modalities_are_left_out(cache_folder: Path) -> None:
    data = small_data(cache_folder, modalities=["t1", "t2"], min_modalities=2)
    with pytest.warns(UserWarning, match="2 of 5 train studies have fewer than 2"):
        studies = data.studies("train")
    assert {study.patient for study in studies} == {"a", "b", "d"}


def test_misspelt_modality_names_the_nearest(cache_folder: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'flair'"):
        small_data(cache_folder, modalities=["flare"]).studies("train")
    with pytest.raises(ValueError, match=r"data\.modalities is empty"):
        check_modalities([], ("t1",))


def test_balance_one_weighs_by_rarity(cache: Cache, cache_folder: Path) -> None:
    data = small_data(cache_folder)
    weights = modality_weights(data.studies("train"), cache.modalities, 1.0)
    # Scans of the five training studies: see the grouping of the fixture.
    assert weights["t1"] == pytest.approx(1 / 4)
    assert weights["t2"] == pytest.approx(1 / 4)
    assert weights["flair"] == pytest.approx(1 / 3)
    assert weights["dwi"] == pytest.approx(1.0)


def test_rare_modalities_become_targets_more_often(cache_folder: Path) -> None:
    even, _ = targets(cache_folder, 60)
    balanced, _ = targets(cache_folder, 60, modality_balance=2.0)
    assert balanced["dwi"] + balanced["adc"] > 1.5 * (even["dwi"] + even["adc"])


def test_weight_zero_leaves_a_data_set_out_and_wrong_names_are_refused(cache_folder: Path) -> None:
    with pytest.raises(ValueError, match="leaves no data set"):
        small_data(cache_folder, dataset_weights={"toy": 0.0}).train_dataloader()
    with pytest.raises(ValueError, match="did you mean 'toy'"):
        small_data(cache_folder, dataset_weights={"toi": 2.0}).train_dataloader()


def test_balance_of_targets_needs_drawn_targets(cache_folder: Path) -> None:
    with pytest.raises(ValueError, match="modality_balance draws one target"):
        small_data(cache_folder, modality_balance=1.0, modalities_per_step="all")
