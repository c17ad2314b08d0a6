"""Short trainings on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from brainmvp_lightning.callbacks.checkpoints import LastCheckpoint
from tests.training import LossRecord

ACCELERATOR = "gpu"
DEVICE = "cuda"

ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    # Drivers and compilers warn of what is no fault of ours, such as products in full precision.
    pytest.mark.filterwarnings("default"),
]


def make_trainer(folder: Path, *callbacks: Callback, **options: Any) -> pl.Trainer:
    """A quiet trainer of three steps on one GPU, which writes a checkpoint after each."""
    defaults: dict[str, Any] = {"accelerator": ACCELERATOR, "devices": 1, "max_steps": 3}
    return pl.Trainer(
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        callbacks=[LastCheckpoint(every_steps=1), *callbacks],
        **{**defaults, **options},
    )


class Places(Callback):
    """Notes on which devices batches are."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.kinds.add(args[2]["image"].device.type)


def losses_of(task: Any, data: Any, folder: Path, **options: Any) -> list[float]:
    """Train, see that it was on the device, and return the loss of each step."""
    record, places = LossRecord(), Places()
    make_trainer(folder, record, places, **options).fit(task, data)
    assert places.kinds == {"cpu" if options.get("accelerator") == "cpu" else DEVICE}
    return [record.losses[step] for step in sorted(record.losses)]


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the last checkpoint of a run, on the CPU."""
    path = folder / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True, map_location="cpu")
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state
