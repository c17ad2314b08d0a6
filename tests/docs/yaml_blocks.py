"""What a block of YAML on a page is, and which call takes it."""

from __future__ import annotations

from typing import Any

import yaml

from tests.docs.pages import Block

FINE_TUNING = (
    "substitution",
    "SegmentationTask",
    "SegmentationDataModule",
    "transfer:",
    "window:",
    "ema:",
)
RUN = {"seed_everything", "trainer", "model", "data", "ckpt_path"}
PREPARATION = {
    "source", "cache", "recipe", "extra_modalities", "label_schemes", "exclude", "splits",
    "split_ratios", "split_seed", "workers", "scheduler", "shard", "verify",
}  # fmt: skip
EXPERIMENT = {"task", "cache", "runs", "arms", "overrides", "fractions", "seeds", "jobs"}
ABLATION = EXPERIMENT - {"fractions"} | {"pretrain", "pretrain_cache"}
OTHERS: dict[tuple[str, str], str] = {}
"""Blocks that no program of ours reads, by page and first line, with the reason."""


def call_for(block: Block, file: str) -> str | None:
    """Return the call that reads a block which is saved as `file`; none if nothing of ours does."""
    content: Any = yaml.safe_load(block.text)
    keys = set(content) if isinstance(content, dict) else set()
    if {"parameters", "method"} <= keys:
        return f"brainmvp sweep lint {file}"
    if {"trainer", "model", "data"} <= keys:
        return f"brainmvp fit -c {file}"
    if keys and keys <= RUN:
        fine = any(word in block.text for word in FINE_TUNING)
        base = "finetune/segmentation/brats2023_ped" if fine else "pretrain/brainmvp_uniformer"
        return f"brainmvp fit -c configs/{base}.yaml -c {file}"
    if keys and keys <= PREPARATION:
        return f"brainmvp prepare --config configs/prepare/bids.yaml --config {file}"
    for study, known in (("label_efficiency", EXPERIMENT), ("ablation", ABLATION)):
        if keys and keys <= known:
            base = f"configs/experiments/{study}.yaml"
            return f"brainmvp experiment {study} --config {base} --config {file}"
    return None
