"""The second half of the demo leaves what it says, and says nothing of what it did not do."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.cli import main
from brainmvp_lightning.commands.demo import summary_lines
from brainmvp_lightning.commands.demo_scores import DemoScores
from brainmvp_lightning.commands.demo_segmentation import (
    DemoFolders,
    Segmented,
    fine_tune,
    largest_tumour,
    segment_one,
)
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.volumes.cache import Cache
from tests.end_to_end.fine_tuning_runs import pretrain
from tests.end_to_end.fine_tuning_trees import brats2023, save_label
from tests.inference.tiny_networks import describe, make_model, save_checkpoint
from tests.tasks.fine_tuning import QUIET

pytestmark = QUIET
CHANNELS = ("t1", "t1ce", "t2", "flair")
SCORES = DemoScores(
    mean_image_mse=4.0,
    partnered_mean_image_mse=4.0,
    distillation_mse=2.0,
    cross_modal_mse=1.0,
    correlation={},
    rival_correlation={},
)


def prepare(data: Path, cache: Path) -> None:
    config = Path(__file__).parents[2] / "configs" / "prepare" / "brats2023_ped.yaml"
    words = ["--source.root", str(data), "--cache", str(cache), "--workers", "1"]
    assert main(["prepare", "--config", str(config), *words]) == 0


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> DemoFolders:
    """Two test studies with tumours of one size, and room for runs."""
    folder = tmp_path_factory.mktemp("demo")
    brats2023("ped")(folder / "data")
    prepare(folder / "data", folder / "cache")
    return DemoFolders(folder / "data", folder / "cache", folder / "runs")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a checkpoint whose answer depends on the mean intensity of a voxel."""
    description = describe(CHANNELS, recipe=Recipe(foreground="nonzero").to_json())
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    save_checkpoint(make_model(description), tmp_path / "run" / "checkpoints" / "best.ckpt")
    return tmp_path / "run"


def leave_old_files(run: Path) -> list[Path]:
    """Write what an earlier call of another study would have left, the last by name."""
    old = [run / "raw" / "zz_seg.nii.gz", run / "raw" / "zz_seg.json"]
    old.append(run / "pictures" / "overlay.png")
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"old")
    return old


def test_a_label_map_its_record_and_its_picture_are_left(folders: DemoFolders, run: Path) -> None:
    segmented = segment_one(folders, run)
    assert segmented is not None
    study = largest_tumour(Cache.open(folders.cache))
    assert study is not None
    assert study.label is not None
    source = nib.load(folders.cache / study.label.source["path"])
    label = nib.load(segmented.label)
    assert label.shape == source.shape
    np.testing.assert_allclose(label.affine, source.affine, atol=1e-5)
    assert np.asarray(label.dataobj).any()
    record = json.loads(segmented.record.read_text())
    assert record["missing"] == {"t2": "zeros"}  # the last modality is withheld
    assert record["model"]["name"] == str(run / "checkpoints" / "best.ckpt")
    assert segmented.picture.read_bytes().startswith(b"\x89PNG")
    assert segmented.picture.stat().st_size > 5000


def test_files_of_an_earlier_call_are_not_taken_for_those_of_this_one(
    folders: DemoFolders, run: Path
) -> None:
    label, record, picture = leave_old_files(run)
    segmented = segment_one(folders, run)
    assert segmented is not None
    assert segmented.label != label
    assert not label.exists()
    assert not record.exists()
    assert picture.read_bytes() != b"old"


def test_a_segmentation_that_fails_leaves_no_older_one_in_its_place(
    folders: DemoFolders, run: Path
) -> None:
    old = leave_old_files(run)
    (run / "checkpoints" / "best.ckpt").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="ended with code 2 and 0 label maps"):
        segment_one(folders, run)
    assert not any(path.exists() for path in old)


def test_without_any_tumour_nothing_is_segmented(
    folders: DemoFolders, run: Path, tmp_path: Path
) -> None:
    brats2023("ped")(tmp_path / "data")
    for path in (tmp_path / "data").rglob("*-seg.nii.gz"):
        save_label(path)  # all background
    prepare(tmp_path / "data", tmp_path / "cache")
    healthy = DemoFolders(tmp_path / "data", tmp_path / "cache", folders.runs)
    old = leave_old_files(run)
    assert largest_tumour(Cache.open(healthy.cache)) is None
    assert segment_one(healthy, run) is None
    assert not any(path.exists() for path in old)


def test_the_end_names_what_this_call_segmented_and_nothing_else(tmp_path: Path) -> None:
    first = tmp_path / "pretrain"
    leave_old_files(tmp_path / "segment")
    assert "segmented" not in "\n".join(summary_lines(first, SCORES, None, 60.0))
    segmented = Segmented(tmp_path / "a_seg.nii.gz", tmp_path / "a_seg.json", tmp_path / "a.png")
    last = summary_lines(first, SCORES, segmented, 60.0)[-1]
    assert last == f"segmented  {segmented.label}, {segmented.picture}"


@pytest.mark.slow
def test_a_short_fine_tuning_is_validated_tested_and_segments(
    folders: DemoFolders, cache_folder: Path
) -> None:
    pretrain(cache_folder, folders.runs / "pretrain")
    run = fine_tune(folders, steps=1)
    assert (run / "test" / "summary.json").stat().st_size > 0
    segmented = segment_one(folders, run)
    assert segmented is not None
    assert segmented.picture.stat().st_size > 5000
