"""Facts about scans and studies, without files."""

from pathlib import Path
from typing import Any

import numpy as np

from brainmvp_lightning.doctor.facts import LabelFacts, Look, ScanFacts, StudyFacts

CUBE = ((-50.0, -50.0, -50.0), (50.0, 50.0, 50.0))


def look(**facts: Any) -> Look:
    """A head of 100 mm in a field of view of 200 mm."""
    plain: dict[str, Any] = {
        "digest": "none",
        "median": 100.0,
        "low": 50.0,
        "high": 200.0,
        "share": 0.3,
        "box": CUBE,
        "head": CUBE,
        "histogram": (1, 4, 2),
    }
    return Look(**{**plain, **facts})


def scan(modality: str = "t1", study: str = "s", seen: Look | None = None) -> ScanFacts:
    """100 voxels of 2 mm along each axis, centred."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -99
    rows = tuple(tuple(row) for row in affine.tolist())
    path = Path(study) / f"{modality}.nii.gz"
    return ScanFacts(modality, path, 1000, (100, 100, 100), rows, 2, seen or look(digest=str(path)))


def study(name: str = "s", modalities: str = "t1", **facts: Any) -> StudyFacts:
    """A study of its own patient."""
    plain: dict[str, Any] = {
        "id": name,
        "dataset": "d",
        "patient": name,
        "session": "",
        "split": "train",
        "target_class": None,
        "label_scheme": None,
        "scans": tuple(scan(modality, name) for modality in modalities.split()),
        "label": None,
        "reference": modalities.split()[0] if modalities else "",
        "grid_shape": (200, 200, 200),
        "resampled": (),
        "findings": (),
    }
    return StudyFacts(**{**plain, **facts})


def label(name: str, *values: int) -> LabelFacts:
    """An annotation with these values; equal names have equal voxels."""
    return LabelFacts(Path(name) / "seg.nii.gz", values, f"label {name}")
