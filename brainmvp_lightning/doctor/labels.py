"""What an annotation holds, and whether that fits its scheme and its scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainmvp_lightning.doctor.facts import LabelFacts
from brainmvp_lightning.doctor.findings import Finding, Severity
from brainmvp_lightning.doctor.geometry import overlap_of, share_inside
from brainmvp_lightning.doctor.reading import Seen, content_digest
from brainmvp_lightning.preprocessing.checks import read_label
from brainmvp_lightning.preprocessing.geometry import Grid
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.labels import LabelScheme
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import Volume

MIN_INSIDE = 0.9  # of a label, within the head of the reference scan
_MAX_POINTS = 20_000


def look_at_label(
    study: Study, schemes: Mapping[str, LabelScheme], reference: Seen, grid: Grid, recipe: Recipe
) -> tuple[LabelFacts | None, list[Finding]]:
    """Read the annotation of a study and compare it with its scheme and its reference scan.

    Returns:
        The annotation, or None if it cannot be used, and what was found.
    """
    assert study.label is not None
    file = str(study.label)
    try:
        volume = read_label(study.label)
    except VolumeError as error:
        return None, [Finding("label", "error", study.id, file, error.reason, error.remedy)]
    values = tuple(int(value) for value in np.unique(volume.array) if value != 0)
    findings = check_values(values, study, schemes)
    facts = LabelFacts(study.label, values, content_digest(volume))
    share = overlap_of(volume.shape, volume.affine.tolist(), grid)
    if share < recipe.min_overlap:
        text = f"the label shares only {share:.0%} of its field of view with the reference scan"
        findings.append(Finding("label", "error", study.id, file, text, "correct its header"))
        return None, findings
    findings += _check_place(volume, study, reference) if values else []
    return facts, findings


def check_values(
    values: tuple[int, ...], study: Study, schemes: Mapping[str, LabelScheme]
) -> list[Finding]:
    """Find values of an annotation that its scheme does not know."""
    file = str(study.label)
    scheme = schemes.get(study.label_scheme or "")
    unknown = scheme.unknown_values(values) if scheme else ()
    if scheme is None or not unknown:
        return []
    known = ", ".join(f"{value} {part}" for part, value in scheme.values.items())
    text = (
        f"the label holds {_listed(unknown)}, which {scheme.name} does not know (it knows {known})"
    )
    fitting = fitting_schemes(values, schemes)
    fix = (
        f"set label_scheme to {' or '.join(fitting)}, or correct the label"
        if fitting
        else f"define a scheme for {_listed(values)}, or correct the label"
    )
    return [Finding("label_values", "error", study.id, file, text, fix)]


def fitting_schemes(values: Sequence[int], schemes: Mapping[str, LabelScheme]) -> list[str]:
    """Return the schemes that know all values, those with the fewest structures first."""
    fitting = [scheme for scheme in schemes.values() if not scheme.unknown_values(tuple(values))]
    fewest = min((len(scheme.values) for scheme in fitting), default=0)
    return [scheme.name for scheme in fitting if len(scheme.values) == fewest]


def check_mask(path: Path, study: str, recipe: Recipe) -> list[Finding]:
    """Find a brain mask that cannot be read or is empty; an error if the recipe uses it."""
    severity: Severity = "error" if recipe.brain_mask == "file" else "warning"
    try:
        volume = read_label(path)
    except VolumeError as error:
        return [Finding("brain_mask", severity, study, error.file, error.reason, error.remedy)]
    if volume.array.any():
        return []
    text, fix = "the brain mask is empty", "make it again or leave it out"
    return [Finding("brain_mask", severity, study, str(path), text, fix)]


def check_files(paths: Sequence[Path], study: str) -> list[Finding]:
    """Find labels and brain masks that are not there, without reading them."""
    return [
        Finding("missing", "error", study, str(path), "there is no such file", "correct the path")
        for path in paths
        if not path.is_file()
    ]


def _check_place(volume: Volume, study: Study, reference: Seen) -> list[Finding]:
    findings = []
    file = str(study.label)
    same_shape = tuple(volume.shape) == reference.facts.shape
    if not same_shape or not np.allclose(volume.affine, reference.facts.affine, atol=0.05):
        text = f"the label is not on the grid of the reference scan ({reference.facts.modality})"
        fix = "nothing: it is resampled to the nearest voxel"
        findings.append(Finding("label_grid", "note", study.id, file, text, fix))
    if reference.head is None:
        return findings
    voxels = np.argwhere(volume.array)
    voxels = voxels[:: max(1, len(voxels) // _MAX_POINTS)].T.astype(np.float64)
    points = volume.affine[:3, :3] @ voxels + volume.affine[:3, 3:]
    inside = share_inside(points, reference.head, reference.affine)
    if inside < MIN_INSIDE:  # dark lesions may be holes in the head
        filled = ndimage.binary_fill_holes(reference.head)
        inside = share_inside(points, filled, reference.affine)
    if inside < MIN_INSIDE:
        text = f"only {inside:.0%} of the label lies within the head of the reference scan"
        fix = "check that it belongs to this patient and that its header is right"
        findings.append(Finding("label_place", "warning", study.id, file, text, fix))
    return findings


def _listed(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:8])
    return f"{shown} ..." if len(values) > 8 else shown
