"""From the files of one study to its frames in the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from brainmvp_lightning.preprocessing.checks import read_label
from brainmvp_lightning.preprocessing.foreground import join_boxes
from brainmvp_lightning.preprocessing.geometry import Box, Grid
from brainmvp_lightning.preprocessing.intensity import Quantised, all_percentiles, quantise
from brainmvp_lightning.preprocessing.placement import PlacedScan, place_scans, volume_notes
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.resampling import Placed, place
from brainmvp_lightning.studies.manifest import portable_path
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume
from brainmvp_lightning.volumes.records import CachedScan, CachedStudy
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

    Scans that cannot be used are set aside; the others go on.

    Args:
        study: What to prepare.
        recipe: How.
        root: Cache folder.

    Raises:
        CacheWriteError: If the cache cannot be written.
    """
    problems: list[Problem] = []
    found = place_scans(study, recipe, problems)
    if found is None:
        return Prepared(None, tuple(problems))
    grid, images = found
    margin = int(np.ceil(recipe.margin_mm / recipe.spacing_mm))
    box = join_boxes([image.box for image in images], margin, grid.shape)
    stored = tuple(_store_image(image, study, box, root) for image in images)
    label = _store_label(study, grid, box, recipe, root, problems)
    return Prepared(_record(study, grid, box, stored, label), tuple(problems))


def fingerprint(path: Path) -> list[int] | None:
    """Return size and modification time of a file, or None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _source(path: Path, volume: Volume, placed: Placed, root: Path) -> dict[str, Any]:
    size, mtime_ns = fingerprint(path) or (0, 0)
    return {
        "path": portable_path(path, root),
        "size": size,
        "mtime_ns": mtime_ns,
        "shape": list(volume.shape),
        "affine": volume.affine.tolist(),
        "axcodes": "".join(nib.aff2axcodes(volume.affine)),
        "is_resampled": not placed.is_exact,
        "notes": list(volume.notes),
    }


def _cut(box: Box) -> tuple[slice, slice, slice]:
    (x, y, z), (x_stop, y_stop, z_stop) = box
    return slice(x, x_stop), slice(y, y_stop), slice(z, z_stop)


def _store_image(image: PlacedScan, study: Study, box: Box, root: Path) -> CachedScan:
    placed = image.placed
    mask = image.mask[_cut(box)]
    source = _source(image.scan.path, image.volume, placed, root)
    stored = quantise(placed.array[_cut(box)], placed.slope, placed.intercept, mask)
    record = _write(root, study, image.scan.modality, stored, source)
    return replace(record, background=image.background, percentiles=all_percentiles(stored, mask))


def _store_label(
    study: Study, grid: Grid, box: Box, recipe: Recipe, root: Path, problems: list[Problem]
) -> CachedScan | None:
    if study.label is None:
        return None
    try:
        volume = read_label(study.label)
        placed = place(volume, grid, outside=0.0, interpolation="nearest")
        if placed.overlap < recipe.min_overlap:
            reason = f"it shares only {placed.overlap:.0%} of its field of view with the scans"
            raise VolumeError(str(study.label), reason, "correct its header")
    except VolumeError as error:
        problems.append(Problem(study.id, error.file, f"label: {error.reason}", error.remedy))
        return None
    problems += volume_notes(study, study.label, volume)
    stored = Quantised(placed.array[_cut(box)], 1.0, 0.0, 0.0)
    return _write(root, study, "label", stored, _source(study.label, volume, placed, root))


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
    study: Study, grid: Grid, box: Box, scans: tuple[CachedScan, ...], label: CachedScan | None
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
        scans=scans,
        label=label,
    )
