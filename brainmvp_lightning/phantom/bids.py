"""File names, files and tables of the Brain Imaging Data Structure (BIDS) for the cohort."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.phantom.grids import Floats, Grid
from brainmvp_lightning.phantom.lesions import DIAGNOSES, LABELS
from brainmvp_lightning.phantom.plan import StudyPlan
from brainmvp_lightning.phantom.sites import FileFormat
from brainmvp_lightning.volumes.atomic import write_bytes

LABELS_FOLDER = Path("derivatives") / "labels"

# Folder, and end of the file name, of each modality.
_PLACES = {
    "t1": ("anat", "T1w"),
    "t1ce": ("anat", "ce-gadolinium_T1w"),
    "t2": ("anat", "T2w"),
    "flair": ("anat", "FLAIR"),
    "pd": ("anat", "PDw"),
    "mra": ("anat", "angio"),
    "dwi": ("dwi", "dwi"),
    "adc": ("dwi", "ADC"),
}
_VERSION = "1.10.0"
_HEADER_BYTES = 348
_README = """\
# Demo cohort

Synthetic brain MRI of invented people, for tests and demonstrations, not for science. Shapes
descend from one template (ICBM 2009a, as shipped with nilearn), intensities from signal equations.
Label maps are in `derivatives/labels`, classes in `participants.tsv`, settings in `cohort.json`.
"""


def scan_path(plan: StudyPlan, modality: str) -> Path:
    """Return where the image of a modality lies, relative to the cohort."""
    folder, suffix = _PLACES[modality]
    ending = ".nii" if plan.site.file_format == "uncompressed" else ".nii.gz"
    return Path(plan.participant, folder, f"{plan.participant}_{suffix}{ending}")


def label_path(plan: StudyPlan) -> Path:
    """Return where the label map lies, relative to the folder of label maps."""
    return Path(plan.participant, "anat", f"{plan.participant}_space-orig_dseg.nii.gz")


def write_image(path: Path, values: Floats, grid: Grid, file_format: FileFormat) -> None:
    """Write 16-bit integers in the manner of a site."""
    slope = 1.0
    if file_format == "scaled":
        slope = max(float(values.max()), 1.0) / 30000
    stored = np.rint(values / slope).clip(0, 32767).astype(np.int16)
    if file_format == "four_d":
        stored = stored[..., None]
    _write_nifti(path, stored, grid, slope)


def write_label(path: Path, values: Floats, grid: Grid) -> None:
    """Write a label map of 8-bit integers."""
    _write_nifti(path, np.rint(values).astype(np.uint8), grid, 1.0)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an indented JSON file."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a tab-separated table with a header."""
    lines = ["\t".join(str(cell) for cell in row) for row in ([*columns], *rows)]
    write_text(path, "\n".join(lines) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a text file, making its folder where needed."""
    _write(path, content.encode())


def write_descriptions(root: Path, plans: list[StudyPlan]) -> None:
    """Write the files that describe the whole cohort."""
    rows = [
        (plan.participant, plan.site.name, DIAGNOSES[plan.diagnosis], plan.diagnosis)
        for plan in plans
    ]
    write_table(root / "participants.tsv", ("participant_id", "site", "diagnosis", "class"), rows)
    write_text(root / "README.md", _README)
    generator = [{"Name": "brainmvp-lightning demo cohort"}]
    raw = {"Name": "Demo cohort", "BIDSVersion": _VERSION, "DatasetType": "raw"}
    write_json(root / "dataset_description.json", raw | {"GeneratedBy": generator})
    labels = {"Name": "Lesion labels", "BIDSVersion": _VERSION, "DatasetType": "derivative"}
    folder = root / LABELS_FOLDER
    write_json(folder / "dataset_description.json", labels | {"GeneratedBy": generator})
    write_table(folder / "dseg.tsv", ("index", "name"), LABELS.items())


def _write_nifti(path: Path, stored: NDArray[Any], grid: Grid, slope: float) -> None:
    image = nib.Nifti1Image(stored, grid.affine)
    image.set_qform(grid.affine, code=1)
    # What the quaternion can express, so that both forms agree to the last digit.
    image.set_sform(image.get_qform(), code=1)
    image.header.set_xyzt_units("mm", "sec")
    content = bytearray(image.to_bytes())
    # Into the header of the finished file, because nibabel would divide the integers by it.
    header = nib.Nifti1Header(bytes(content[:_HEADER_BYTES]))
    header.set_slope_inter(slope, 0.0)
    content[:_HEADER_BYTES] = header.binaryblock
    if path.name.endswith(".gz"):
        # Without a time stamp, so that equal images give equal files.
        _write(path, gzip.compress(content, compresslevel=1, mtime=0))
    else:
        _write(path, bytes(content))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
