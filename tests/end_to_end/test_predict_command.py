"""Checkpoints by word, and another cohort predicted from the configuration of a finished run."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.cli import main
from brainmvp_lightning.volumes.cache import Cache
from tests.datamodules.labelled_cohort import damage
from tests.end_to_end.fine_tuning_runs import CONFIGS, SMALL
from tests.end_to_end.fine_tuning_trees import brats2023, save_scan
from tests.tasks.fine_tuning import QUIET, write_encoder

pytestmark = QUIET

NAME = "brats2023_ped"
NEW = ("BraTS-PED-90001-000", "BraTS-PED-90002-000")
"""Cases without annotation; the second lacks its T2."""
BACKBONE = '{"class_path": "unet3d", "init_args": {"widths": [8, 16], "depths": [1, 1]}}'


def prepare(root: Path, cache: Path, dataset: str = NAME) -> None:
    words = ["prepare", "--config", str(CONFIGS.parent / "prepare" / f"{NAME}.yaml")]
    words += ["--source.root", str(root), "--source.dataset", dataset]
    assert main([*words, "--cache", str(cache), "--workers", "1"]) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch on a cohort of files, with its best checkpoint only."""
    folder = tmp_path_factory.mktemp("run")
    brats2023("ped")(folder / "data")
    prepare(folder / "data", folder / "cache")
    options = {
        **SMALL,
        "model.backbone": BACKBONE,
        "model.weights": str(write_encoder(folder / "encoder.safetensors")),
        "model.loss.auxiliary": "[]",
        "model.window.overlap": "0.25",
        "data.cache": str(folder / "cache"),
        "data.datasets": f"[{NAME}]",
        "trainer.default_root_dir": str(folder / "run"),
        "trainer.logger": "false",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    config = str(CONFIGS / "segmentation" / f"{NAME}.yaml")
    assert main(["fit", "-c", config, *words]) == 0
    (folder / "run" / "checkpoints" / "last.ckpt").unlink()  # not to be taken for the best
    return folder / "run"


@pytest.fixture(scope="module")
def new_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of two cases without annotation, with the files beside it."""
    folder = tmp_path_factory.mktemp("new")
    for case in NEW:
        for suffix in ("t1n", "t1c", "t2w", "t2f"):
            if (case, suffix) != (NEW[1], "t2w"):
                save_scan(folder / "data" / case / f"{case}-{suffix}.nii.gz", suffix)
    prepare(folder / "data", folder / "cache", "another_site")
    return folder / "cache"


def predict_new(run: Path, cache: Path) -> dict[str, dict[str, Any]]:
    """Predict another cohort with the configuration of a run; return the records by study."""
    saved = run / "config.yaml"
    words = ["predict", "-c", str(saved), "--data", "WholeVolumeDataModule"]
    words += ["--data.cache", str(cache), "--data.split", "all", "--data.datasets", "null"]
    before = saved.read_text()
    shutil.rmtree(run / "predictions", ignore_errors=True)
    assert main([*words, "--ckpt_path", "best"]) == 0
    assert saved.read_text() == before
    paths = (run / "predictions").glob("*_seg.json")
    return {path.name.removesuffix("_seg.json"): json.loads(path.read_text()) for path in paths}


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "test" / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_best_is_a_word_for_the_best_checkpoint_of_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "-c", str(run / "config.yaml")]
    assert main([*words, "--ckpt_path", "best"]) == 0
    rows = rows_of(run)
    assert len(rows) == 2 * 3  # studies times regions
    assert main([*words, "--ckpt_path", str(run / "checkpoints" / "best.ckpt")]) == 0
    assert rows_of(run) == rows
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*words, "--trainer.default_root_dir", str(tmp_path), "--ckpt_path", "best"])
    assert stop.value.code == 2
    missing = tmp_path / "checkpoints" / "best.ckpt"
    assert f"there is no checkpoint {missing}" in capsys.readouterr().err


def test_another_cohort_is_predicted_from_the_configuration_of_a_run(
    run: Path, new_cohort: Path
) -> None:
    records = predict_new(run, new_cohort)
    studies = {study.id: study for study in Cache.open(new_cohort).studies}
    assert len(studies) == 2
    assert set(records) == set(studies)
    checkpoint = run / "checkpoints" / "best.ckpt"
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for name, record in records.items():
        assert record["model"] == {"name": str(checkpoint), "sha256": digest}
        assert record["windows"]["overlap"] == 0.25
        assert record["warnings"] == []
        lacks = (
            {"t2": "templates"} if NEW[1].replace("-", "_")[6:] in name.replace("-", "_") else {}
        )
        assert record["missing"] == lacks
        reference = record["reference"]
        source = nib.load(Path(reference["relative_to"]) / reference["path"])
        written = nib.load(run / "predictions" / f"{name}_seg.nii.gz")
        assert written.shape == source.shape
        np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)


def test_data_that_are_not_there_end_a_prediction_in_a_sentence(
    run: Path, new_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", "-c", str(run / "config.yaml"), "--data", "WholeVolumeDataModule"]
    words += ["--data.cache", str(new_cohort), "--data.split", "all", "--ckpt_path", "best"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(words)  # the configuration names the data set of the training
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("brainmvp predict: error: ")
    assert NAME in said


def test_both_ways_to_predict_write_the_same_labels_and_the_same_kind_of_record(
    run: Path, new_cohort: Path, tmp_path: Path
) -> None:
    records = predict_new(run, new_cohort)
    words = ["segment", str(run / "checkpoints" / "best.ckpt"), "--device", "cpu"]
    words += ["--overlap", "0.25", "-o", str(tmp_path), str(new_cohort.parent / "data" / NEW[0])]
    assert main(words) == 0
    (path,) = tmp_path.glob("*_seg.json")
    segmented = json.loads(path.read_text())
    (name,) = [study for study in records if "90001" in study]
    predicted = records[name]
    assert set(segmented) - set(predicted) == {"inputs", "others"}
    assert set(predicted) <= set(segmented)
    same = set(predicted) - {"study", "reference"}
    assert {key: predicted[key] for key in same} == {key: segmented[key] for key in same}
    assert set(predicted["reference"]) == set(segmented["reference"])
    (written,) = tmp_path.glob("*_seg.nii.gz")
    labels = [run / "predictions" / f"{name}_seg.nii.gz", written]
    np.testing.assert_array_equal(*(np.asarray(nib.load(path).dataobj) for path in labels))


def test_a_damaged_scan_is_named_in_the_record_of_its_study_alone(
    run: Path, new_cohort: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(new_cohort, cache)
    damaged, whole = sorted(study.id for study in Cache.open(cache).studies)
    damage(cache, damaged, "flair")
    records = predict_new(run, cache)
    assert records[damaged]["missing"] == {"flair": "templates"}
    (sentence,) = records[damaged]["warnings"]
    assert "flair" in sentence
    assert records[whole]["warnings"] == []
