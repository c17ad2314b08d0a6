"""The folder in which pages are run: small cohorts, an encoder, a fine-tuned run, and our programs.

It is made once, by the program itself, and copied for each page. What stands in for what:

* ``/data/...`` of a page is ``data/...`` here, and ``/scratch/...`` is ``scratch/...``;
* ``MODEL``, ``CHECKPOINT``, ``ENCODER`` and ``encoder.safetensors`` are files of these names;
* ``configs`` holds the shipped files, made small (`tests.docs.shrinking`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT
from tests.docs.server import SHIM
from tests.docs.shrinking import write_small_configs
from tests.end_to_end.fine_tuning_trees import SEGMENTATION, save_scan

PROGRAMS = (
    "brainmvp",
    "python",
    "make",
    "pip",
    "sbatch",
    "srun",
    "scontrol",
    "torchrun",
    "wandb",
    "tensorboard",
)
LIMIT_S = 240
PED = "runs/finetune/brats2023_ped"
MAKING = f"""
brainmvp prepare --config configs/prepare/demo.yaml --source.root data/mystudy --cache cache/mine
brainmvp prepare --config configs/prepare/gliomas.yaml
brainmvp prepare --config configs/prepare/brats2023_ped.yaml --source.root data/PED
brainmvp fit -c configs/demo/pretrain.yaml --data.cache cache/mine --data.placement centre
brainmvp fit -c configs/finetune/segmentation/brats2023_ped.yaml \\
  --model.weights runs/demo/pretrain/encoder.safetensors
brainmvp test -c {PED}/config.yaml --ckpt_path {PED}/checkpoints/best.ckpt
"""
COPIES = {
    "data/mystudy": ("clinic", "data/bids"),
    "cache/mine": ("cache/pretraining", "cache/demo", "cache/bids"),
    "cache/gliomas": ("cache/demo_gliomas",),
    "cache/brats2023_ped": ("cache/another_site",),
    "runs/demo/pretrain/encoder.safetensors": (
        "encoder.safetensors",
        "ENCODER",
        "runs/gliomas/pretrain/encoder.safetensors",
    ),
    f"{PED}/checkpoints/best.ckpt": ("MODEL", "CHECKPOINT"),
    "runs/demo/pretrain": ("runs/pretrain/brainmvp_uniformer", "runs/sweep/001"),
}
"""What is there under other names as well."""


@dataclass
class World:
    """A folder to run pages in.

    Args:
        folder: It.
        programs: Folder of programs, before all others.
        server: Where they ask.
    """

    folder: Path
    programs: Path
    server: str

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a block as bash does, and stop at the first command that fails."""
        environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "DOCS_SERVER": self.server,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{self.folder}:{ROOT}",
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "HOME": str(self.folder),
        }
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", here(script)],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )

    def copy(self, folder: Path) -> World:
        """Return a world of its own for a page."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return World(folder, self.programs, self.server)


def here(script: str) -> str:
    """Return a block with the places of the world in it."""
    return re.sub(r"(?<![\w.])/(data|scratch)/", r"\1/", script)


@contextmanager
def running_server(programs: Path) -> Iterator[str]:
    """Start the process that answers our programs, and end it with all it started."""
    programs.mkdir()
    (programs / "brainmvp").write_text(SHIM)
    (programs / "brainmvp").chmod(0o755)
    for name in PROGRAMS[1:]:
        (programs / name).symlink_to("brainmvp")
    address = tempfile.mktemp(prefix="docs", suffix=".sock")  # a short path, as sockets need
    words = [sys.executable, "-m", "tests.docs.server", address, str(programs)]
    process = subprocess.Popen(words, cwd=ROOT, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not Path(address).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server of programs did not start; its error is above")
            time.sleep(0.05)
        yield address
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        Path(address).unlink(missing_ok=True)


def write_ixi(root: Path) -> None:
    """Write four people of IXI, with two scans each."""
    for patient in ("IXI002-Guys-0828", "IXI012-HH-1211", "IXI035-IOP-0873", "IXI036-Guys-0736"):
        for name in ("T1", "T2"):
            save_scan(root / f"IXI-{name}/{patient}-{name}.nii.gz", name.lower(), "PSR")


def make_world(folder: Path, programs: Path, server: str) -> World:
    """Make the world with our own program."""
    folder.mkdir()
    world = World(folder, programs, server)
    write_small_configs(ROOT / "configs", folder / "configs")
    shutil.copytree(
        ROOT / ".github", folder / ".github", ignore=shutil.ignore_patterns("*.png", "*.md")
    )
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    SEGMENTATION["brats2023_ped"](folder / "data/PED")
    write_ixi(folder / "data/IXI")
    done = world.run(MAKING)
    if done.returncode:
        raise RuntimeError(f"the world could not be made:\n{done.stdout[-4000:]}")
    _copy(folder)
    return world


def _copy(folder: Path) -> None:
    for source, names in COPIES.items():
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (folder / source).is_dir() else shutil.copy
            copy(folder / source, folder / name)
    (case,) = sorted((folder / "data/PED").iterdir())[:1]
    scans = {kind: case / f"{case.name}-{kind}.nii.gz" for kind in ("t1n", "t2f", "t1c", "t2w")}
    for kind in ("t1n", "t2f"):
        shutil.copy(scans[kind], folder / f"{kind}.nii.gz")
    shutil.copy(scans["t1n"], folder / "scan_a.nii.gz")
    shutil.copy(scans["t2f"], folder / "scan_b.nii.gz")
    for patient in sorted((folder / "data/PED").iterdir())[:2]:
        shutil.copytree(
            patient, folder / "patients" / patient.name, ignore=shutil.ignore_patterns("*seg*")
        )
