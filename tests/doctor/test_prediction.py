from pathlib import Path

import pytest

from brainmvp_lightning.doctor.prediction import (
    Load,
    check_prediction,
    choose_samples,
    expected_load,
    predict,
    time_prepare,
)
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from tests.doctor import made
from tests.doctor.cohort import clean_table

RECIPE = Recipe()


def test_a_timed_study_scales_the_estimate() -> None:
    studies = [made.study(name, "t1 t2") for name in "abcd"]
    one = expected_load(studies[0], RECIPE)
    timed = [(studies[0], Load(3 * one.seconds, 2 * one.stored, 5 * one.memory))]
    found = predict(studies, timed, RECIPE, 2, None)
    assert found is not None
    assert found.cpu_seconds == pytest.approx(12 * one.seconds)
    assert found.wall_seconds == pytest.approx(6 * one.seconds)
    assert found.cache_bytes == pytest.approx(8 * one.stored)
    assert found.memory_per_worker == pytest.approx(5 * one.memory)
    assert (found.num_timed, found.free_bytes) == (1, None)


def test_only_the_box_around_the_head_is_stored() -> None:
    study = made.study("a")
    whole = made.look(box=((-100.0,) * 3, (100.0,) * 3))
    full = made.study("a", scans=(made.scan(seen=whole),))
    share = expected_load(study, RECIPE).stored / expected_load(full, RECIPE).stored
    assert share == pytest.approx(1 / 8)
    assert expected_load(made.study("a", resampled=("t1",)), RECIPE).seconds > (
        expected_load(study, RECIPE).seconds
    )


def test_no_usable_study_gives_no_estimate() -> None:
    assert predict([made.study("a", "")], [], RECIPE, 2, None) is None


def test_samples_reach_from_the_smallest_to_the_largest() -> None:
    names = ["t1", "t1 t2", "t1 t2 flair", "t1 t2 flair pd", "t1 t2 flair pd dwi", ""]
    studies = [made.study(str(number), text) for number, text in enumerate(names)]
    assert [one.id for one in choose_samples(studies[::-1], RECIPE, 3)] == ["0", "2", "4"]
    assert len(choose_samples(studies[:1], RECIPE, 3)) == 1
    assert choose_samples([], RECIPE, 3) == []


def test_too_little_disk_is_an_error_and_too_little_memory_a_warning(tmp_path: Path) -> None:
    found = predict([made.study("a")], [], RECIPE, 4, tmp_path / "not" / "there")
    assert found is not None
    assert found.free_bytes is not None
    assert check_prediction(found, cores=8, memory_bytes=10**15) == []
    small = type(found)(**{**vars(found), "free_bytes": 1})
    memory = int(2.5 * found.memory_per_worker)
    disk, workers, cores = check_prediction(small, cores=2, memory_bytes=memory)
    assert (disk.kind, disk.severity) == ("disk", "error")
    assert (workers.severity, workers.fix) == ("warning", "use --workers 2")
    assert (cores.severity, cores.sentence) == ("note", "4 workers share 2 cores")


def test_timing_really_prepares_and_leaves_nothing(tmp_path: Path) -> None:
    manifest = Manifest.read(clean_table(tmp_path), ModalityVocabulary()).validate()
    load = time_prepare(manifest.studies()[0], Recipe(spacing_mm=6))
    assert load is not None
    assert load.seconds > 0
    assert load.stored > 1000
    assert load.memory > 1e7
