"""Small cohorts on disk, clean and broken; voxels of 6 mm make whole heads cheap."""

import csv
import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.volumes.images import save

SPACING = 6.0
SHAPE = (26, 34, 24)
COLUMNS = ("dataset", "patient", "session", "modality", "path", "label", "label_scheme", "split")


def affine(shift: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """Voxels of `SPACING` mm around the world's origin."""
    matrix = np.diag([SPACING, SPACING, SPACING, 1.0])
    matrix[:3, 3] = np.asarray(shift) - SPACING * (np.asarray(SHAPE) - 1) / 2
    return matrix


def head(seed: int) -> np.ndarray:
    """A textured ellipsoid, longer than wide, in empty air."""
    axes = [np.linspace(-1, 1, extent) for extent in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.7
    noise = np.random.default_rng(seed).integers(150, 250, SHAPE)
    return np.where(inside, noise, 0).astype(np.int16)


def lesion(value: int = 1) -> np.ndarray:
    """A block of one value in the middle of the head."""
    label = np.zeros(SHAPE, np.uint8)
    label[10:14, 14:18, 10:13] = value
    return label


@dataclass
class Table:
    """A manifest that is being written.

    Args:
        root: Folder of table and files.
        rows: Values by column.
    """

    root: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    def scan(self, patient: str, modality: str, **row: str) -> Path:
        """Write a good scan and its row, and return the file."""
        path = self.root / patient / f"{modality}{row.get('session', '')}.nii.gz"
        seed = zlib.crc32(f"{patient}{modality}{row.get('session', '')}".encode())
        save(path, head(seed), affine())
        return self.row(patient, modality, path, **row)

    def row(self, patient: str, modality: str, path: Path, **row: str) -> Path:
        """Add a row for a file, which need not be there."""
        fixed = {"dataset": "toy", "patient": patient, "modality": modality, "path": str(path)}
        self.rows.append({**fixed, **row})
        return path

    def study(self, patient: str, **row: str) -> None:
        """Write a good study of T1 and FLAIR."""
        self.scan(patient, "t1", **row)
        self.scan(patient, "flair", **row)

    def write(self) -> Path:
        """Write the table."""
        path = self.root / "scans.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        return path


def clean_table(root: Path) -> Path:
    """Three patients with a label each, in three splits."""
    table = Table(root)
    for number, split in enumerate(("train", "val", "test")):
        label = root / f"p{number}" / "seg.nii.gz"
        save(label, np.roll(lesion(), number, axis=0), affine())
        table.study(f"p{number}", split=split, label=str(label), label_scheme="lesion")
    return table.write()


def broken_table(root: Path) -> Path:
    """One fault a study, named after its fault."""
    table = Table(root)
    table.study("good", split="train")
    table.study("held", split="test")
    for name in ("cut", "nan", "flat", "many", "away", "turned", "gone", "few"):
        table.study(name, split="train")
    _damage(root)
    table.scan("leak", "t1", split="train")
    (root / "leak/t1.nii.gz").write_bytes((root / "held/t1.nii.gz").read_bytes())
    table.scan("twin", "t1", split="train")
    # The same voxels in another type and without compression.
    table.row("twin", "t2", save(root / "twin/t2.nii", image(root / "twin/t1.nii.gz"), affine()))
    table.rows[-1]["split"] = "train"
    table.scan("lone", "t1", split="val")
    label = save(root / "four/seg.nii.gz", lesion(4), affine())
    table.study("four", split="train", label=str(label), label_scheme="brats2023")
    return table.write()


def _damage(root: Path) -> None:
    whole = (root / "cut/flair.nii.gz").read_bytes()
    (root / "cut/flair.nii.gz").write_bytes(whole[: len(whole) // 2])
    holes = head(1).astype(np.float32)
    holes[:8] = np.nan
    save(root / "nan/flair.nii.gz", holes, affine())
    save(root / "flat/flair.nii.gz", np.full(SHAPE, 7, np.int16), affine())
    save(root / "many/flair.nii.gz", np.stack([head(2), head(3)], axis=-1), affine())
    save(root / "away/flair.nii.gz", head(4), affine((900, 0, 0)))
    swapped = affine()[:, [1, 0, 2, 3]]
    swapped[:3, 3] = -(swapped[:3, :3] @ (np.asarray(SHAPE) - 1)) / 2
    save(root / "turned/flair.nii.gz", head(5), swapped)
    (root / "gone/flair.nii.gz").unlink()
    save(root / "few/flair.nii.gz", head(6)[:, :, :3].copy(), affine())


def image(path: Path) -> np.ndarray:
    """The voxels of a file written here, as float32."""
    content = gzip.decompress(path.read_bytes())
    values = np.frombuffer(content, "<i2", int(np.prod(SHAPE)), 352)
    return values.reshape(SHAPE, order="F").astype(np.float32)
