"""A few small studies on disk."""

from pathlib import Path

import numpy as np

from brainmvp_lightning.preprocessing.pipeline import Recipe, prepare
from brainmvp_lightning.preprocessing.summary import Summary
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.journal import is_journal
from brainmvp_lightning.volumes.lock import is_lock
from tests.volumes.images import head, save, scaled

SHAPE = (12, 14, 10)


def write_scan(root: Path, patient: str, modality: str, **facts: object) -> Scan:
    """A good scan of 12 x 14 x 10 voxels of 1 mm."""
    path = root / "data" / patient / f"{modality}.nii.gz"
    seed = sum(map(ord, patient + modality))
    save(path, head(SHAPE, seed=seed), scaled(1.0, (-6, -7, -5)))
    return Scan(patient, "", "d", modality, path, **facts)  # type: ignore[arg-type]


def write_cohort(root: Path, num_studies: int = 3) -> list[Scan]:
    """Studies p0, p1 ... of T1 and FLAIR."""
    return [
        write_scan(root, f"p{number}", modality)
        for number in range(num_studies)
        for modality in ("t1", "flair")
    ]


def run(root: Path, scans: list[Scan], recipe: Recipe | None = None, **options: object) -> Summary:
    """Prepare into ``root / cache`` within this process."""
    manifest = Manifest(tuple(scans)).with_splits()
    options = {"workers": 1, **options}
    vocabulary = ModalityVocabulary()
    return prepare(manifest, root / "cache", recipe or Recipe(), vocabulary, **options)  # type: ignore[arg-type]


def contents(cache: Path) -> dict[str, bytes]:
    """All files of a cache but locks and journals, whose order depends on who was faster."""
    return {
        path.relative_to(cache).as_posix(): path.read_bytes()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and not is_journal(path.name) and not is_lock(path.name)
    }


def frame_times(root: Path) -> dict[str, int]:
    """When each frame was written."""
    frames = sorted((root / "cache").rglob("*.b2nd"))
    return {f"{path.parent.name}/{path.stem}": path.stat().st_mtime_ns for path in frames}


def voxels(scan: Scan) -> np.ndarray:
    """What `write_scan` wrote."""
    return head(SHAPE, seed=sum(map(ord, scan.patient + scan.modality)))
