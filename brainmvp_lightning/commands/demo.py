"""``brainmvp demo``: cohort, pre-training, fine-tuning, pictures and numbers, in minutes."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from jsonargparse import Namespace

from brainmvp_lightning.commands.demo_scores import DemoScores, score_demo, times
from brainmvp_lightning.commands.demo_segmentation import (
    DemoFolders,
    Segmented,
    fine_tune,
    prepare_gliomas,
    segment_one,
)
from brainmvp_lightning.commands.parsing import make_parser
from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.commands.shipped import config_file
from brainmvp_lightning.commands.trainer import main as train
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.tasks.pretrain import PretrainTask

# Narrow, because full width takes ten seconds a step on two cores.
UNET3D = (
    '{"class_path": "unet3d", "init_args": {"widths": [8, 16, 32, 64], "depths": [1, 1, 1, 2]}}'
)

SUMMARY = "the whole way on a small cohort made from real anatomy"


def main(argv: list[str]) -> int:
    """Run the demo; what is already there is used again."""
    options = _parse(argv)
    started = time.monotonic()
    _say(1, f"a cohort of real .nii.gz files in {options.data}, prepared into {options.cache}")
    code = prepare(
        [
            "--config",
            str(config_file("prepare/demo.yaml")),
            "--source.root",
            str(options.data),
            "--cache",
            str(options.cache),
        ]
    )
    if code:
        return code
    first = options.runs / "pretrain"
    _say(2, f"pre-training uniformer_tiny with all three losses into {first}")
    config = config_file("demo/pretrain.yaml")
    epochs = [] if options.epochs is None else ["--trainer.max_epochs", str(options.epochs)]
    train(_fit(config, options.cache, first, *epochs))
    scores = score_run(first)
    if options.second_epochs > 0:
        second = options.runs / "pretrain_unet3d"
        _say(3, f"the same with a small unet3d, by overriding --model.backbone, into {second}")
        length = ["--trainer.max_epochs", str(options.second_epochs)]
        train(_fit(config, options.cache, second, "--model.backbone", UNET3D, *length))
    segmented = None
    if options.steps != 0:
        folders = _glioma_folders(options.data, options.cache, options.runs)
        _say(4, f"another cohort in {folders.data}; fine-tuning a segmentation of it")
        code = prepare_gliomas(folders)
        if code:
            return code
        segmented = _segment(folders, options.steps)
    _write_summary(first, scores, segmented, time.monotonic() - started)
    return 0


def _parse(argv: list[str]) -> Namespace:
    parser = make_parser("brainmvp demo", SUMMARY)
    parser.add_argument("--data", type=Path, default=Path("data/demo"), help="cohort (BIDS)")
    parser.add_argument("--cache", type=Path, default=Path("cache/demo"), help="prepared scans")
    parser.add_argument("--runs", type=Path, default=Path("runs/demo"), help="results")
    parser.add_argument("--epochs", type=int, default=None, help="epochs of the first network")
    parser.add_argument("--second_epochs", type=int, default=2, help="epochs of unet3d; 0: none")
    parser.add_argument("--steps", type=int, default=None, help="steps of the fine-tuning; 0: none")
    options: Namespace = parser.parse_args(argv)
    return options


def _glioma_folders(data: Path, cache: Path, runs: Path) -> DemoFolders:
    return DemoFolders(
        data.with_name(f"{data.name}_gliomas"), cache.with_name(f"{cache.name}_gliomas"), runs
    )


def _segment(folders: DemoFolders, steps: int | None) -> Segmented | None:
    run = fine_tune(folders, steps)
    _say(5, f"raw files of a test study to labels on their own grid, into {run / 'raw'}")
    segmented = segment_one(folders, run)
    if segmented is None:
        sys.stdout.write("no test study has a tumour, so none was segmented\n")
    return segmented


def score_run(run: Path) -> DemoScores:
    """Load the last checkpoint of a run and score it on the validation studies."""
    checkpoint = run / "checkpoints" / "last.ckpt"
    task = PretrainTask.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    data = PretrainDataModule.load_from_checkpoint(checkpoint, weights_only=True)
    return score_demo(task, data)


def _fit(config: Path, cache: Path, run: Path, *more: str) -> list[str]:
    return [
        "fit",
        "--config",
        str(config),
        "--data.cache",
        str(cache),
        "--trainer.default_root_dir",
        str(run),
        *more,
    ]


def _say(number: int, text: str) -> None:
    sys.stdout.write(f"\n[{number}/5] {text}\n")
    sys.stdout.flush()


def _write_summary(
    run: Path, scores: DemoScores, segmented: Segmented | None, seconds: float
) -> None:
    (run / "summary.json").write_text(json.dumps(asdict(scores), indent=1))
    lines = summary_lines(run, scores, segmented, seconds)
    sys.stdout.write("\n".join(lines) + "\n")


def summary_lines(
    run: Path, scores: DemoScores, segmented: Segmented | None, seconds: float
) -> list[str]:
    """Return what is said at the end.

    Args:
        run: Folder of the first pre-training.
        scores: Its scores.
        segmented: What this call segmented; None for nothing, whatever an earlier one left.
        seconds: Since the start.
    """
    lower = scores.mean_image_mse / scores.distillation_mse
    partnered_lower = scores.partnered_mean_image_mse / scores.cross_modal_mse
    return [
        "",
        f"done in {seconds / 60:.1f} minutes; on the validation studies, mean squared error:",
        f"  predicting the mean image         {scores.mean_image_mse:.5f}",
        f"  reconstruction, holes: template   {scores.distillation_mse:.5f}   ({times(lower)})",
        "of those that have a partner:",
        f"  predicting the mean image         {scores.partnered_mean_image_mse:.5f}",
        f"  reconstruction, holes: partner    {scores.cross_modal_mse:.5f}"
        f"   ({times(partnered_lower)})",
        "correlation of each template with its modality's mean image (best other modality):",
        *(
            f"  {name:<6} {value:6.3f}   ({scores.rival_correlation[name]:.3f})"
            for name, value in scores.correlation.items()
        ),
        f"look at    {run / 'pictures'}",
        f"templates  {run / 'templates'}  (NIfTI)",
        f"encoder    {run / 'encoder.safetensors'}",
        f"numbers    {run / 'summary.json'}, {run / 'logs'}",
        *([] if segmented is None else [f"segmented  {segmented.label}, {segmented.picture}"]),
    ]
