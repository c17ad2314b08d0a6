"""Stand-ins for the released checkpoints, and what the released networks compute from them.

The released weights cannot be shipped. ``*_keys.json`` lists their names and shapes; `fill` gives
each tensor pseudo-random values that depend on its name alone, so the same "checkpoint" can be
rebuilt anywhere. ``*.npz`` holds what the released networks compute from it (float32, CPU, eval
mode, input 2 x 1 x 96^3, and 2 x 4 x 96^3 for the fine-tuning network ``uniunet``): for each output
512 values at pseudo-random places, its shape and norm.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).parent
NUM_PROBES = 512


def shapes(network: str, shrink: int = 1) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released checkpoint, with all sizes from 32 on divided by `shrink`."""
    table = json.loads((HERE / f"{network}_keys.json").read_text())
    return {
        name: tuple(side // shrink if side >= 32 else side for side in shape)
        for name, shape in table.items()
    }


def checkpoint(network: str, shrink: int = 1, with_templates: bool = True) -> dict[str, Tensor]:
    """Tensors of a released checkpoint by name."""
    return {
        name: torch.from_numpy(fill(name, shape))
        for name, shape in shapes(network, shrink).items()
        if with_templates or name != "rep_template"
    }


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Save tensors as the release does."""
    torch.save({"state_dict": {f"module.{name}": value for name, value in tensors.items()}}, path)
    return path


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of the tensor called `name`."""
    generator = _generator(name)
    if name.endswith("num_batches_tracked"):
        return np.asarray(1, dtype=np.int64)
    if name.endswith("rep_template"):
        return generator.random_sample(shape).astype(np.float32)
    normal = generator.standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return 1.0 + 0.1 * np.abs(normal)
    if name.endswith(("running_mean", "bias")):
        return 0.05 * normal
    if len(shape) == 1:  # scale of a norm
        return 1.0 + 0.1 * normal
    return normal / np.float32(np.sqrt(int(np.prod(shape[1:]))))


def image(shape: tuple[int, ...]) -> Tensor:
    """Input image in [0, 1), ``b c x y z``."""
    return torch.from_numpy(_generator("input").random_sample(shape).astype(np.float32))


def relative_error(network: str, output: str, value: Tensor) -> float:
    """Greatest deviation from the released network over the greatest value probed.

    Args:
        value: Output of our network for the first samples of the batch, or for all of them.
    """
    golden = np.load(HERE / f"{network}.npz")
    num_values = int(np.prod(golden[f"{output}_shape"]))
    places = _generator(f"probe/{output}").randint(0, num_values, size=NUM_PROBES)
    ours = value.contiguous().flatten().numpy()
    is_known = places < ours.size
    assert is_known.sum() > NUM_PROBES / 3
    deviation = np.abs(ours[places[is_known]] - golden[output][is_known])
    return float(deviation.max() / np.abs(golden[output]).max())


def relative_norm_error(network: str, output: str, value: Tensor) -> float:
    """Deviation of the norm of a whole output from that of the released network."""
    norm = float(np.load(HERE / f"{network}.npz")[f"{output}_norm"])
    return abs(value.double().norm().item() / norm - 1)


def _generator(name: str) -> np.random.RandomState:
    # NumPy's policy freezes the stream of this generator, unlike that of the newer one.
    return np.random.RandomState(zlib.crc32(name.encode()))
