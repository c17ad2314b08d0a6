"""What a whole head takes of a machine's memory does not grow with the number of windows."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.inference.tiny_networks import describe, make_model, save_checkpoint

STATUS = Path("/proc/self/status")
SHAPE = (240, 240, 155)  # as in BraTS
CHANNELS = ("t1", "t1ce", "t2", "flair")
OUTPUTS = ("background", "a", "b", "c")
WINDOW = (96, 96, 96)
VOLUME_BYTES = 4 * math.prod(SHAPE)
CODE = """
import json, sys
from pathlib import Path
import tests.inference.tiny_networks
from brainmvp_lightning.commands.segment import main

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

model, small, large, out, *options = sys.argv[1:]
assert main([model, small, "-o", out, "--device", "cpu", *options]) == 0
before = kilobytes("VmRSS")  # all is imported
assert main([model, large, "-o", out, "--device", "cpu", *options]) == 0
json.dump(1024 * (kilobytes("VmHWM") - before), Path(out, "growth.json").open("w"))
"""


def save_head(folder: Path, shape: tuple[int, int, int]) -> Path:
    """Write noise without background, so that the box of the study is the whole image."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in CHANNELS:
        voxels = generator.integers(1, 1000, shape, np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{folder.name}_{name}.nii")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small head, a large one, and a model of a few parameters."""
    folder = tmp_path_factory.mktemp("heads")
    save_head(folder / "small", (100, 100, 100))
    save_head(folder / "large", SHAPE)
    description = describe(
        CHANNELS,
        crop_size=WINDOW,
        num_outputs=4,
        label_names=OUTPUTS,
        label_regions=((), *((name,) for name in OUTPUTS[1:])),
        region_names=OUTPUTS[1:],
    )
    save_checkpoint(make_model(description, levels=(0.0, 0.3, 0.5, 0.7)), folder / "best.ckpt")
    return folder


def growth_bytes(place: Path, out: Path, *options: str) -> int:
    """Return by how much the large head raised the peak of a process that did the small one."""
    words = [str(place / "best.ckpt"), str(place / "small"), str(place / "large"), str(out)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words, *options],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / "large_seg.nii.gz").is_file()
    growth: int = json.loads((out / "growth.json").read_text())
    return growth


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    "options", [("--overlap", "0.5"), ("--overlap", "0.75"), ("--batch", "4")], ids=" ".join
)
def test_a_head_takes_three_times_its_arrays_however_many_windows_cover_it(
    options: tuple[str, str], place: Path, tmp_path: Path
) -> None:
    """The peak grows by at most 3 times the image and the probabilities, in float32.

    With c channels and k outputs that is 3 (c + k) volumes. Needed are 2 c for the image and its
    copy with gaps filled, k + 1 for sums and weights, k + 1 while they are checked for numbers that
    are not finite, and a batch of windows: with 4 and 4, 18 and some of 24. To keep the answers of
    the 48 windows of overlap 0.5 would take 19 volumes more; there are 196 of overlap 0.75.
    """
    growth = growth_bytes(place, tmp_path, *options)
    assert growth <= 3 * VOLUME_BYTES * (len(CHANNELS) + len(OUTPUTS))
    assert growth >= VOLUME_BYTES * (len(CHANNELS) + len(OUTPUTS))  # else it was not measured
