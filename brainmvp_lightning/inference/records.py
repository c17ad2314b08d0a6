"""What lies beside a prediction: what its values mean, and what made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from brainmvp_lightning import __version__
from brainmvp_lightning.inference.decisions import Labelling
from brainmvp_lightning.inference.loading import WEIGHTS_FILE
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.inference.sliding_window import WindowOptions
from brainmvp_lightning.inference.writing import StudyPrediction, Target, write_segmentation
from brainmvp_lightning.volumes.atomic import write_bytes


@dataclass(frozen=True, eq=False)
class Maker:
    """What makes the predictions of a call; the same for all of its studies.

    Attributes:
        model: The network.
        source: Where its weights are from; see `source_of`.
        windows: Windows and flips, if they are known.
        labelling: From probabilities to labels; None for classification.
        probabilities: Whether the probability of each output is written, too.
        notes: Oddities that concern all studies, one sentence each.
    """

    model: FineTunedModel
    source: Mapping[str, str | None]
    windows: WindowOptions | None
    labelling: Labelling | None = None
    probabilities: bool = False
    notes: tuple[str, ...] = ()


def source_of(name: str | None) -> dict[str, str | None]:
    """Return the name of a model and, if its weights are here, the SHA-256 of their file.

    Args:
        name: Checkpoint, exported folder, or name on the hub; None for weights that no file holds.
    """
    if name is None:
        return {"name": None}
    path = Path(name) / WEIGHTS_FILE if Path(name).is_dir() else Path(name)
    return {"name": name, **({"sha256": sha256_of(path)} if path.is_file() else {})}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_study(
    prediction: StudyPrediction,
    maker: Maker,
    target: Target | None,
    folder: Path,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> list[Path]:
    """Write all files of a study: ``<study>_class.json``, or labels with ``<study>_seg.json``.

    Args:
        prediction: Of the study.
        maker: What made it.
        target: Grid of the labels; unused for a classification.
        folder: Where files go; made if needed.
        more: Further entries of the JSON file, as plain values.

    Returns:
        The files, the JSON file last.

    Raises:
        ValueError: If labels have no grid.
        OSError: If they cannot be written.
    """
    if maker.labelling is None:
        record = folder / f"{prediction.study}_class.json"
        write_facts(record, {**classification_facts(prediction, maker), **more})
        return [record]
    if target is None:
        raise ValueError(f"labels of {prediction.study} need a grid; give a target")
    outputs = maker.model.output_names if maker.probabilities else ()
    paths = write_segmentation(prediction, target, maker.labelling, folder, outputs)
    facts = segmentation_facts(prediction, maker, maker.labelling, target)
    if outputs:
        written = [path.name for path in paths[1:]]
        facts["probabilities"] = dict(zip(outputs, written, strict=True))
    record = folder / f"{prediction.study}_seg.json"
    write_facts(record, {**facts, **more})
    return [*paths, record]


def segmentation_facts(
    prediction: StudyPrediction, maker: Maker, labelling: Labelling, target: Target
) -> dict[str, Any]:
    """Return what a file of labels means and what made it, as plain JSON values."""
    description = maker.model.description
    regions = {
        region: [
            value
            for value, names in zip(labelling.values, description.label_regions, strict=True)
            if region in names
        ]
        for region in description.region_names
    }
    return {
        "labels": {str(v): name for v, name in zip(labelling.values, labelling.names, strict=True)},
        "regions": regions,
        "reference": {
            "modality": target.file["modality"],
            "path": target.file["path"],
            "relative_to": target.relative_to,
        },
        **_common_facts(prediction, maker),
    }


def classification_facts(prediction: StudyPrediction, maker: Maker) -> dict[str, Any]:
    """Return the probability of each class, the most probable one and what made them."""
    probabilities = [float(value) for value in prediction.probabilities]
    names = maker.model.output_names
    return {
        "class": names[int(np.argmax(probabilities))],
        "probabilities": dict(zip(names, probabilities, strict=True)),
        **_common_facts(prediction, maker),
    }


def _common_facts(prediction: StudyPrediction, maker: Maker) -> dict[str, Any]:
    model = maker.model
    return {
        "study": prediction.study,
        "task": model.task,
        "missing": dict.fromkeys(prediction.missing, model.fills_with),
        "warnings": [*prediction.warnings, *maker.notes],
        "model": dict(maker.source),
        "windows": maker.windows and _window_facts(maker.windows),
        "device": str(model.device),
        "recipe": dict(model.description.recipe),
        "versions": {
            "brainmvp_lightning": __version__,
            "torch": torch.__version__,
            "monai": version("monai"),
        },
    }


def _window_facts(windows: WindowOptions) -> dict[str, Any]:
    flips = "".join("xyz"[axis - 2] for axis in windows.flip_axes)  # however they were asked for
    return {**asdict(windows), "flips": flips}


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a JSON file in one piece.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (json.dumps(facts, indent=1) + "\n").encode())
