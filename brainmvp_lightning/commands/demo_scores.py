"""Whether the demo has learned anything, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainmvp_lightning.batches import StepInfo, StudyBatch
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.tasks.pretrain import PretrainTask


@dataclass(frozen=True)
class DemoScores:
    """Errors over all voxels of the validation crops, and the likeness of the templates.

    Attributes:
        cross_modal_mse: Of reconstructions whose holes held the partner.
        distillation_mse: Of reconstructions whose holes held the template.
        mean_image_mse: Of predicting, for the crops of `distillation_mse`, the training studies'
            mean image of the modality at the place of the crop.
        partnered_mean_image_mse: The same for the crops of `cross_modal_mse`.
        correlation: Pearson correlation of each template with its modality's mean image.
        rival_correlation: The highest with another modality's mean image.
    """

    cross_modal_mse: float
    distillation_mse: float
    mean_image_mse: float
    partnered_mean_image_mse: float
    correlation: dict[str, float]
    rival_correlation: dict[str, float]


@torch.no_grad()
def score_demo(task: PretrainTask, data: PretrainDataModule) -> DemoScores:
    """Score a task on the validation studies.

    Args:
        task: Trained task; its method must be BrainMVP with templates.
        data: Its data.
    """
    method = task.method
    if not isinstance(method, BrainMVP) or method.templates is None:
        raise TypeError("the demo's scores need the method 'brainmvp' with its templates")
    task.eval()
    method.prepare(data.describe())
    means = mean_images(data, tuple(method.templates.volumes().shape[1:]))
    step = StepInfo(step=0, max_steps=1, epoch=10**6, max_epochs=1, is_training=False)
    totals: dict[str, list[tuple[float, int]]] = {}
    for packed in data.val_dataloader():
        batch = packed.unpack()
        terms = method.loss(task.backbone, method.views(batch, step), step)
        guess = mean_crops(means, batch)
        error = (guess - batch["image"]).square().mean(dim=(1, 2, 3, 4))
        paired = error[batch["partner_rows"]]
        for name, value, rows in (
            ("cross", terms.metrics["cross_modal_mse"], len(paired)),
            ("distilled", terms.metrics["distillation_mse"], len(error)),
            ("mean", error.mean(), len(error)),
            ("paired_mean", paired.mean(), len(paired)),
        ):
            if rows:
                totals.setdefault(name, []).append((float(value), rows))
    own, rival = template_likeness(
        method.templates.volumes(), method.templates.modalities, means, data.describe().modalities
    )
    return DemoScores(
        cross_modal_mse=_mean(totals["cross"]),
        distillation_mse=_mean(totals["distilled"]),
        mean_image_mse=_mean(totals["mean"]),
        partnered_mean_image_mse=_mean(totals["paired_mean"]),
        correlation=own,
        rival_correlation=rival,
    )


def mean_images(data: PretrainDataModule, shape: tuple[int, ...]) -> Tensor:
    """Return the mean image of each modality over the training studies, ``s x y z``.

    Modalities without a scan have a mean image of zeros.
    """
    size = (shape[0], shape[1], shape[2])
    dataset = data.train_dataloader().study_crops
    modalities = list(data.describe().modalities)
    total = np.zeros((len(modalities), *size), np.float64)
    count = np.zeros(len(modalities), np.int64)
    for study, reference in zip(dataset.studies, dataset.reference_voxels, strict=True):
        corner = reference - np.asarray(size) // 2
        start = (int(corner[0]), int(corner[1]), int(corner[2]))
        for scan in study.scans:
            place = modalities.index(scan.modality)
            total[place] += data.cache.read_unit_crop(study, scan, start, size, data.clip)
            count[place] += 1
    mean = total / np.maximum(count, 1)[:, None, None, None]
    return torch.from_numpy(mean.astype(np.float32))


def mean_crops(means: Tensor, batch: StudyBatch) -> Tensor:
    """Cut from the mean images what each crop of `batch` should look like, ``b 1 x y z``."""
    size = batch["image"].shape[2:]
    shape = torch.tensor(means.shape[1:])
    padded = torch.nn.functional.pad(means, [n for side in reversed(size) for n in (side, side)])
    crops = []
    for modality, origin in zip(batch["modality"], batch["origin"], strict=True):
        start = (origin + shape // 2 + torch.tensor(size)).clamp(min=0)
        x, y, z = (slice(int(s), int(s) + n) for s, n in zip(start, size, strict=True))
        crop = padded[int(modality), x, y, z]
        missing = [
            n
            for side, have in zip(reversed(size), reversed(crop.shape), strict=True)
            for n in (0, side - have)
        ]
        crops.append(torch.nn.functional.pad(crop, missing))
    return torch.stack(crops)[:, None]


def template_likeness(
    templates: Tensor, names: tuple[str, ...], means: Tensor, modalities: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, float]]:
    """Correlate templates with mean images; see `DemoScores`.

    Voxels count where at least one training study lies; templates of modalities without data are
    left out.
    """
    present = [m for m in modalities if means[modalities.index(m)].any()]
    seen = means.any(dim=0)  # x y z, where a training study lies
    own, rival = {}, {}
    for name in (name for name in names if name in present):
        template = templates[names.index(name)][seen]
        values = {m: _pearson(template, means[modalities.index(m)][seen]) for m in present}
        own[name] = values.pop(name)
        rival[name] = max(values.values(), default=float("nan"))
    return own, rival


def times(ratio: float) -> str:
    """Return how many times lower an error is, or higher, given the other one divided by it."""
    return f"{ratio:.2f} x lower" if ratio >= 1 else f"{1 / ratio:.2f} x higher"


def _pearson(first: Tensor, second: Tensor) -> float:
    a, b = (volume.double() - volume.double().mean() for volume in (first, second))
    scale = float(a.norm() * b.norm())
    return float((a * b).sum()) / scale if scale > 0 else float("nan")


def _mean(values: list[tuple[float, int]]) -> float:
    return sum(value * rows for value, rows in values) / sum(rows for _, rows in values)
