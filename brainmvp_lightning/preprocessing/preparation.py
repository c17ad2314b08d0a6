"""From the files of one study to its frames in the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.preprocessing.checks import read_label
from brainmvp_lightning.preprocessing.foreground import join_boxes
from brainmvp_lightning.preprocessing.geometry import Box, Grid, orientation_of
from brainmvp_lightning.preprocessing.intensity import (
    Quantised,
    all_percentiles,
    count_levels,
    quantise,
)
from brainmvp_lightning.preprocessing.layout import in_c_order
from brainmvp_lightning.preprocessing.memory import keep_freed_memory
from brainmvp_lightning.preprocessing.placement import (
    PlacedScan,
    Placement,
    place_scans,
    volume_notes,
)
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.resampling import place, shared_by
from brainmvp_lightning.studies.manifest import portable_path
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.blocks import encode_blocks
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume
from brainmvp_lightning.volumes.records import CachedScan, CachedStudy
from brainmvp_lightning.volumes.transform import Affine
from brainmvp_lightning.volumes.writer import write_frame


@dataclass(frozen=True)
class Prepared:
    """What became of a study.

    Args:
        study: The stored study; None if no scan was usable.
        problems: Files set aside, and oddities that were handled.
    """

    study: CachedStudy | None
    problems: tuple[Problem, ...]


def prepare_study(study: Study, recipe: Recipe, root: Path) -> Prepared:
    """Bring all scans of a study onto one grid, crop them to the head and store them.

    Scans that cannot be used are set aside; the others go on. The process keeps up to 256 MiB of
    freed memory from then on.

    Args:
        study: What to prepare.
        recipe: How.
        root: Cache folder.

    Raises:
        CacheWriteError: If the cache cannot be written.
    """
    keep_freed_memory()
    problems: list[Problem] = []
    placement = place_scans(study, recipe, problems)
    if placement is None:
        return Prepared(None, tuple(problems))
    margin = int(np.ceil(recipe.margin_mm / recipe.spacing_mm))
    box = join_boxes([scan.box for scan in placement.scans], margin, placement.grid.shape)
    head = np.zeros(np.subtract(box[1], box[0]), np.bool_)
    scans = []
    while placement.scans:  # whole volumes are large: drop each as soon as it is stored
        scans.append(_store_image(placement.scans.pop(0), study, box, head, recipe, root))
    label = _store_label(study, placement, box, recipe, root, problems)
    stored = _record(study, placement.grid, box, scans, label, encode_blocks(head))
    return Prepared(stored, tuple(problems))


def fingerprint(path: Path) -> list[int] | None:
    """Return size and modification time of a file, or None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _source(
    path: Path, volume: Volume, root: Path, *, is_exact: bool, to_study: Affine
) -> dict[str, Any]:
    size, mtime_ns = fingerprint(path) or (0, 0)
    source = {
        "path": portable_path(path, root),
        "size": size,
        "mtime_ns": mtime_ns,
        "shape": list(volume.shape),
        "affine": volume.affine.tolist(),
        "axcodes": "".join(nib.orientations.ornt2axcodes(orientation_of(volume.affine))),
        "is_resampled": not is_exact,
        "notes": list(volume.notes),
    }
    if not np.array_equal(to_study, np.eye(4)):
        source["to_study"] = to_study.tolist()
    return source


def _store_image(
    image: PlacedScan,
    study: Study,
    box: Box,
    head: NDArray[np.bool_],
    recipe: Recipe,
    root: Path,
) -> CachedScan:
    """Store a scan and add its head to that of the study."""
    placed = image.voxels(box, recipe)
    mask = image.head(box)
    np.logical_or(head, mask, out=head)
    stored = quantise(placed.array, placed.slope, placed.intercept, mask)
    is_flat = image.is_flat and placed.is_exact
    source = _source(
        image.scan.path,
        image.volume,
        root,
        is_exact=placed.is_exact,
        to_study=image.to_study,
    )
    if image.scan.volumes:
        source["volumes"] = list(image.scan.volumes)
    record = _write(root, study, image.scan.modality, stored, source)
    percentiles = all_percentiles(stored, mask, is_flat=is_flat)
    return replace(record, background=image.background, percentiles=percentiles)


@dataclass(frozen=True)
class _StoredLabel:
    """A stored annotation, the values above 0 that it holds, and where it is not 0."""

    record: CachedScan
    values: tuple[int, ...]
    blocks: str


def _store_label(
    study: Study,
    placement: Placement,
    box: Box,
    recipe: Recipe,
    root: Path,
    problems: list[Problem],
) -> _StoredLabel | None:
    if study.label is None:
        return None
    grid = placement.grid
    try:
        volume = read_label(study.label)
        moved = replace(volume, affine=placement.world @ volume.affine)
        overlap = shared_by(moved, grid)
        if overlap < recipe.min_overlap:
            reason = f"it shares only {overlap:.0%} of its field of view with the scans"
            raise VolumeError(str(study.label), reason, "correct its header")
    except VolumeError as error:
        problems.append(Problem(study.id, error.file, f"label: {error.reason}", error.remedy))
        return None
    problems += volume_notes(study, study.label, volume)
    placed = place(moved, grid, outside=0, interpolation="nearest", box=box)
    voxels = in_c_order(placed.array)
    source = _source(
        study.label,
        volume,
        root,
        is_exact=placed.is_exact,
        to_study=placement.world,
    )
    record = _write(root, study, "label", Quantised(voxels, 1.0, 0.0, 0.0), source)
    first, counts = count_levels(voxels.ravel())
    values = (first + np.flatnonzero(counts)).tolist()
    return _StoredLabel(record, tuple(v for v in values if v > 0), encode_blocks(voxels != 0))


def _write(
    root: Path, study: Study, name: str, stored: Quantised, source: dict[str, Any]
) -> CachedScan:
    notes = {"study": study.id, "name": name, "slope": stored.slope, "intercept": stored.intercept}
    file, digest, num_bytes = write_frame(root, study.id, name, stored.array, notes)
    return CachedScan(
        modality=name,
        file=file,
        digest=digest,
        num_bytes=num_bytes,
        dtype=stored.array.dtype.name,
        slope=stored.slope,
        intercept=stored.intercept,
        quantisation_error=stored.error,
        background=0.0,
        percentiles={},
        source=source,
    )


def _record(
    study: Study,
    grid: Grid,
    box: Box,
    scans: list[CachedScan],
    label: _StoredLabel | None,
    head_blocks: str,
) -> CachedStudy:
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.asarray(box[0])
    start, stop = box
    return CachedStudy(
        id=study.id,
        dataset=study.dataset,
        patient=study.patient,
        session=study.session,
        split=study.split,
        target_class=study.target_class,
        shape=(stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]),
        affine=tuple(tuple(row) for row in affine.tolist()),
        box_start=start,
        box_stop=stop,
        full_shape=grid.shape,
        scans=tuple(scans),
        label=label.record if label else None,
        label_scheme=study.label_scheme,
        label_values=label.values if label else (),
        head_blocks=head_blocks,
        label_blocks=label.blocks if label else "",
    )
