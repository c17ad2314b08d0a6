"""Run folders made by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from brainmvp_lightning.evaluation.class_tables import ClassScore, write_classes
from brainmvp_lightning.evaluation.segmentation import Outcome
from brainmvp_lightning.evaluation.tables import CaseScore, write_cases
from brainmvp_lightning.volumes.nifti import write_nifti

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
CASES = ("sub-alpha", "sub-beta", "sub-gamma")

PRETRAIN = """
seed_everything: 0
trainer: {default_root_dir: /home/alice/secret/runs, max_epochs: 4}
model:
  class_path: brainmvp_lightning.tasks.pretrain.PretrainTask
  init_args:
    backbone: {class_path: brainmvp_lightning.backbones.registry.unet3d, init_args: {width: 8}}
    method: brainmvp
data:
  class_path: PretrainDataModule
  init_args: {cache: /home/alice/secret/cache, batch_size: 4}
"""
FINETUNE = """
seed_everything: 0
trainer: {default_root_dir: /home/alice/secret/runs, max_steps: 20}
model:
  class_path: brainmvp_lightning.tasks.segmentation.SegmentationTask
  init_args: {backbone: uniformer_tiny, weights: null}
data: {class_path: SegmentationDataModule, init_args: {cache: cache/mine, modalities: [t1, flair]}}
"""


def write_log(folder: Path, version: int, header: str, *lines: str) -> Path:
    """Write one log folder."""
    path = folder / "logs" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def write_pretraining(folder: Path) -> Path:
    """A pre-training with pictures and two templates, one of which was never learned."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(PRETRAIN)
    lines = (f"0,{step},{1 / (step + 1):.4f},{0.5 / (step + 1):.4f},0.4" for step in range(9))
    write_log(folder, 0, "epoch,step,train/total,val/total,templates/t1/mean", *lines)
    (folder / "pictures").mkdir()
    for number, kind in enumerate(("templates", "reconstruction")):
        for epoch in (2, 4):
            grey = np.full((40, 90, 3), 60 * number + 20 * epoch, np.uint8)
            Image.fromarray(grey).save(folder / "pictures" / f"{kind}_{epoch:04d}.png")
    (folder / "templates").mkdir()
    ramp = np.broadcast_to(np.linspace(0, 1, 12, dtype=np.float32)[:, None, None], (12, 14, 10))
    write_nifti(folder / "templates" / "t1.nii.gz", np.ascontiguousarray(ramp), AFFINE)
    flat = np.full((12, 14, 10), 0.4, np.float32)
    write_nifti(folder / "templates" / "mra.nii.gz", flat, AFFINE)
    return folder


def write_finetuning(folder: Path, shift: float = 0.0) -> Path:
    """A tested segmentation with the volumes of its worst case."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(FINETUNE)
    lines = (f"0,{step},{2 - step / 20:.3f},{step / 20:.3f}" for step in (9, 19))
    write_log(folder, 0, "epoch,step,train/total,val/dice", *lines)
    facts = {
        "started": "2026-01-02T03:04:05Z", "world_size": 1, "device": "cpu",
        "git": {"commit": "0123456789abcdef", "branch": "alice/fix", "dirty": True},
        "data": {"studies": {"train": 7}},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(facts))
    write_cases(folder / "test" / "cases.csv", case_rows(shift))
    write_worst(folder / "test" / "volumes" / CASES[0])
    return folder


def case_rows(shift: float = 0.0) -> list[CaseScore]:
    """Three cases with two regions; the first one was missed, and again without FLAIR."""
    rows = []
    for number, study in enumerate(CASES):
        for region in ("TC", "WT"):
            missed = number == 0 and region == "TC"
            rows.append(case_row(study, region, 0.0 if missed else 0.3 * number + 0.1 + shift))
    return [*rows, case_row(CASES[0], "WT", 0.05, modalities="t1")]


def case_row(study: str, region: str, dice: float, **more: Any) -> CaseScore:
    """One row; a Dice of 0 is a miss."""
    outcome: Outcome = "scored" if dice else "missed"
    defaults: dict[str, Any] = {
        "dataset": "toy", "split": "test", "modalities": "t1+flair", "space": "native",
        "hd95_mm": 5.0, "truth_ml": 3.0, "prediction_ml": 2.0, "lesions": 1, "found_lesions": 1,
    }  # fmt: skip
    values = {**defaults, "study": study, "region": region, "dice": dice, "outcome": outcome}
    return CaseScore(**{**values, **more})


def write_worst(folder: Path) -> None:
    """A bright cube, annotated; the prediction is shifted."""
    folder.mkdir(parents=True)
    image = np.zeros((20, 24, 18), np.uint8)
    image[4:16, 4:20, 3:15] = 90
    label, prediction = np.zeros_like(image), np.zeros_like(image)
    label[5:9, 6:12, 4:9] = 1
    prediction[7:11, 6:12, 4:9] = 1
    for name, volume in (("image", image), ("label", label), ("prediction", prediction)):
        write_nifti(folder / f"{name}.nii.gz", volume, AFFINE)
    facts = {"modality": "flair", "names": ["background", "oedema"], "dice": {"TC": 0.0, "WT": 0.1}}
    (folder / "case.json").write_text(json.dumps(facts))


def write_classification(folder: Path) -> Path:
    """A tested classification of two classes."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(FINETUNE.replace("Segmentation", "Classification"))
    rows = [
        ClassScore.of(
            (1 - p, p), ("LGG", "HGG"), truth=truth, study=study, dataset="toy", modalities=["t1"]
        )
        for study, truth, p in zip(CASES, ("HGG", "LGG", "HGG"), (0.2, 0.3, 0.9), strict=True)
    ]
    write_classes(folder / "test" / "cases.csv", rows)
    return folder
