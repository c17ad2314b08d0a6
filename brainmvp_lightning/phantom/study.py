"""One study: a person, scanned in several contrasts, written as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainmvp_lightning.phantom.acquisition import acquire
from brainmvp_lightning.phantom.anatomy import Anatomy
from brainmvp_lightning.phantom.bids import (
    label_path,
    scan_path,
    write_image,
    write_json,
    write_label,
    write_text,
)
from brainmvp_lightning.phantom.body import Body
from brainmvp_lightning.phantom.contrasts import Scanner, draw_texture, render
from brainmvp_lightning.phantom.fields import generator
from brainmvp_lightning.phantom.grids import resample
from brainmvp_lightning.phantom.person import draw_person
from brainmvp_lightning.phantom.plan import StudyPlan
from brainmvp_lightning.phantom.sequences import DiffusionEcho, draw_protocols
from brainmvp_lightning.phantom.sites import Placement, place_series
from brainmvp_lightning.phantom.tissues import personal_tissues


def write_study(
    plan: StudyPlan, anatomy: Anatomy, seed: int, scans_root: Path, labels_root: Path
) -> None:
    """Draw a person and write all files of the study.

    Args:
        plan: What to write.
        anatomy: Template; its spacing is the resolution of the study.
        seed: Of the cohort.
        scans_root: Folder that gets the participant's folder of images.
        labels_root: Folder that gets the participant's folder with the label map.
    """
    body = draw_person(anatomy, plan.diagnosis, plan.is_old, seed, plan.index)
    scanner = _draw_scanner(plan, body, seed)
    spacing_mm = float(anatomy.grid.spacing_mm[0])
    rng = generator(seed, plan.index, "placement")
    placements = place_series(plan.site, plan.modalities, spacing_mm, rng)
    for modality in plan.modalities:
        rng = generator(seed, plan.index, modality)
        image = render(body, scanner, modality, rng)
        placement = placements[modality]
        values = acquire(image, body, placement, modality, plan.site.is_stripped, rng)
        path = scans_root / scan_path(plan, modality)
        write_image(path, values, placement.grid, plan.site.file_format)
        _write_sidecars(path, plan, scanner, modality, placement)
    _write_lesion(plan, body, placements[plan.reference], labels_root)


def _draw_scanner(plan: StudyPlan, body: Body, seed: int) -> Scanner:
    rng = generator(seed, plan.index, "scanner")
    site = plan.site
    return Scanner(
        site.field_tesla,
        personal_tissues(site.field_tesla, rng),
        draw_protocols(site.field_tesla, site.t1_kind, rng),
        draw_texture(body.grid, rng),
    )


def _write_sidecars(
    path: Path, plan: StudyPlan, scanner: Scanner, modality: str, placement: Placement
) -> None:
    """Write the JSON beside an image and, for DWI, its diffusion weighting."""
    stem = path.name.split(".")[0]
    content: dict[str, Any] = {
        "MagneticFieldStrength": plan.site.field_tesla,
        "SkullStripped": plan.site.is_stripped,
        "RigidMotionMatrix": np.round(placement.motion, 6).tolist(),
    }
    if modality in scanner.sequences:
        parameters = scanner.sequences[modality].sidecar()
        content |= {name: round(value, 6) for name, value in parameters.items()}
    if modality == "t1ce":
        content["ContrastBolusIngredient"] = "GADOLINIUM"
    write_json(path.with_name(f"{stem}.json"), content)
    sequence = scanner.sequences.get(modality)
    if isinstance(sequence, DiffusionEcho):
        write_text(path.with_name(f"{stem}.bval"), f"{sequence.b_value:g}\n")
        write_text(path.with_name(f"{stem}.bvec"), "0\n0\n0\n")


def _write_lesion(plan: StudyPlan, body: Body, placement: Placement, labels_root: Path) -> None:
    lesion = resample(body.lesion, body.grid, placement.grid, placement.motion, order=0)
    path = labels_root / label_path(plan)
    write_label(path, lesion, placement.grid)
    reference = scan_path(plan, plan.reference).as_posix()
    name = path.name.removesuffix(".nii.gz")
    write_json(path.with_name(f"{name}.json"), {"SpatialReference": reference, "Manual": False})
