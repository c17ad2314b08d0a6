"""How far scans of one study lie apart before and after `recipe.registration: rigid`.

The scans are those of the synthetic cohort (see ``configs/prepare/demo.yaml``), whose motion
between series is written beside each file. Errors are mean distances over a head, in millimetres,
between where a point of the scan comes to lie and where it belongs.

Run: python benchmarks/registration.py [--root data/demo] [--studies 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from recording import record
from timing import print_table

from brainmvp_lightning.adapters.bids import BidsAdapter
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.steps import apply_steps
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.nifti import read_nifti
from brainmvp_lightning.volumes.transform import Affine

RECIPE = Recipe(registration="rigid")


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data/demo"))
    parser.add_argument("--studies", type=int, default=5, help="studies of each kind")
    options = parser.parse_args()
    vocabulary = ModalityVocabulary()
    scans = BidsAdapter(root=str(options.root)).scans(vocabulary)
    studies = Manifest(tuple(scans)).validate().studies(modalities=vocabulary.names)
    studies = [study for study in studies if len(study.scans) > 1]
    moved = [study for study in studies if _has_motion(study)]
    still = [study for study in studies if not _has_motion(study)]
    rows = []
    for name, group in (("moved", moved), ("on one grid", still)):
        measured = [row for study in group[: options.studies] for row in _measure(study)]
        rows.append(_summary(name, measured))
    print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    record("registration", f"python benchmarks/registration.py --studies {options.studies}", rows)


def _motion(path: Path) -> Affine:
    sidecar = path.with_name(f"{path.name.split('.')[0]}.json")
    return np.array(json.loads(sidecar.read_text())["RigidMotionMatrix"])


def _has_motion(study: Study) -> bool:
    return any(not np.array_equal(_motion(scan.path), np.eye(4)) for scan in study.scans)


def _measure(study: Study) -> list[dict[str, float]]:
    volumes = {scan: read_nifti(scan.path) for scan in study.scans}
    problems: list[Problem] = []
    started = time.perf_counter()
    stepped = apply_steps(study, volumes, RECIPE, problems)
    seconds = (time.perf_counter() - started) / (len(volumes) - 1)
    reference = min(volumes, key=lambda scan: RECIPE.reference.index(scan.modality))
    to_reference = np.linalg.inv(_motion(reference.path))
    rows = []
    for scan in stepped.volumes:
        if scan is reference:
            continue
        truth = to_reference @ _motion(scan.path)
        found = stepped.to_study[scan]
        row = {"before": _distance_mm(np.eye(4), truth), "after": _distance_mm(found, truth)}
        rows.append({**row, "kept": float(np.array_equal(found, np.eye(4))), "seconds": seconds})
    return rows + [{"failed": 1.0} for problem in problems if not problem.is_handled]


def _distance_mm(first: Affine, second: Affine) -> float:
    points = np.random.default_rng(0).normal(0, 40, (500, 3))
    moved = [points @ matrix[:3, :3].T + matrix[:3, 3] for matrix in (first, second)]
    return float(np.linalg.norm(moved[0] - moved[1], axis=1).mean())


def _summary(name: str, measured: list[dict[str, float]]) -> dict[str, Any]:
    done = [row for row in measured if "failed" not in row]
    return {
        "scans": name,
        "num": len(done),
        "mean before mm": statistics.mean(row["before"] for row in done),
        "mean after mm": statistics.mean(row["after"] for row in done),
        "largest after mm": max(row["after"] for row in done),
        "header kept": int(sum(row["kept"] for row in done)),
        "set aside": len(measured) - len(done),
        "s per scan": statistics.median(row["seconds"] for row in done),
    }


if __name__ == "__main__":
    main()
