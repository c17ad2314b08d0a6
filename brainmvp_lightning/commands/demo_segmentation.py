"""The second half of the demo: fine-tune, test, segment raw files, look at one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

from brainmvp_lightning.callbacks.drawing import draw_overlay
from brainmvp_lightning.commands.prepare import main as prepare
from brainmvp_lightning.commands.segment import main as segment
from brainmvp_lightning.commands.shipped import config_file
from brainmvp_lightning.commands.trainer import main as train
from brainmvp_lightning.volumes.cache import Cache, CachedStudy


@dataclass(frozen=True)
class DemoFolders:
    """Where the demo keeps things.

    Attributes:
        data: Cohort of gliomas, as BIDS.
        cache: Its prepared scans.
        runs: Results.
    """

    data: Path
    cache: Path
    runs: Path


@dataclass(frozen=True)
class Segmented:
    """What the segmentation of a study left.

    Attributes:
        label: The label map.
        record: What it means and what made it.
        picture: The label map and the annotation over the image.
    """

    label: Path
    record: Path
    picture: Path


NUM_STUDIES = 24
MODALITIES = ("flair", "t1ce", "t1", "t2")  # the last one is withheld from the prediction


def prepare_gliomas(folders: DemoFolders) -> int:
    """Make and prepare the cohort; return the exit code."""
    return prepare(
        [
            "--config",
            str(config_file("prepare/gliomas.yaml")),
            "--source.num_studies",
            str(NUM_STUDIES),
            "--source.root",
            str(folders.data),
            "--cache",
            str(folders.cache),
        ]
    )


def fine_tune(folders: DemoFolders, steps: int | None = None) -> Path:
    """Fine-tune from the demo's encoder and test.

    Args:
        folders: Where things are.
        steps: Of the optimiser; by default those of the configuration.

    Returns:
        The run folder.
    """
    run = folders.runs / "segment"
    length = []
    if steps is not None:  # the last step is validated, or there would be no best checkpoint
        length = ["--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(steps)]
    train(
        [
            "fit",
            "--config",
            str(config_file("demo/segment.yaml")),
            "--model.weights",
            str(folders.runs / "pretrain" / "encoder.safetensors"),
            "--data.cache",
            str(folders.cache),
            "--trainer.default_root_dir",
            str(run),
            *length,
        ]
    )
    train(["test", "--config", str(run / "config.yaml"), "--ckpt_path", "best"])
    return run


def segment_one(folders: DemoFolders, run: Path) -> Segmented | None:
    """Segment the raw files of the test study with the largest tumour, without its last modality.

    What an earlier call left in the run folder is removed first.

    Returns:
        What was written; None if no test study has a tumour.

    Raises:
        RuntimeError: If it could not be segmented.
    """
    out, picture = run / "raw", run / "pictures" / "overlay.png"
    for old in (*out.glob("*_seg.nii.gz"), *out.glob("*_seg.json"), picture):
        old.unlink(missing_ok=True)
    study = largest_tumour(Cache.open(str(folders.cache)))
    if study is None or study.label is None:
        return None
    scans = sorted(study.scans, key=lambda scan: MODALITIES.index(scan.modality))
    files = [f"{scan.modality}={folders.cache / scan.source['path']}" for scan in scans]
    code = segment([str(run / "checkpoints" / "best.ckpt"), *files[:-1], "-o", str(out)])
    written = list(out.glob("*_seg.nii.gz"))
    if code or len(written) != 1:
        raise RuntimeError(
            f"segmenting {study.id} ended with code {code} and {len(written)} label maps in {out}; "
            "see above"
        )
    record = written[0].with_name(written[0].name.replace(".nii.gz", ".json"))
    segmented = Segmented(written[0], record, picture)
    reference = files[0].partition("=")[2]
    _draw(Path(reference), folders.cache / study.label.source["path"], segmented, study.id)
    return segmented


def largest_tumour(cache: Cache) -> CachedStudy | None:
    """Return the test study with the largest annotated volume, or None if all are empty."""
    sizes = {}
    for study in cache.studies:
        if study.split == "test" and study.label is not None:
            label = cache.read_label_crop(study, (0, 0, 0), study.shape)
            sizes[study.id] = (int((label > 0).sum()), study)
    size, found = max(sizes.values(), key=lambda item: item[0], default=(0, None))
    return found if size else None


def _draw(image: Path, label: Path, segmented: Segmented, study: str) -> None:
    canonical = nib.as_closest_canonical(nib.load(image))
    annotation = resample_from_to(nib.load(label), canonical, order=0)
    predicted = nib.as_closest_canonical(nib.load(segmented.label))
    facts = json.loads(segmented.record.read_text(encoding="utf-8"))
    names = {int(value): name for value, name in facts["labels"].items()}
    draw_overlay(
        np.asarray(canonical.dataobj, np.float32),
        {"annotation": np.asarray(annotation.dataobj), "prediction": np.asarray(predicted.dataobj)},
        segmented.picture,
        names=names,
        title=f"{study}, a test study; predicted without {MODALITIES[-1].upper()}",
    )
