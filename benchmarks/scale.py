"""Ten thousand studies: time to open the cache, and memory of a training that streams from it.

All entries point at the frames of a few small studies. Memory is the proportional set size, which
counts a page that n processes share as 1/n in each.

Run: python benchmarks/scale.py [--studies 10000] [--batches 3000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import torch
from recording import record
from timing import print_table

from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.volumes.blocks import encode_blocks
from brainmvp_lightning.volumes.cache import PERCENTILE_KEYS, Cache, CachedScan, CachedStudy
from brainmvp_lightning.volumes.writer import CacheWriter, write_frame

SHAPE = (32, 32, 32)
MODALITIES = ("flair", "t1", "t2")
WORKERS = 2
PARTS = 6


def make_cache(folder: Path, num_studies: int) -> None:
    """Write an index as long as asked for over the frames of one study."""
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    values = {key: float(40 * number) for number, key in enumerate(PERCENTILE_KEYS)}
    writer = CacheWriter(folder, {}, "scale")
    scans = []
    for modality in MODALITIES:
        file, digest, num_bytes = write_frame(folder, "study", modality, voxels, {})
        source = {
            "path": f"../data/sub-00001/anat/sub-00001_{modality}.nii.gz",
            "size": 2_000_000,
            "mtime_ns": 1_700_000_000_000_000_000,
            "shape": [240, 240, 155],
            "affine": np.eye(4).tolist(),
            "axcodes": "LPS",
            "notes": [],
        }
        percentiles = {"foreground": values, "volume": values}
        scans.append(
            CachedScan(
                modality, file, digest, num_bytes, "int16", 1.0, 0.0, 0.0, 0.0, percentiles, source
            )
        )
    first = CachedStudy(
        id="",
        dataset="",
        patient="",
        session="",
        split="train",
        target_class=None,
        shape=SHAPE,
        affine=tuple(tuple(row) for row in np.eye(4).tolist()),
        box_start=(0, 0, 0),
        box_stop=SHAPE,
        full_shape=SHAPE,
        scans=tuple(scans),
        label=None,
        # As long as that of a real head: about 20 x 20 x 18 blocks.
        head_blocks=encode_blocks(np.random.default_rng(0).random((140, 160, 140)) > 0.997),
    )
    studies = [
        replace(first, id=f"d{n % 16}_{n}", dataset=f"d{n % 16}", patient=str(n))
        for n in range(num_studies)
    ]
    writer.commit(studies, MODALITIES, 1.0, 0)


def memory_mb(process: int | str | None = "self") -> tuple[float, float]:
    """Return the resident and the proportional set size of a process."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    fields = {line.split(":")[0]: int(line.split()[1]) / 1e3 for line in lines}
    return fields["Rss"], fields["Pss"]


def open_s(folder: Path) -> float:
    """Return the seconds it takes to open the cache and to choose the studies of a training."""
    start = time.perf_counter()
    data = PretrainDataModule(str(folder))
    data.describe()
    data.studies("train")
    return time.perf_counter() - start


def memory_over_time(folder: Path, num_batches: int) -> Iterator[tuple[int, float, float, float]]:
    """Yield batches read, PSS of the training process, PSS and RSS of a worker (their means)."""
    data = PretrainDataModule(str(folder), (16, 16, 16), 4, WORKERS)
    data.visits_per_epoch = 1 + 4 * num_batches // len(data.cache.studies)
    for count, batch in enumerate(data.train_dataloader(), 1):
        batch.unpack()
        if count % (num_batches // PARTS) == 0:
            workers = [memory_mb(worker.pid) for worker in active_children()]
            rss, pss = (statistics.mean(column) for column in zip(*workers, strict=True))
            yield count, memory_mb()[1], pss, rss
        if count == num_batches:
            return


def main() -> None:
    """Print and record time and memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=3_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_cache(folder, options.studies)
        times = [open_s(folder) for _ in range(5)]
        before = memory_mb()[0]
        cache = Cache.open(folder)
        opened = memory_mb()[0] - before
        size = sum(file.stat().st_size for file in folder.glob("studies-*.bin")) / 1e6
        del cache
        rows = [
            {
                "batches": batches,
                "training_pss_mb": round(training, 1),
                "worker_pss_mb": round(pss, 1),
                "worker_rss_mb": round(rss, 1),
            }
            for batches, training, pss, rss in memory_over_time(folder, options.batches)
        ]
    opening_s = round(statistics.median(times), 3)
    print(f"{options.studies} studies: opened in {opening_s} s; index of {size:.1f} MB, of which")
    print(f"{opened:.1f} MB became resident, shared by all processes\n")
    header = ("batches", "training PSS MB", "worker PSS MB", "worker RSS MB")
    print_table(header, [tuple(row.values()) for row in rows])
    growth = rows[-1]["worker_pss_mb"] - rows[0]["worker_pss_mb"]
    print(f"\ngrowth of a worker over the last {rows[-1]['batches'] - rows[0]['batches']:.0f}")
    print(f"batches: {growth:.1f} MB")
    record(
        "scale",
        f"python benchmarks/scale.py --studies {options.studies} --batches {options.batches}",
        rows,
        studies=options.studies,
        scans=len(MODALITIES) * options.studies,
        opening_s=opening_s,
        index_mb=round(size, 1),
        resident_after_opening_mb=round(opened, 1),
        worker_growth_mb=round(growth, 1),
    )


if __name__ == "__main__":
    main()
