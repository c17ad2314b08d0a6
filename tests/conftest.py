"""Small studies on disk, and the cache made of them."""

import csv
from pathlib import Path

import hypothesis  # noqa: F401 - else its plugin parses it at the end, beside threads of a cluster
import lightning.pytorch  # noqa: F401 - its log handler would keep the stream of a test's capture
import nibabel as nib
import numpy as np
import pytest
import torch

from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.volumes.cache import Cache

# Study -> modalities and split: any grouping, one to five of them.
GROUPING = {
    "a": ("t1 t1ce t2 flair", "train"),
    "b": ("t1 t2", "train"),
    "c": ("t1", "train"),
    "d": ("flair dwi adc t1 t2", "train"),
    "e": ("t2 flair", "train"),
    "f": ("t1 flair", "val"),
    "g": ("t2", "val"),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def blob(modality: str, seed: int) -> np.ndarray:
    """A head-like ellipsoid whose grey level depends on the modality, ``28 30 26``."""
    generator = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (28, 30, 26)), indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.8
    level = 200 + 50 * (sum(map(ord, modality)) % 7)
    texture = level * (1 + 0.3 * np.sin(4 * x) * np.cos(3 * y)) + generator.normal(0, 10, x.shape)
    return np.where(inside, texture, 0).clip(0).astype(np.int16)


def write_studies(folder: Path) -> Path:
    """Write the studies of `GROUPING` as NIfTI files, and return their table."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-14, -15, -13)
    rows = []
    for number, (patient, (modalities, split)) in enumerate(GROUPING.items()):
        for modality in modalities.split():
            path = folder / patient / f"{patient}_{modality}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(blob(modality, number), affine), path)
            rows.append(("toy", patient, modality, path.relative_to(folder), split))
    table = folder / "scans.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("dataset", "patient", "modality", "path", "split"))
        writer.writerows(rows)
    return table


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    table = write_studies(folder)
    config = folder / "prepare.yaml"
    config.write_text(
        f"source: {{class_path: table, init_args: {{path: {table}}}}}\n"
        f"cache: {folder / 'cache'}\nworkers: 1\n"
    )
    assert prepare(["--config", str(config)]) == 0
    return folder / "cache"


@pytest.fixture(scope="session")
def cache(cache_folder: Path) -> Cache:
    return Cache.open(cache_folder)
