"""What the index of a cache says about each stored study and scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PERCENTILES = (0.0, 0.5, 1.0, 2.0, 5.0, 25.0, 50.0, 75.0, 95.0, 98.0, 99.0, 99.5, 100.0)
PERCENTILE_KEYS = tuple(f"{percentile:g}" for percentile in PERCENTILES)

Size = tuple[int, int, int]
Matrix = tuple[tuple[float, ...], ...]
Region = Literal["foreground", "volume"]


@dataclass(frozen=True)
class Clip:
    """Percentiles between which intensities are kept.

    Args:
        lower: Percentile that becomes 0, one of those a cache stores.
        upper: Percentile that becomes 1, one of those a cache stores.
        over: Voxels the percentiles are taken over: the scan's foreground, or everything that is
            stored, background included.

    Raises:
        ValueError: If a cache does not store the percentile, or `lower` is not below `upper`.

    Source:
        BrainMVP, supplement B.1: 1 and 99 for pre-training; B.2 and the published code: 5 and 95.
    """

    lower: float = 1.0
    upper: float = 99.0
    over: Region = "foreground"

    def __post_init__(self) -> None:
        for percentile in (self.lower, self.upper):
            if percentile not in PERCENTILES:
                known = ", ".join(PERCENTILE_KEYS)
                raise ValueError(f"no cache stores percentile {percentile:g}; choose from {known}")
        if self.lower >= self.upper:
            raise ValueError(
                f"lower percentile {self.lower:g} must be below the upper one, {self.upper:g}"
            )


@dataclass(frozen=True, slots=True)
class CachedScan:
    """One stored volume; real intensity = stored integer * `slope` + `intercept`.

    Args:
        modality: Canonical name, or ``label`` for an annotation.
        file: Frame of the voxels, relative to the cache folder.
        digest: xxh3 (64 bit, hexadecimal) of the frame's bytes.
        num_bytes: Length of the frame.
        dtype: Type of the stored integers.
        slope: Real units per stored step.
        intercept: Real value of a stored 0.
        quantisation_error: Largest difference to the prepared image, in real units; 0 is lossless.
        background: Real value outside the head; fills crops beyond the stored volume.
        percentiles: Percentile by region and key, in real units, such as
            ``percentiles["foreground"]["99"]``; empty for a label.
        source: Where the voxels came from: path, size and mtime_ns of the file, its shape,
            affine, axcodes and notes.
    """

    modality: str
    file: str
    digest: str
    num_bytes: int
    dtype: str
    slope: float
    intercept: float
    quantisation_error: float
    background: float
    percentiles: dict[str, dict[str, float]]
    source: dict[str, Any]

    def bounds(self, clip: Clip) -> tuple[float, float]:
        """Return the intensities, in real units, that `clip` maps to 0 and 1."""
        stored = self.percentiles[clip.over]
        return stored[f"{clip.lower:g}"], stored[f"{clip.upper:g}"]

    def unit_mapping(self, clip: Clip) -> tuple[float, float] | None:
        """Return scale and offset that bring stored integers to [0, 1], before clipping.

        None if both percentiles coincide.
        """
        lower, upper = self.bounds(clip)
        if not upper > lower:
            return None
        scale = 1.0 / (upper - lower)
        return self.slope * scale, (self.intercept - lower) * scale


@dataclass(frozen=True, slots=True)
class CachedStudy:
    """One stored study; all its volumes lie on one grid.

    Args:
        id: Unique name, also that of its folder.
        dataset: Data set it belongs to.
        patient: Patient, unique within the data set.
        session: Visit of the patient; may be empty.
        split: ``train``, ``val`` or ``test``.
        target_class: Class of the study for classification, if any.
        shape: Voxels along x, y, z of the stored box.
        affine: Voxel index of the box to world millimetres, RAS+, 4 x 4.
        box_start: First voxel of the box in the study's full grid.
        box_stop: One past its last voxel.
        full_shape: Voxels of the full grid, before cropping to the foreground.
        scans: Stored scans in vocabulary order.
        label: Stored annotation, if any.
        label_scheme: What the values of the annotation mean, if it is known; a key of
            `Cache.label_schemes`.
        label_values: Values above 0 that the annotation holds, ascending.
        head_blocks: Where the head (of any scan) is: `blocks.encode_blocks` of the stored box.
        label_blocks: Where the annotation is not 0, likewise; empty without an annotation.
    """

    id: str
    dataset: str
    patient: str
    session: str
    split: str
    target_class: str | None
    shape: Size
    affine: Matrix
    box_start: Size
    box_stop: Size
    full_shape: Size
    scans: tuple[CachedScan, ...]
    label: CachedScan | None
    label_scheme: str | None = None
    label_values: tuple[int, ...] = ()
    head_blocks: str = ""
    label_blocks: str = ""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the stored modalities, in vocabulary order."""
        return tuple(scan.modality for scan in self.scans)

    def scan(self, modality: str) -> CachedScan:
        """Return the scan of one modality.

        Raises:
            KeyError: If the study has none.
        """
        for scan in self.scans:
            if scan.modality == modality:
                return scan
        raise KeyError(f"study {self.id!r} has no {modality!r}, only {', '.join(self.modalities)}")


def scan_to_json(scan: CachedScan) -> dict[str, Any]:
    """Return the scan as plain JSON values; percentiles become lists, to keep the index small."""
    plain = {name: getattr(scan, name) for name in CachedScan.__slots__}
    plain["percentiles"] = {
        region: [values[key] for key in PERCENTILE_KEYS]
        for region, values in scan.percentiles.items()
    }
    return plain


def scan_from_json(plain: dict[str, Any]) -> CachedScan:
    """Return the scan that `scan_to_json` wrote."""
    percentiles = {
        region: dict(zip(PERCENTILE_KEYS, values, strict=True))
        for region, values in plain["percentiles"].items()
    }
    return CachedScan(**{**plain, "percentiles": percentiles})


def study_to_json(study: CachedStudy) -> dict[str, Any]:
    """Return the study as plain JSON values."""
    plain = {name: getattr(study, name) for name in CachedStudy.__slots__}
    plain["scans"] = [scan_to_json(scan) for scan in study.scans]
    plain["label"] = None if study.label is None else scan_to_json(study.label)
    return plain


def study_from_json(plain: dict[str, Any]) -> CachedStudy:
    """Return the study that `study_to_json` wrote."""
    label = plain["label"]
    lists = ("shape", "box_start", "box_stop", "full_shape", "label_values")
    return CachedStudy(
        **{
            **plain,
            **{name: tuple(plain[name]) for name in lists},
            "affine": tuple(tuple(row) for row in plain["affine"]),
            "scans": tuple(scan_from_json(scan) for scan in plain["scans"]),
            "label": None if label is None else scan_from_json(label),
        }
    )
