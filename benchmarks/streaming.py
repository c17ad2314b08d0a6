"""Crops for each second of processor time: this package against the usual ways.

A sample is a target and a partner crop of one study of four modalities; batches of three, two
worker processes. All rivals deliver float32 in [0, 1] to the training process; compare them with
`ours, float32`. For a GPU this package delivers the stored integers, half as many bytes, and scales
on the device: work that the rows `int16 for the GPU` leave out. The processor time of the workers,
their start and end, and of the training process counts; a web server's does not. Rivals run in
turns.

Run: python benchmarks/streaming.py [--rounds 3] [--only ours]
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anatomy import MODALITIES, write_study
from recording import record
from timing import print_table
from torch.utils.data import DataLoader, Dataset

from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.volumes.cache import Cache

SIZE = (96, 96, 96)
BATCH = 3
WORKERS = 2
KEYS = tuple(MODALITIES)
NUM_STUDIES = 3
PERSISTENT = "MONAI PersistentDataset"
HTTP = "ours over HTTP, local copies, int16 for the GPU"


@dataclass(frozen=True)
class Rival:
    """A way to get samples."""

    samples: int
    """Taken in each round."""
    start: Callable[[], Iterator[Any]]
    """Begins a round; yields batches of `BATCH` samples, or of as many as `crops` says."""
    crops: int = 1
    """Samples of one visit to a study."""


class Repeated(Dataset[Any]):
    """Studies over and over, so that an epoch is as long as asked for."""

    def __init__(self, dataset: Any, length: int) -> None:  # noqa: ANN401 - any dataset
        self.dataset = dataset
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> Any:  # noqa: ANN401 - any sample
        return self.dataset[place % len(self.dataset)]


class Pair(Dataset[Any]):
    """Two of the modalities of a MONAI sample."""

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401 - any dataset
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> Any:  # noqa: ANN401 - two tensors
        sample = self.dataset[place]
        first, second = np.random.default_rng(place).permutation(len(sample["keys"]))[:2]
        return [sample[sample["keys"][k]].as_tensor() for k in (first, second)]


class Memmap(Dataset[Any]):
    """Crops of raw int16 arrays, the least that can be done."""

    def __init__(self, folder: Path, length: int) -> None:
        self.studies = [[folder / f"{n}_{key}.npy" for key in KEYS] for n in range(NUM_STUDIES)]
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> torch.Tensor:
        generator = np.random.default_rng(place)
        paths = self.studies[place % NUM_STUDIES]
        pair = [np.load(paths[k], mmap_mode="r") for k in generator.permutation(len(KEYS))[:2]]
        start = [generator.integers(0, n - m + 1) for n, m in zip(pair[0].shape, SIZE, strict=True)]
        x, y, z = (slice(s, s + m) for s, m in zip(start, SIZE, strict=True))
        return torch.from_numpy(np.stack([image[x, y, z] for image in pair]))


def monai_steps(keys: tuple[str, ...], *, is_random: bool) -> Any:  # noqa: ANN401 - MONAI
    """Return the usual chain, with or without its random end."""
    from monai import transforms as mt

    steps = [
        mt.LoadImaged(keys, ensure_channel_first=True),
        mt.Orientationd(keys, axcodes="RAS", labels=None),
        mt.Spacingd(keys, pixdim=(1.0, 1.0, 1.0)),
        mt.CropForegroundd(keys, source_key=keys[0], allow_smaller=True),
        mt.ScaleIntensityRangePercentilesd(keys, 1, 99, 0.0, 1.0, clip=True),
        mt.RandSpatialCropd(keys, SIZE, random_size=False),
    ]
    return mt.Compose(steps if is_random else steps[:-1])


def loader(dataset: Any, **options: Any) -> DataLoader[Any]:  # noqa: ANN401 - any dataset
    """Return torch's loader with the settings all rivals share."""
    return DataLoader(dataset, batch_size=BATCH, num_workers=WORKERS, **options)


def monai_plain(raw: list[dict[str, str]], samples: int, number: int = 4) -> Iterator[Any]:
    """Decode and normalise the whole study for each sample."""
    from monai.data import Dataset as MonaiDataset

    keys = KEYS[:number]
    items = [{**{key: study[key] for key in keys}, "keys": keys} for study in raw]
    data = Pair(Repeated(MonaiDataset(items, monai_steps(keys, is_random=True)), samples))
    yield from loader(data, collate_fn=stack_pairs)


def monai_persistent(raw: list[dict[str, str]], folder: Path, samples: int) -> Iterator[Any]:
    """Read pickles of the normalised study."""
    from monai.data import PersistentDataset

    items = [{**study, "keys": KEYS} for study in raw]
    data = PersistentDataset(items, monai_steps(KEYS, is_random=True), folder)
    yield from loader(Pair(Repeated(data, samples)), collate_fn=stack_pairs)


def stack_pairs(pairs: list[Any]) -> torch.Tensor:
    """Return ``b 2 x y z``."""
    return torch.stack([torch.cat(pair) for pair in pairs])


def torchio_queue(raw: list[dict[str, str]], samples: int, per_volume: int) -> Iterator[Any]:
    """Let TorchIO cut several patches of a study that it has decoded."""
    import torchio as tio

    subjects = [tio.Subject({key: tio.ScalarImage(study[key]) for key in KEYS}) for study in raw]
    steps = tio.Compose([tio.ToCanonical(), tio.RescaleIntensity((0, 1), percentiles=(1, 99))])
    repeated = [subjects[n % len(subjects)] for n in range(samples // per_volume)]
    queue = tio.Queue(
        tio.SubjectsDataset(repeated, steps),
        max_length=2 * per_volume,
        samples_per_volume=per_volume,
        sampler=tio.UniformSampler(SIZE),
        num_workers=WORKERS,
    )
    for batch in tio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0):
        yield torch.cat([batch[key][tio.DATA] for key in KEYS[:2]], dim=1)


def memmap(folder: Path, samples: int) -> Iterator[Any]:
    """Read crops of raw arrays; intensities are made in the training process."""
    for batch in loader(Memmap(folder, samples)):
        yield batch.to(torch.float32).mul_(0.002).add_(-0.1).clamp_(0.0, 1.0)


def ours(cache: str, samples: int, *, unpacks: bool = True, **options: Any) -> Iterator[Any]:  # noqa: ANN401
    """Read crops of the prepared cache as a training does."""
    per_epoch = samples // options.get("crops_per_visit", 1) // NUM_STUDIES
    data = PretrainDataModule(
        cache, SIZE, BATCH, WORKERS, visits_per_epoch=per_epoch, crop_centre="box", **options
    )
    for batch in data.train_dataloader():
        yield batch.unpack() if unpacks else batch.give_back()


def processor_s() -> float:
    """Return the processor time of this process and of all children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def per_second(rival: Rival) -> float:
    """Run one round; return samples for each second of processor time."""
    start = processor_s()
    batches = rival.start()
    count = sum(1 for _ in batches)
    del batches
    gc.collect()  # loaders end their workers when they go
    assert not multiprocessing.active_children(), "a worker whose time would be missing"
    assert count >= rival.samples // (BATCH * rival.crops), (count, rival)
    return rival.samples / (processor_s() - start)


def make_data(folder: Path) -> list[dict[str, str]]:
    """Write the studies, the cache made of them and the raw arrays; return the files."""
    raw = []
    rows = ["patient,modality,path,split"]
    for number in range(NUM_STUDIES):
        files = write_study(folder / "raw", number)
        raw.append({key: str(file) for key, file in files.items()})
        rows += [f"p{number},{key},{file},train" for key, file in files.items()]
    (folder / "scans.csv").write_text("\n".join(rows))
    (folder / "prepare.yaml").write_text(
        f"source: {{class_path: table, init_args: {{path: {folder / 'scans.csv'}}}}}\n"
        f"cache: {folder / 'cache'}\nworkers: 1\n"
    )
    assert prepare(["--config", str(folder / "prepare.yaml")]) == 0
    cache = Cache.open(folder / "cache")
    for number, study in enumerate(cache.studies):
        for scan in study.scans:
            crop = cache.read_crop(study, scan, (0, 0, 0), study.shape).astype(np.int16)
            np.save(folder / f"{number}_{scan.modality}.npy", crop)
    return raw


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP from another process; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1", "-d", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def rivals(raw: list[dict[str, str]], folder: Path, url: str, scale: int) -> dict[str, Rival]:
    """Return what is measured; `scale` multiplies the samples of a round."""
    near, few, many = 12 * scale, 48 * scale, 720 * scale
    cache, copies = str(folder / "cache"), str(folder / "copies")

    def mine(number: int, path: str = cache, crops: int = 1, **options: Any) -> Rival:  # noqa: ANN401
        options["crops_per_visit"] = crops
        return Rival(number, lambda: ours(path, number, **options), crops)

    return {
        "MONAI, all four": Rival(near, lambda: monai_plain(raw, near)),
        "MONAI, only the pair": Rival(near, lambda: monai_plain(raw, near, 2)),
        PERSISTENT: Rival(few, lambda: monai_persistent(raw, folder / "p", few)),
        "TorchIO Queue, 1 a visit": Rival(near, lambda: torchio_queue(raw, near, 1)),
        "TorchIO Queue, 4 a visit": Rival(few, lambda: torchio_queue(raw, few, 4)),
        "raw int16 memmap": Rival(many, lambda: memmap(folder, many)),
        "ours, int16 for the GPU": mine(many, unpacks=False),
        "ours, float32": mine(many),
        "ours, 4 a visit, int16 for the GPU": mine(many, crops=4, unpacks=False),
        "ours, 4 a visit, float32": mine(many, crops=4),
        HTTP: mine(many, url, local_cache=copies, unpacks=False),
    }


def main() -> None:
    """Print samples for each second of processor time, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=int, default=1, help="multiplies the samples of a round")
    parser.add_argument("--only", default="", help="rivals whose name has this in it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        raw = make_data(folder)
        with served(folder / "cache") as url:
            measured = rivals(raw, folder, url, options.scale)
            measured = {name: way for name, way in measured.items() if options.only in name}
            report(measure(measured, options.rounds), measured, folder, options)


def measure(measured: dict[str, Rival], rounds: int) -> dict[str, list[float]]:
    """Return samples for each second of processor time in each round."""
    for name in (PERSISTENT, HTTP):  # the first pass fills their caches
        if name in measured:
            per_second(measured[name])
    results: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, rival in measured.items():
            results[name].append(per_second(rival))
    return results


def report(
    results: dict[str, list[float]],
    measured: dict[str, Rival],
    folder: Path,
    options: argparse.Namespace,
) -> None:
    """Print and record medians over the rounds, and the medians of the ratios of each round."""
    first = next(iter(results))
    rows: list[dict[str, str | int | float]] = []
    for name, found in results.items():
        ratios = [a / b for a, b in zip(found, results[first], strict=True)]
        rows.append(
            {
                "name": name,
                "samples_per_cpu_s": round(statistics.median(found), 2),
                "ratio": round(statistics.median(ratios), 1),
                "lowest_ratio": round(min(ratios), 1),
                "samples_a_round": measured[name].samples,
            }
        )
    header = ("way", "samples per CPU-s", f"x {first}", "lowest", "samples a round")
    print_table(header, [tuple(row.values()) for row in rows])
    studies = Cache.open(folder / "cache").studies
    sizes = [scan.num_bytes for study in studies for scan in study.scans]
    files = [file.stat().st_size for file in (folder / "raw").iterdir()]
    record(
        "streaming",
        f"python benchmarks/streaming.py --rounds {options.rounds} --scale {options.scale}",
        rows,
        sample="a target and a partner crop of 96 x 96 x 96, float32 unless the name says int16",
        batch=BATCH,
        workers=WORKERS,
        rounds=options.rounds,
        studies=len(studies),
        box=list(studies[0].shape),
        mean_nii_gz_mb=round(statistics.mean(files) / 1e6, 2),
        mean_frame_mb=round(statistics.mean(sizes) / 1e6, 2),
    )


if __name__ == "__main__":
    main()
