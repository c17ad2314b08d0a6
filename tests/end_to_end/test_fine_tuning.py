"""From files in each data set's own layout to scores and predictions, by shipped files alone."""

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.cli import main
from brainmvp_lightning.volumes.cache import Cache, CachedStudy
from tests.end_to_end.fine_tuning_runs import CONFIGS, run_header, small_options
from tests.end_to_end.fine_tuning_trees import CLASSIFICATION, PED, SEGMENTATION, people

DEFAULT = ("brats2023_ped", "adni")
# Regions by the values of the data set's own files.
REGIONS: dict[str, dict[str, list[int]]] = {
    "brats2023_ped": {"ET": [3], "TC": [1, 3], "WT": [1, 2, 3]},
    "brats2023_met": {"ET": [3], "TC": [1, 3], "WT": [1, 2, 3]},
    "isles22": {"lesion": [1]},
    "mrbrains13": {"CSF": [1], "GM": [2], "WM": [3]},
    "upenn_gbm": {"ET": [4], "TC": [1, 4], "WT": [1, 2, 4]},
    "vsseg": {"VS": [1]},
}
CHECKPOINTS = {"mrbrains13": "last"}  # it has no validation
CLASSES = {
    "brats2018": ("LGG", "HGG"),
    "adni": ("NC", "MCI"),
    "adhd200": ("NC", "ADHD"),
    "abide": ("NC", "ASD"),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*")


def some_slow(names: Any) -> list[Any]:
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if name in DEFAULT else slow) for name in names]


def run_commands(name: str, kind: str, encoder: Path) -> list[CachedStudy]:
    """Run the commands of a file's header in the current folder, and return the test studies."""
    {**SEGMENTATION, **CLASSIFICATION}[name](Path("data") / name)
    config = CONFIGS / kind / f"{name}.yaml"
    assert run_header(config, "prepare", "--workers", "1", DATA=f"data/{name}") == 0
    assert run_header(config, "fit", *small_options(kind), ENCODER=str(encoder)) == 0
    saved = Path("runs/finetune") / name / "config.yaml"
    trained_with = saved.read_text()
    assert run_header(config, "test") == 0
    assert run_header(config, "predict") == 0
    assert saved.read_text() == trained_with
    return [study for study in Cache.open(f"cache/{name}").studies if study.split == "test"]


def read_test(run: Path) -> tuple[list[dict[str, str]], dict[str, Any]]:
    with (run / "test" / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file)), json.loads((run / "test" / "summary.json").read_text())


@pytest.mark.parametrize("name", some_slow(SEGMENTATION))
def test_a_segmentation_goes_from_files_to_files(
    name: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    studies = run_commands(name, "segmentation", encoder)
    run, regions = Path("runs/finetune") / name, REGIONS[name]
    rows, summary = read_test(run)
    fates = (run / "weights.tsv").read_text().splitlines()
    assert sum(line.startswith("backbone\t") for line in fates) == 121
    assert len(studies) == 2
    assert [(row["study"], row["region"]) for row in rows] == [
        (study.id, region) for study in sorted(studies, key=lambda s: s.id) for region in regions
    ]
    assert {row["space"] for row in rows} == {"native"}
    assert all(0 <= float(row["dice"]) <= 1 and float(row["hd95_mm"]) >= 0 for row in rows)
    (block,) = summary["blocks"]
    assert block["cases"] == 2
    for region in regions:
        scores = [float(row["dice"]) for row in rows if row["region"] == region]
        assert block["regions"][region]["dice"]["mean"] == pytest.approx(np.mean(scores))
    folder = run / "predictions"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{study.id}_seg.{ending}" for study in studies for ending in ("json", "nii.gz")
    )
    for study in studies:
        assert study.label is not None
        source = nib.load(Path("cache") / name / study.label.source["path"])
        written = nib.load(folder / f"{study.id}_seg.nii.gz")
        assert written.shape == source.shape
        np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)
        facts = json.loads((folder / f"{study.id}_seg.json").read_text())
        assert {region: sorted(facts["regions"][region]) for region in regions} == regions
        assert facts["missing"] == {}
        # What was scored is what is written.
        scores = [float(row["dice"]) for row in rows if row["study"] == study.id]
        assert scores == pytest.approx(dice_of_files(written, source, regions), abs=1e-9)
    check_segment_command(studies[-1], written, run, CHECKPOINTS.get(name, "best"))


def check_segment_command(
    study: CachedStudy, predicted: nib.Nifti1Image, run: Path, checkpoint: str
) -> None:
    """Segment the files of a study without its cache, and compare with what was predicted."""
    cache = Path("cache") / study.dataset
    files = [f"{scan.modality}={cache / scan.source['path']}" for scan in study.scans]
    words = ["segment", str(run / "checkpoints" / f"{checkpoint}.ckpt"), *files, "-o", "segmented"]
    words += ["--label_scheme", str(study.label_scheme), "--device", "cpu"]
    if "dwi" in study.modalities:
        words += ["--reference", "dwi"]
    assert main(words) == 0
    (path,) = Path("segmented").glob("*_seg.nii.gz")
    np.testing.assert_array_equal(nib.load(path).dataobj, predicted.dataobj)


def dice_of_files(
    written: nib.Nifti1Image, source: nib.Nifti1Image, regions: dict[str, list[int]]
) -> list[float]:
    scores = []
    for values in regions.values():
        first, second = (np.isin(np.asarray(image.dataobj), values) for image in (written, source))
        scores.append(2 * (first & second).sum() / (first.sum() + second.sum()))
    return scores


@pytest.mark.parametrize("name", some_slow(CLASSIFICATION))
def test_a_classification_goes_from_files_to_classes(
    name: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    studies = run_commands(name, "classification", encoder)
    run, classes = Path("runs/finetune") / name, CLASSES[name]
    rows, summary = read_test(run)
    truth = {row["study"]: row["truth"] for row in rows}
    assert truth == {study.id: study.target_class for study in studies}
    assert sorted(truth.values()) == sorted(classes)
    assert summary
    for row in rows:
        shares = [float(row[f"p_{name}"]) for name in classes]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == classes[int(np.argmax(shares))]
        facts = json.loads((run / "predictions" / f"{row['study']}_class.json").read_text())
        assert facts["class"] == row["predicted"]
        assert list(facts["probabilities"].values()) == pytest.approx(shares, abs=1e-5)


@pytest.mark.slow
def test_a_study_without_one_of_its_scans_is_predicted_with_the_template(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, config = "brats2023_ped", CONFIGS / "segmentation" / "brats2023_ped.yaml"
    SEGMENTATION[name](Path("data") / name)
    patient = next(person for person, split, _ in people(name, PED) if split == "test")
    (Path("data") / name / f"{patient}-000" / f"{patient}-000-t2w.nii.gz").unlink()
    assert run_header(config, "prepare", "--workers", "1", DATA=f"data/{name}") == 0
    assert run_header(config, "fit", *small_options("segmentation"), ENCODER=str(encoder)) == 0
    assert run_header(config, "predict") == 0
    run = Path("runs/finetune") / name
    facts = {
        path.name.removesuffix("_seg.json"): json.loads(path.read_text())["missing"]
        for path in (run / "predictions").glob("*_seg.json")
    }
    assert facts.pop(f"{name}_{patient}_000") == {"t2": "templates"}
    assert list(facts.values()) == [{}]
    assert run_header(config, "test") == 0
    rows, _ = read_test(run)
    assert {row["modalities"] for row in rows if patient in row["study"]} == {"t1+t1ce+flair"}
