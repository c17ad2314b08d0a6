"""From NIfTI files with annotations of two releases to the crops of a fine-tuning."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.datamodules.classification import ClassificationDataModule
from brainmvp_lightning.datamodules.segmentation import SegmentationDataModule
from tests.volumes.images import head, save, scaled

SHAPE = (24, 22, 20)
COLUMNS = ("patient", "modality", "path", "label", "class", "split", "label_scheme")
# Patient -> value of enhancing tumour, scheme, class, split.
RELEASES = {
    "old": (4, "brats2021", "HGG", "train"),
    "new": (3, "brats2023", "LGG", "train"),
    "held": (3, "brats2023", "HGG", "val"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("releases")
    rows = []
    for number, (patient, (enhancing, scheme, name, split)) in enumerate(RELEASES.items()):
        label = np.zeros(SHAPE, np.uint8)
        label[4:10, 4:10, 4:10] = 2
        label[6:8, 6:8, 6:8] = enhancing
        save(folder / f"{patient}_seg.nii.gz", label, scaled())
        for modality in ("t1", "flair"):
            path = folder / f"{patient}_{modality}.nii.gz"
            save(path, head(SHAPE, seed=number), scaled())
            rows.append(
                (patient, modality, path.name, f"{patient}_seg.nii.gz", name, split, scheme)
            )
    with (folder / "scans.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    source = f"{{class_path: table, init_args: {{path: {folder / 'scans.csv'}}}}}"
    config = folder / "prepare.yaml"
    config.write_text(f"source: {source}\ncache: {folder / 'cache'}\nworkers: 1\n")
    assert prepare(["--config", str(config)]) == 0
    return folder / "cache"


def test_releases_agree_after_preparation(prepared: Path) -> None:
    data = SegmentationDataModule(
        str(prepared), crop_size=(16, 16, 16), label_share=1.0, batch_size=2, num_workers=0
    )
    assert data.describe().label_names == ("background", "ED/SNFH", "NCR", "ET")
    (batch,) = list(data.train_dataloader())
    assert sorted(batch["study"]) == ["scans_new", "scans_old"]
    # The tumour lies in the first block of the stored box, so centred crops begin at its corner and
    # hold all of it: 6^3 voxels, of which 2^3 enhance.
    for label in batch["label"]:
        assert [int((label == value).sum()) for value in (1, 2, 3)] == [6**3 - 2**3, 0, 2**3]


def test_a_held_out_annotation_lies_where_the_file_says(prepared: Path) -> None:
    data = SegmentationDataModule(str(prepared), crop_size=(8, 8, 8), num_workers=0, regions=True)
    (batch,) = list(data.val_dataloader())
    geometry = batch["geometry"][0]
    assert geometry["label"] is not None
    file = nib.load(prepared / geometry["label"]["path"])
    start = np.array(geometry["box_start"]) + batch["start"][0].numpy()
    stop = start + np.array(batch["label"].shape[2:])
    values = np.asarray(file.dataobj)[tuple(map(slice, start, stop))]
    enhancing, _, whole = batch["label"][0].numpy()
    assert np.array_equal(enhancing, values == 3)
    assert np.array_equal(whole, values > 0)


def test_classes_come_from_the_table(prepared: Path) -> None:
    data = ClassificationDataModule(
        str(prepared), resized_to=(8, 8, 8), crop_size=(8, 8, 8), batch_size=2, num_workers=0
    )
    assert data.class_names == ("HGG", "LGG")
    (batch,) = list(data.train_dataloader())
    found = dict(zip(batch["study"], batch["target_class"].tolist(), strict=True))
    assert found == {"scans_old": 0, "scans_new": 1}
