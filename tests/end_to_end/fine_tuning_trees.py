"""Small data sets in the layouts of the ten that the paper fine-tunes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform

from brainmvp_lightning.studies.splits import split_of
from tests.conftest import blob

SHAPE = (28, 30, 26)
PER_SPLIT = {"train": 2, "val": 2, "test": 2}
PED = "BraTS-PED-{:05d}"
Person = tuple[str, str, int]
"""Name, split, and number within the split: 0 or 1, which is also the class."""


def people(dataset: str, name: str) -> Iterator[Person]:
    """Yield two patients of each split, which is that of the shipped ratios and seed.

    Args:
        dataset: Data set, as the shipped file calls it.
        name: Format of a patient's name, given a number.
    """
    counts = dict.fromkeys(PER_SPLIT, 0)
    number = 0
    while counts != PER_SPLIT:
        number += 1
        split = split_of(dataset, name.format(number))
        if counts[split] < PER_SPLIT[split]:
            yield name.format(number), split, counts[split]
            counts[split] += 1


def save(path: Path, voxels: np.ndarray, axes: str, spacing_mm: float) -> Path:
    """Write an image whose first axis runs along the first of `axes`, and so on."""
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * np.array(SHAPE) / 2
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine).as_reoriented(turn), path)
    return path


def save_scan(path: Path, kind: str, axes: str = "LPS", spacing_mm: float = 1.0) -> Path:
    """Write a head, as bright as scans of its kind are."""
    return save(path, blob(kind, sum(path.as_posix().encode())), axes, spacing_mm)


def save_label(path: Path, *values: int, axes: str = "LPS", spacing_mm: float = 1.0) -> Path:
    """Write an annotation of flat boxes in the middle of the head, one for each value."""
    voxels = np.zeros(SHAPE, np.uint8)
    for place, value in enumerate(values):
        voxels[10:18, 10:18, 8 + 2 * place : 10 + 2 * place] = value
    return save(path, voxels, axes, spacing_mm)


def brats2023(family: str) -> Callable[[Path], None]:
    """Return what writes a family of BraTS 2023; one visit a patient."""

    def write(root: Path) -> None:
        for patient, _, _ in people(f"brats2023_{family}", f"BraTS-{family.upper()}-{{:05d}}"):
            case = f"{patient}-000"
            for suffix in ("t1n", "t1c", "t2w", "t2f"):
                save_scan(root / case / f"{case}-{suffix}.nii.gz", suffix)
            save_label(root / case / f"{case}-seg.nii.gz", 1, 2, 3)

    return write


def isles22(root: Path) -> None:
    """The annotation lies on the grid of the DWI; the FLAIR has a grid of its own."""
    for patient, _, _ in people("isles22", "strokecase{:04d}"):
        folder = Path(f"sub-{patient}") / "ses-0001"
        name = f"sub-{patient}_ses-0001"
        for kind, axes in (("dwi", "LAS"), ("adc", "LAS")):
            save_scan(root / folder / "dwi" / f"{name}_{kind}.nii.gz", kind, axes, 2.0)
        save_scan(root / folder / "anat" / f"{name}_FLAIR.nii.gz", "flair", "PSR", 2.0)
        label = root / "derivatives" / folder / f"{name}_msk.nii.gz"
        save_label(label, 1, axes="LAS", spacing_mm=2.0)


def mrbrains13(root: Path) -> None:
    """Five to train on and fifteen to test on; here two of each."""
    for folder in ("TrainingData", "TestData"):
        for case in ("1", "2"):
            for name in ("T1", "T1_IR", "T2_FLAIR"):
                save_scan(root / folder / case / f"{name}.nii", name, "RAS")
            save_label(root / folder / case / "LabelsForTesting.nii", 1, 2, 3, axes="RAS")


def upenn_gbm(root: Path) -> None:
    """First visits with an annotation by hand."""
    for patient, _, _ in people("upenn_gbm", "UPENN-GBM-{:05d}"):
        case = f"{patient}_11"
        for suffix in ("T1", "T1GD", "T2", "FLAIR"):
            save_scan(root / "images_structural" / case / f"{case}_{suffix}.nii.gz", suffix)
        save_label(root / "images_segm" / f"{case}_segm.nii.gz", 1, 2, 4)


def vsseg(root: Path) -> None:
    """Both scans of a patient, each with the annotation on its grid."""
    for patient, _, _ in people("vsseg", "vs_gk_{}"):
        for scan, grid in (("t1", "T1"), ("t2", "T2")):
            save_scan(root / patient / f"vs_gk_{scan}_ref{grid}.nii.gz", scan)
            save_label(root / patient / f"vs_gk_seg_ref{grid}.nii.gz", 1)


def brats2018(root: Path) -> None:
    """The folder of a case is its class."""
    for case, _, number in people("brats2018", "Brats18_TCIA01_{:03d}_1"):
        folder = root / "MICCAI_BraTS_2018_Data_Training" / ("LGG", "HGG")[number] / case
        for suffix in ("t1", "t1ce", "t2", "flair"):
            save_scan(folder / f"{case}_{suffix}.nii.gz", suffix)
        save_label(folder / f"{case}_seg.nii.gz", 1, 2, 4)


def adni(root: Path) -> None:
    """One visit a person, with the table of a download."""
    rows = ["Image Data ID,Subject,Group,Visit"]
    for image, (person, _, number) in enumerate(people("adni", "002_S_{:04d}"), 1000):
        folder = root / "ADNI" / person / "MPR__GradWarp" / "2006-04-18_08_20_30.0" / f"I{image}"
        name = f"ADNI_{person}_MR_MPR__GradWarp_Br_20080717160408_S13408_I{image}.nii"
        save_scan(folder / name, "t1", "PSR")
        rows.append(f"I{image},{person},{('CN', 'LMCI')[number]},sc")
    (root / "ADNI1_Screening.csv").write_text("\n".join(rows))


def numbered(
    dataset: str, name: str, table: str, header: str, codes: tuple[str, str]
) -> Callable[[Path], None]:
    """Return what writes people with numbers at one site, with their table of phenotypes."""

    def write(root: Path) -> None:
        rows = [header]
        for person, _, number in people(dataset, name):
            save_scan(root / "NYU" / person / "session_1/anat_1/mprage.nii.gz", "t1", "PSR")
            rows.append(f"{int(person)},NYU,{codes[number]}")
        (root / table).write_text("\n".join(rows))

    return write


SEGMENTATION: dict[str, Callable[[Path], None]] = {
    "brats2023_ped": brats2023("ped"),
    "brats2023_met": brats2023("met"),
    "isles22": isles22,
    "mrbrains13": mrbrains13,
    "upenn_gbm": upenn_gbm,
    "vsseg": vsseg,
}
CLASSIFICATION: dict[str, Callable[[Path], None]] = {
    "brats2018": brats2018,
    "adni": adni,
    "adhd200": numbered(
        "adhd200", "{:07d}", "NYU_phenotypic.csv", "ScanDir ID,Site,DX", ("0", "3")
    ),
    "abide": numbered(
        "abide", "{:07d}", "Phenotypic_V1_0b.csv", "SUB_ID,SITE_ID,DX_GROUP", ("2", "1")
    ),
}
"""Writes a data set below a folder. Class 1 is the one that is looked for."""
