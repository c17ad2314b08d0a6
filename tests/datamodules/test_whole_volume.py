"""Whole volumes know the way back to the voxels of their files."""

import csv
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.batches import FileGeometry, StudyGeometry, VolumeBatch
from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.datamodules.whole_volume import WholeVolumeDataModule
from brainmvp_lightning.inference.geometry import padded_box
from brainmvp_lightning.volumes.cache import Cache, Clip
from tests.datamodules.labelled_cohort import SHAPE

STEPS = np.array([9.0, 6.0, 4.0])  # grey levels from one voxel of a file to the next


def module(cache: Path, **options: Any) -> WholeVolumeDataModule:
    defaults: dict[str, Any] = {"crop_size": (8, 8, 8), "num_workers": 0}
    return WholeVolumeDataModule(str(cache), **{**defaults, **options})


def ramp(voxels: np.ndarray) -> np.ndarray:
    return 500 + voxels @ STEPS


def flipped(shape: tuple[int, int, int]) -> np.ndarray:
    """LPS, 1 mm: the axes of many scanners."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = (shape[0] / 2, shape[1] / 2, -shape[2] / 2)
    return affine


def oblique() -> np.ndarray:
    """Axes swapped to A, S, R, voxels of 1.2 x 1.5 x 2 mm, tilted by 10 degrees."""
    angle = np.radians(10)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    swapped = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ swapped @ np.diag([1.2, 1.5, 2.0])
    affine[:3, 3] = (-14, -13, -12)
    return affine


@pytest.fixture(scope="module")
def ramps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a flipped T1 and an oblique FLAIR whose grey level tells the voxel of the file."""
    folder = tmp_path_factory.mktemp("ramps")
    rows = [("dataset", "patient", "modality", "path", "split")]
    grids = {"t1": ((26, 24, 22), flipped((26, 24, 22))), "flair": ((20, 18, 14), oblique())}
    for modality, (shape, affine) in grids.items():
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        image = nib.Nifti1Image(ramp(grid).astype(np.float32), affine)
        nib.save(image, folder / f"{modality}.nii.gz")
        rows.append(("toy", "p", modality, f"{modality}.nii.gz", "test"))
    with (folder / "scans.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    source = f"{{class_path: table, init_args: {{path: {folder / 'scans.csv'}}}}}"
    config = folder / "prepare.yaml"
    config.write_text(f"source: {source}\ncache: {folder / 'cache'}\nworkers: 1\n")
    assert prepare(["--config", str(config)]) == 0
    return folder / "cache"


def file_voxels(
    voxels: np.ndarray, start: list[int], study: StudyGeometry, file: FileGeometry
) -> np.ndarray:
    """Voxels of a file behind those of an image that begins at `start`, ``n 3``."""
    affine = np.array(study["affine"])
    world = (voxels + start) @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(np.array(file["to_study"]) @ np.array(file["affine"]))
    found: np.ndarray = world @ inverse[:3, :3].T + inverse[:3, 3]
    return found


def only(data: WholeVolumeDataModule) -> VolumeBatch:
    (batch,) = list(data.predict_dataloader())
    result: VolumeBatch = batch
    return result


def test_a_voxel_of_the_batch_is_found_again_in_each_file(ramps: Path) -> None:
    data = module(ramps, crop_size=(40, 20, 40), clip=Clip(0.0, 100.0, "volume"))
    batch = only(data)
    assert data.modalities == ("flair", "t1")
    assert batch["start"].min() < 0  # the crop is larger than the stored box
    geometry = batch["geometry"][0]
    image = batch["image"][0].double().numpy()
    grid = np.stack(np.meshgrid(*map(np.arange, image.shape[1:]), indexing="ij"), axis=-1)
    voxels = grid.reshape(-1, 3).astype(np.float64)
    stored = {scan.modality: scan for scan in Cache.open(ramps).studies[0].scans}
    for channel, file in enumerate(geometry["scans"]):
        places = file_voxels(voxels, batch["start"][0].tolist(), geometry, file)
        box = voxels + batch["start"][0].numpy()
        inside = ((places >= 0) & (places <= np.array(file["shape"]) - 1)).all(axis=1)
        inside &= ((box >= 0) & (box < np.array(geometry["shape"]))).all(axis=1)
        lower, upper = stored[file["modality"]].bounds(data.loading.clip)
        found = image[channel].ravel()[inside] * (upper - lower) + lower
        # Linear interpolation of a ramp is exact; 16 bits and the batch's float32 are not.
        assert found == pytest.approx(ramp(places[inside]), abs=0.1)
        assert inside.sum() > 2000


def test_geometry_repeats_what_the_files_say(ramps: Path) -> None:
    geometry = only(module(ramps))["geometry"][0]
    assert geometry["label"] is None
    assert [file["modality"] for file in geometry["scans"]] == ["flair", "t1"]
    for file in geometry["scans"]:
        image = nib.load(ramps / file["path"])
        assert np.allclose(file["affine"], image.affine)
        assert file["shape"] == list(image.shape)
        assert file["axcodes"] == "".join(nib.aff2axcodes(image.affine))
        assert file["to_study"] == np.eye(4).tolist()


def test_the_box_lies_in_the_full_grid_of_the_study(ramps: Path) -> None:
    geometry = only(module(ramps))["geometry"][0]
    start, shape = np.array(geometry["box_start"]), np.array(geometry["shape"])
    assert (start >= 0).all()
    assert (start + shape <= geometry["full_shape"]).all()
    # T1 is the reference: its 1 mm grid, turned to RAS, is the full grid.
    assert geometry["full_shape"] == [26, 24, 22]
    t1 = next(file for file in geometry["scans"] if file["modality"] == "t1")
    first = file_voxels(np.zeros((1, 3)), (-start).tolist(), geometry, t1)
    assert first == pytest.approx(np.array([[25, 23, 0]]), abs=1e-4)  # x and y are flipped


def test_padding_is_even() -> None:
    assert padded_box((10, 7, 9), (8, 10, 9)) == ((0, -1, 0), (10, 10, 9))


def test_studies_without_annotation_are_predicted(labelled: Path) -> None:
    data = module(labelled, split="all", datasets=["tumour"])
    batches = list(data.predict_dataloader())
    assert [batch["study"][0] for batch in batches] == [*"abcdefgh", "small"]
    assert all("label" not in batch for batch in batches)
    assert batches[0]["image"].shape == (1, 4, *SHAPE)
    assert batches[0]["target_class"].tolist() == [-1]
    assert batches[0]["geometry"][0]["label"] is not None
    assert data.describe().num_outputs == 0


def test_a_trained_order_of_channels_is_kept_where_a_modality_is_missing(labelled: Path) -> None:
    data = module(labelled, split="test", modalities=["mra", "t2", "t1"])
    batch = only(data)
    assert batch["present"].tolist() == [[False, True, True]]
    assert [file["modality"] for file in batch["geometry"][0]["scans"]] == ["t2", "t1"]


def test_studies_can_be_resized_for_a_classifier(labelled: Path) -> None:
    data = module(labelled, crop_size=(6, 6, 6), resized_to=(8, 8, 8), modalities=["t1"])
    batch = only(data)
    assert batch["image"].shape == (1, 1, 6, 6, 6)
    assert batch["start"].tolist() == [[1, 1, 1]]
    assert data.describe().resized_to == (8, 8, 8)
    with pytest.raises(ValueError, match="must fit into"):
        module(labelled, crop_size=(9, 8, 8), resized_to=(8, 8, 8))


def test_it_serves_prediction_only(labelled: Path) -> None:
    module(labelled).setup("predict")
    with pytest.raises(ValueError, match="brainmvp predict"):
        module(labelled).setup("fit")
    with pytest.raises(ValueError, match="unknown split 'tset'"):
        module(labelled, split="tset").setup("predict")
