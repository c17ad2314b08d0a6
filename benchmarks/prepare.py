"""`prepare_study`, file to stored frame, against the MONAI chain that published code uses.

MONAI: LoadImage, EnsureChannelFirst, Orientation RAS, Spacing (bilinear), CropForeground,
ScaleIntensityRangePercentiles (1 to 99, clipped to [0, 1]), each scan on its own; once without and
once with writing what comes out with `torch.save`, as PersistentDataset does, and once without
writing but with the setting of the C library that ours makes for itself (`keep_freed_memory`).
Ours always includes compression, writing and fsync, both kinds of percentiles, and one grid and
box for the study.

Times are those of the processor, one thread, in turns, each rival in a process of its own that is
warm. The differences are those of the images in [0, 1]: ours as training reads them, clipped by
the percentiles over all that is stored, which is what MONAI takes them over. Where voxels are
resampled, MONAI's Spacing begins its grid at another place, so its SpatialResample onto our grid
is compared instead.

Run: python benchmarks/prepare.py [--rounds 3] [--spacing 1]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    ScaleIntensityRangePercentilesd,
    Spacingd,
    SpatialResample,
)
from prepare_scans import Case, write_studies
from recording import record
from timing import describe, print_table

from brainmvp_lightning.preprocessing.memory import keep_freed_memory
from brainmvp_lightning.preprocessing.preparation import prepare_study
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.study import Study
from brainmvp_lightning.volumes.frame import decode_crop, read_frame
from brainmvp_lightning.volumes.records import CachedScan, CachedStudy, Clip

KEY = "image"
CLIP = Clip(1.0, 99.0, over="volume")
# Functions whose times, with all that they call, make up nearly all of a study, in order.
STEPS = {
    "open_nifti": "read, gunzip",
    "trim": "find and turn what is not 0",
    "_place_scan": "head mask and box",
    "voxels": "cut or resample",
    "quantise": "quantise",
    "all_percentiles": "percentiles",
    "encode_frame": "compress",
    "write_bytes": "write, fsync",
}


def official_chain(spacing_mm: float) -> Compose:
    """Return the chain of the published pre-training code."""
    return Compose(
        [
            LoadImaged(KEY),
            EnsureChannelFirstd(KEY),
            Orientationd(KEY, axcodes="RAS"),
            Spacingd(KEY, (spacing_mm,) * 3, mode="bilinear"),
            CropForegroundd(KEY, source_key=KEY),
            _scale(),
        ]
    )


def _scale() -> ScaleIntensityRangePercentilesd:
    return ScaleIntensityRangePercentilesd(KEY, 1, 99, 0, 1, clip=True)


def run_ours(study: Study, spacing_mm: float, folder: Path) -> None:
    """Prepare a study as we do."""
    prepare_study(study, Recipe(spacing_mm=spacing_mm), folder)


def run_monai(study: Study, spacing_mm: float, _folder: Path) -> None:
    """Prepare a study with MONAI and keep nothing."""
    chain = official_chain(spacing_mm)
    for scan in study.scans:
        chain({KEY: str(scan.path)})


def run_monai_written(study: Study, spacing_mm: float, folder: Path) -> None:
    """Prepare a study with MONAI and store it."""
    chain = official_chain(spacing_mm)
    for scan in study.scans:
        torch.save(chain({KEY: str(scan.path)}), folder / f"{scan.modality}.pt")


def run_monai_kept(study: Study, spacing_mm: float, folder: Path) -> None:
    """Prepare a study with MONAI in a process that keeps its memory, as ours does."""
    keep_freed_memory()
    run_monai(study, spacing_mm, folder)


Run = Callable[[Study, float, Path], None]
RIVALS: dict[str, Run] = {
    "ours": run_ours,
    "monai": run_monai,
    "monai_written": run_monai_written,
    "monai_kept": run_monai_kept,
}


def cpu_ms_of(run: Run, study: Study, spacing_mm: float, folder: Path) -> float:
    """Return the processor's time for one run."""
    torch.set_num_threads(1)
    start = time.process_time()
    run(study, spacing_mm, folder)
    return 1e3 * (time.process_time() - start)


def take_turns(study: Study, spacing_mm: float, rounds: int, folder: Path) -> dict[str, float]:
    """Return the median of each rival; the first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in RIVALS}
    with ExitStack() as stack:
        spawn = get_context("spawn")
        workers = {
            name: stack.enter_context(
                ProcessPoolExecutor(1, spawn, warnings.simplefilter, ("ignore",))
            )
            for name in RIVALS
        }
        for _ in range(rounds + 1):
            for name, run in RIVALS.items():
                future = workers[name].submit(cpu_ms_of, run, study, spacing_mm, folder)
                taken[name].append(future.result())
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def breakdown(run: Callable[[], object]) -> dict[str, float]:
    """Return the share of each step in one profiled run, percent."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(run)
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    shares = dict.fromkeys(STEPS.values(), 0.0)
    for (file, _, function), (_, _, _, cumulative, _) in stats.items():
        if function in STEPS and "brainmvp_lightning" in file:
            shares[STEPS[function]] += 100 * cumulative / total
    return {**shares, "the rest": 100 - sum(shares.values())}


def differences(study: Study, stored: CachedStudy, spacing_mm: float, root: Path) -> list[float]:
    """Return the largest and the mean difference to MONAI of the images in [0, 1]."""
    largest, means = 0.0, []
    for scan, record_ in zip(study.scans, stored.scans, strict=True):
        if record_.source["is_resampled"]:
            theirs, start = _on_our_grid(str(scan.path), stored), np.zeros(3, int)
        else:
            result = official_chain(spacing_mm)({KEY: str(scan.path)})[KEY]
            theirs = result.numpy()[0]
            offset = result.affine.numpy()[:3, 3] - np.array(stored.affine)[:3, 3]
            start = np.rint(offset / spacing_mm).astype(int)
        ours = _unit_image(record_, stored, root)
        first, last = np.maximum(start, 0), np.minimum(start + theirs.shape, ours.shape)
        common = [tuple(map(slice, first - o, last - o)) for o in (np.zeros(3, int), start)]
        distance = np.abs(ours[common[0]] - theirs[common[1]])
        largest = max(largest, float(distance.max()))
        means.append(float(distance.mean()))
    return [largest, float(np.mean(means))]


def _on_our_grid(path: str, stored: CachedStudy) -> np.ndarray:
    read = Compose([LoadImaged(KEY), EnsureChannelFirstd(KEY), Orientationd(KEY, axcodes="RAS")])
    move = SpatialResample(mode="bilinear", padding_mode="border")
    affine = torch.tensor(stored.affine, dtype=torch.float64)
    moved = move(read({KEY: path})[KEY], dst_affine=affine, spatial_size=stored.shape)
    image: np.ndarray = _scale()({KEY: moved})[KEY].numpy()[0]
    return image


def _unit_image(scan: CachedScan, stored: CachedStudy, root: Path) -> np.ndarray:
    frame = read_frame(root / scan.file, scan.digest)
    low, high = scan.bounds(CLIP)
    real = decode_crop(frame, (0, 0, 0), stored.shape) * scan.slope + scan.intercept
    image: np.ndarray = np.clip((real - low) / (high - low), 0, 1)
    return image


def measure(case: Case, study: Study, spacing_mm: float, rounds: int, root: Path) -> dict[str, Any]:
    """Return one row of results."""
    cpu_ms = take_turns(study, spacing_mm, rounds, root)
    stored = prepare_study(study, Recipe(spacing_mm=spacing_mm), root).study
    if stored is None:
        raise AssertionError("the benchmark's studies must be usable")
    largest, mean = differences(study, stored, spacing_mm, root)
    count = len(study.scans)
    sizes = [Path(root / f"{scan.modality}.pt").stat().st_size for scan in study.scans]
    return {
        "name": case.name,
        "num_scans": count,
        "stored_shape": list(stored.shape),
        **{f"{name}_cpu_ms": taken for name, taken in cpu_ms.items()},
        **{f"{name}_per_core_second": 1e3 * count / taken for name, taken in cpu_ms.items()},
        "ratio": cpu_ms["monai"] / cpu_ms["ours"],
        "ratio_written": cpu_ms["monai_written"] / cpu_ms["ours"],
        "ratio_kept": cpu_ms["monai_kept"] / cpu_ms["ours"],
        "largest_difference": largest,
        "mean_difference": mean,
        "ours_megabytes": sum(scan.num_bytes for scan in stored.scans) / 1e6,
        "monai_megabytes": sum(sizes) / 1e6,
        "steps_percent": breakdown(lambda: run_ours(study, spacing_mm, root)),
    }


def main() -> None:
    """Print volumes per core-second, their ratios, differences, and where our time goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spacing", type=float, default=1.0, help="edge of the voxels in mm")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        studies = write_studies(root)
        (root / "out").mkdir()
        rows = [
            measure(case, study, options.spacing, options.rounds, root / "out")
            for case, study in studies.items()
        ]
    _print(rows, options.rounds)
    command = (
        f"python benchmarks/prepare.py --rounds {options.rounds} --spacing {options.spacing:g}"
    )
    record("prepare", command, rows, rounds=options.rounds, spacing_mm=options.spacing)


def _print(rows: list[dict[str, Any]], rounds: int) -> None:
    print(f"\nVolumes per core-second, medians of {rounds} rounds, {describe('cpu')}\n")
    columns = {
        "study": "name",
        "scans": "num_scans",
        "ours": "ours_per_core_second",
        "MONAI": "monai_per_core_second",
        "ours / MONAI": "ratio",
        "MONAI, written": "monai_written_per_core_second",
        "ours / that": "ratio_written",
        "MONAI, memory kept": "monai_kept_per_core_second",
        "ours / this": "ratio_kept",
        "ours MB": "ours_megabytes",
        "MONAI MB": "monai_megabytes",
    }
    print_table(tuple(columns), [tuple(row[key] for key in columns.values()) for row in rows])
    print("\nDifferences of the images in [0, 1]\n")
    table = [
        (r["name"], f"{r['largest_difference']:.1e}", f"{r['mean_difference']:.1e}") for r in rows
    ]
    print_table(("study", "largest", "mean"), list(table))
    print("\nWhere our time goes, percent\n")
    steps = list(rows[0]["steps_percent"])
    shares = [(row["name"], *(row["steps_percent"][step] for step in steps)) for row in rows]
    print_table(("study", *steps), shares)


if __name__ == "__main__":
    main()
