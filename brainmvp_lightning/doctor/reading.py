"""Look at one scan: its header, or all of its voxels."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.doctor.facts import Corners, Look, ScanFacts
from brainmvp_lightning.doctor.findings import Finding, Severity
from brainmvp_lightning.preprocessing.foreground import find_foreground, foreground_box
from brainmvp_lightning.preprocessing.geometry import Box, to_ras
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.gunzip import GZIP_MAGIC
from brainmvp_lightning.volumes.nifti import MIN_SLICES, Volume, read_nifti
from brainmvp_lightning.volumes.nifti_header import HEADER_BYTES, parse_header, voxel_layout
from brainmvp_lightning.volumes.transform import Affine, choose_affine

BINS = 48
LOOK_EDGE = 96  # voxels along an axis that statistics are taken from
_SLAB = 16
_DENSE_SHARE = 0.02  # of a slice


@dataclass(frozen=True)
class Header:
    """What a file says about itself.

    Args:
        shape: Voxels along all axes; trailing axes of length 1 are dropped.
        affine: Voxel index to RAS+ millimetres.
        voxel_bytes: Bytes of a voxel.
        notes: Oddities that are handled, as parts of sentences.
    """

    shape: tuple[int, ...]
    affine: Affine
    voxel_bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """A scan and where its head is, thinned out to about `LOOK_EDGE` voxels along each axis.

    Args:
        facts: What is kept.
        head: ``x y z``, True in the head; None if only the header was read.
        affine: Voxel index of `head` to millimetres.
    """

    facts: ScanFacts
    head: NDArray[np.bool_] | None
    affine: Affine


def read_header(path: Path) -> Header | None:
    """Read only the header; None if anything is odd enough to need `read_nifti`'s judgement."""
    try:
        with path.open("rb") as file:
            is_compressed = file.read(2) == GZIP_MAGIC
        with gzip.open(path) if is_compressed else path.open("rb") as stream:
            header = parse_header(stream.read(HEADER_BYTES), str(path))
        shape = tuple(int(extent) for extent in header.get_data_shape())
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        affine, notes = choose_affine(header, shape[:3], str(path))
        voxel_bytes = voxel_layout(header, str(path)).dtype.itemsize
    except (OSError, EOFError, zlib.error, VolumeError):
        return None
    return Header(shape, affine, voxel_bytes, tuple(notes))


def look_at_scan(
    scan: Scan, study: str, recipe: Recipe, *, quick: bool
) -> tuple[Seen | None, list[Finding]]:
    """Look at a scan.

    Args:
        scan: What to read.
        study: Id for findings.
        recipe: Says what is tolerated.
        quick: Read the header only, if it is in order.

    Returns:
        The scan, or None if it cannot be used, and what was found.
    """
    header = read_header(scan.path) if quick else None
    file = str(scan.path)
    if header is not None and _is_plain(header, scan):
        x, y, z = header.shape[:3]
        husk = np.broadcast_to(np.uint8(0), (x, y, z))
        facts = _facts(scan, Volume(husk, header.affine), header.voxel_bytes, None)
        return Seen(facts, None, header.affine), _notes(header.notes, study, file)
    try:
        volume = read_nifti(scan.path, scan.volumes)
    except VolumeError as error:
        kind = _kind_of(scan)
        return None, [Finding(kind, "error", study, file, error.reason, error.remedy)]
    findings = _notes(volume.notes, study, file)
    volume, faults = _check_voxels(volume, study, file, recipe)
    findings += faults
    if any(fault.severity == "error" for fault in faults):
        return None, findings
    return _see(scan, volume, study, recipe, findings), findings


def content_digest(volume: Volume) -> str:
    """Return a digest of the intensities in RAS order, equal for equal images.

    The data type does not count (whole numbers above 2^24 are rounded), nor do the place in the
    world and the compression.
    """
    is_scaled = (volume.slope, volume.intercept) != (1.0, 0.0)
    array, _ = to_ras(volume.real() if is_scaled else volume.array, volume.affine)
    array = array.transpose(2, 1, 0)  # x y z -> z y x: most files are contiguous in this order
    digest = xxhash.xxh3_128(repr(array.shape).encode())
    for start in range(0, len(array), _SLAB):
        values = array[start : start + _SLAB].astype(np.float32, order="C")
        values += np.float32(0)  # -0 becomes 0
        digest.update(values.data)
    return str(digest.hexdigest())


def _is_plain(header: Header, scan: Scan) -> bool:
    dimensions = 4 if scan.volumes else 3
    is_inside = not scan.volumes or max(scan.volumes) < header.shape[-1]
    return len(header.shape) == dimensions and min(header.shape[:3]) >= MIN_SLICES and is_inside


def _kind_of(scan: Scan) -> str:
    if not scan.path.exists():
        return "missing"
    header = read_header(scan.path)
    return "four_d" if header is not None and len(header.shape) > 3 else "unreadable"


def _notes(notes: tuple[str, ...], study: str, file: str) -> list[Finding]:
    return [
        Finding("header", "warning", study, file, note, "look at the scan in a viewer")
        if "sform" in note or "qform" in note
        else Finding("handled", "note", study, file, note, "nothing, or correct the file")
        for note in notes
    ]


def _check_voxels(
    volume: Volume, study: str, file: str, recipe: Recipe
) -> tuple[Volume, list[Finding]]:
    findings = []
    if volume.array.dtype.kind == "f":
        finite = np.isfinite(volume.array)
        count = finite.size - int(np.count_nonzero(finite))
        if count:
            share = count / finite.size
            severity: Severity = "error" if share > recipe.max_nonfinite else "warning"
            fix = (
                "repair it"
                if severity == "warning"
                else ("repair it, or raise recipe.max_nonfinite if they are background")
            )
            text = f"{count} voxels ({share:.2%}) are NaN or infinite"
            findings.append(Finding("nonfinite", severity, study, file, text, fix))
            array = np.where(finite, volume.array, np.float32(0))
            volume = Volume(array, volume.affine, volume.slope, volume.intercept)
    smallest, largest = float(volume.array.min()), float(volume.array.max())
    if smallest == largest and not findings:
        value = smallest * volume.slope + volume.intercept
        text = f"all its voxels are {value:g}"
        fix = "export it again or leave it out"
        findings.append(Finding("constant", "error", study, file, text, fix))
    return volume, findings


def _see(
    scan: Scan, volume: Volume, study: str, recipe: Recipe, findings: list[Finding]
) -> Seen | None:
    steps = [max(1, round(extent / LOOK_EDGE)) for extent in volume.shape]
    thin = np.ascontiguousarray(volume.array[tuple(slice(None, None, step) for step in steps)])
    affine = volume.affine @ np.diag([*steps, 1.0])
    found = find_foreground(thin, recipe.foreground, -volume.intercept / volume.slope)
    box = foreground_box(found)
    if box is None:
        text = "no head stands out from its background"
        fix = "look at the scan, or choose another recipe.foreground"
        findings.append(Finding("constant", "error", study, str(scan.path), text, fix))
        return None
    inside = thin[found.mask].astype(np.float32)
    real = inside * np.float32(volume.slope) + np.float32(volume.intercept)
    low, median, high = (float(value) for value in np.percentile(real, (1, 50, 99)))
    counts, _ = np.histogram(real, BINS, (low, high if high > low else low + 1))
    look = Look(
        content_digest(volume),
        median,
        low,
        high,
        share=float(np.count_nonzero(found.mask)) / found.mask.size,
        box=_corners(box, affine),
        head=_corners(_dense_box(found.mask) or box, affine),
        histogram=tuple(int(count) for count in counts),
    )
    header = read_header(scan.path)
    voxel_bytes = volume.array.dtype.itemsize if header is None else header.voxel_bytes
    return Seen(_facts(scan, volume, voxel_bytes, look), found.mask, affine)


def _dense_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the box around voxels most of whose neighbours are foreground."""
    dense = ndimage.uniform_filter(mask.astype(np.float32), 3, mode="nearest") > 0.5
    start, stop = [], []
    for axis in range(3):
        counts = np.count_nonzero(dense, axis=tuple(other for other in range(3) if other != axis))
        places = np.flatnonzero(counts > _DENSE_SHARE * mask.size / mask.shape[axis])
        if not places.size:
            return None
        start.append(int(places[0]))
        stop.append(int(places[-1]) + 1)
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def _corners(box: Box, affine: Affine) -> Corners:
    ends = [(begin - 0.5, end - 0.5) for begin, end in zip(*box, strict=True)]
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*ends, indexing="ij")])
    world = affine[:3, :3] @ grid + affine[:3, 3:]
    (x, y, z), (far_x, far_y, far_z) = world.min(axis=1).tolist(), world.max(axis=1).tolist()
    return (x, y, z), (far_x, far_y, far_z)


def _facts(scan: Scan, volume: Volume, voxel_bytes: int, look: Look | None) -> ScanFacts:
    x, y, z = volume.shape
    affine = tuple(tuple(float(value) for value in row) for row in volume.affine)
    num_bytes = scan.path.stat().st_size
    return ScanFacts(scan.modality, scan.path, num_bytes, (x, y, z), affine, voxel_bytes, look)
