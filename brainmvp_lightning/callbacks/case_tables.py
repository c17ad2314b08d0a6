"""What a test found, case by case and in short."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning.evaluation.class_tables import write_classes
from brainmvp_lightning.evaluation.classification import format_classes
from brainmvp_lightning.evaluation.summary import format_summary
from brainmvp_lightning.evaluation.tables import write_cases
from brainmvp_lightning.tasks.finetune import FineTuneTask
from brainmvp_lightning.volumes.atomic import write_bytes


class CaseTables(Callback):
    """Writes ``test/cases.csv`` and ``test/summary.json`` to the run folder, and prints the latter.

    A row for each case and region (or study, for classes); the summary has means with bootstrap
    intervals and counts what was missed.
    """

    @rank_zero_only
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the tables."""
        if not isinstance(pl_module, FineTuneTask) or not pl_module.cases:
            return
        folder = Path(trainer.default_root_dir) / "test"
        folder.mkdir(parents=True, exist_ok=True)
        is_classification = pl_module.kind == "classification"
        write_rows: Any = write_classes if is_classification else write_cases
        write_rows(folder / "cases.csv", pl_module.cases)
        summary = pl_module.summarise()
        content = json.dumps({"task": pl_module.kind, **summary}, indent=1)
        write_bytes(folder / "summary.json", content.encode())
        text = format_classes(summary) if is_classification else format_summary(summary)
        sys.stdout.write(f"\n{text}\n\nwrote {folder / 'cases.csv'}\n")
