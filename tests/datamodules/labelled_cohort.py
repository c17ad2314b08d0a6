"""A small labelled cohort: two releases of label values, missing modalities, classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainmvp_lightning.randomness import host_generator
from brainmvp_lightning.studies.labels import LabelScheme
from brainmvp_lightning.volumes.blocks import encode_blocks
from brainmvp_lightning.volumes.cache import PERCENTILE_KEYS, PERCENTILES, CachedScan, CachedStudy
from brainmvp_lightning.volumes.writer import CacheWriter, write_frame

VOCABULARY = ("flair", "t1", "t1ce", "t2", "mra", "pd", "dwi", "adc")
SHAPE = (20, 24, 18)


@dataclass(frozen=True)
class Patient:
    """What a study of the cohort has; `values` of NCR, oedema and ET, or of a lesion."""

    name: str
    modalities: str
    split: str = "train"
    dataset: str = "tumour"
    scheme: str | None = None
    values: tuple[int, ...] = ()
    target_class: str | None = None
    shape: tuple[int, int, int] = SHAPE


OLD, NEW = (1, 2, 4), (1, 2, 3)
COHORT = (
    Patient("a", "flair t1 t1ce t2", scheme="brats2021", values=OLD, target_class="HGG"),
    Patient("b", "flair t1", scheme="brats2023", values=NEW, target_class="LGG"),
    Patient("c", "t2", scheme="brats2021", values=OLD, target_class="HGG"),
    Patient("d", "flair t1 t2", "val", scheme="brats2023", values=NEW, target_class="HGG"),
    Patient("e", "t1 t2", "test", scheme="brats2021", values=OLD, target_class="LGG"),
    Patient("f", "flair t1", target_class="HGG"),
    Patient("g", "t1", values=NEW),
    Patient("h", "t1", scheme="brats2023", values=OLD, target_class="MET"),
    Patient("s", "flair dwi", dataset="stroke", scheme="lesion", values=(1,)),
    Patient("small", "t1", "val", scheme="brats2021", values=OLD, shape=(10, 30, 18)),
)


def image_of(patient: Patient, modality: str) -> np.ndarray:
    """Voxels of a scan, real intensities that no other scan has."""
    generator = host_generator(patient.name, modality, "cohort")
    return generator.integers(1, 1000, patient.shape).astype(np.uint16)


def label_of(patient: Patient) -> np.ndarray:
    """Concentric boxes: oedema around necrosis around an enhancing core; or one lesion."""
    label = np.zeros(patient.shape, np.uint8)
    if len(patient.values) == 1:
        label[2:5, 2:5, 2:5] = patient.values[0]
    elif patient.values:
        necrosis, oedema, enhancing = patient.values
        label[1:9, 10:18, 4:12] = oedema
        label[2:7, 11:16, 5:10] = necrosis
        label[3:5, 12:14, 6:8] = enhancing
    return label


def expected_classes(patient: Patient) -> np.ndarray:
    """The label as shared classes: 1 oedema (WT only), 2 necrosis (TC, WT), 3 enhancing."""
    label = label_of(patient)
    necrosis, oedema, enhancing = patient.values
    classes = np.zeros(patient.shape, np.uint8)
    for number, value in enumerate((oedema, necrosis, enhancing), start=1):
        classes[label == value] = number
    return classes


def write_cohort(
    folder: Path,
    cohort: Sequence[Patient] = COHORT,
    label_schemes: Mapping[str, LabelScheme] | None = None,
) -> Path:
    """Write a cache of the cohort and return its folder."""
    writer = CacheWriter(folder, {"made": "by hand"}, "0123")
    studies = [_write_study(folder, number, patient) for number, patient in enumerate(cohort)]
    writer.commit(studies, VOCABULARY, 1.0, 0, dict(label_schemes or {}))
    return folder


def _write_study(folder: Path, number: int, patient: Patient) -> CachedStudy:
    affine = np.eye(4)
    affine[:3, 3] = (number, 2 * number, -number)
    label = label_of(patient)
    record = None if not patient.values else _write(folder, patient, "label", label, affine)
    scans = [
        _write(folder, patient, name, image_of(patient, name), affine)
        for name in sorted(patient.modalities.split(), key=VOCABULARY.index)
    ]
    x, y, z = patient.shape
    return CachedStudy(
        id=patient.name,
        dataset=patient.dataset,
        patient=patient.name,
        session="",
        split=patient.split,
        target_class=patient.target_class,
        shape=patient.shape,
        affine=tuple(tuple(row) for row in affine.tolist()),
        box_start=(3, 2, 1),
        box_stop=(3 + x, 2 + y, 1 + z),
        full_shape=(x + 5, y + 5, z + 5),
        scans=tuple(scans),
        label=record,
        label_scheme=patient.scheme,
        label_values=tuple(sorted(patient.values)),
        label_blocks=encode_blocks(label > 0) if patient.values else "",
    )


def _write(
    folder: Path, patient: Patient, name: str, voxels: np.ndarray, affine: np.ndarray
) -> CachedScan:
    file, digest, num_bytes = write_frame(folder, patient.name, name, voxels, {})
    percentiles = dict(
        zip(PERCENTILE_KEYS, np.percentile(voxels, PERCENTILES).tolist(), strict=True)
    )
    return CachedScan(
        modality=name,
        file=file,
        digest=digest,
        num_bytes=num_bytes,
        dtype=voxels.dtype.name,
        slope=1.0,
        intercept=0.0,
        quantisation_error=0.0,
        background=0.0,
        percentiles={} if name == "label" else {"volume": percentiles, "foreground": percentiles},
        source={
            "path": f"../raw/{patient.name}_{name}.nii.gz",
            "shape": [edge + 5 for edge in patient.shape],
            "affine": affine.tolist(),
            "axcodes": "RAS",
        },
    )


def damage(cache: Path, study: str, name: str) -> None:
    """Flip a bit of a stored volume."""
    path = cache / "frames" / study / f"{name}.b2nd"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
