"""Fine-tuned models as MONAI bundles, and what such a bundle needs of this package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainmvp_lightning.inference.bundle_config import bundle_metadata, inference_config
from brainmvp_lightning.inference.card import model_card
from brainmvp_lightning.inference.export import new_folder, to_json, write_model
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.volumes.atomic import write_bytes

_IMAGE_ENDS = (".nii.gz", ".nii")


class BundleNetwork(nn.Module):
    """A fine-tuned model that answers with probabilities, as one tensor.

    Not with logits: where windows overlap, probabilities are what this package averages.

    Args:
        model: What answers.
    """

    def __init__(self, model: FineTunedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Map ``b c x y z`` to ``b k x y z`` for segmentation, ``b k`` for classification."""
        return self.model.probabilities(self.model(image).logits[0])


def build_network(spec: str) -> BundleNetwork:
    """Return the network of a bundle, in eval mode; MONAI fills it from ``models/model.pt``.

    Args:
        spec: What `FineTunedModel.spec` returns, as JSON text, for a bundle would take some texts
            in it for code.

    Raises:
        ValueError: If it is none.
    """
    return BundleNetwork(FineTunedModel.from_spec(json.loads(spec))).eval()


class ScaleToUnit:
    """Clip each channel at two of its percentiles and scale it to [0, 1].

    Args:
        lower: Percentile that becomes 0.
        upper: Percentile that becomes 1.
        over: Voxels that count: ``"foreground"``, those that are not 0, or the whole ``"volume"``.
    """

    def __init__(self, lower: float, upper: float, over: str = "foreground") -> None:
        self.shares = (lower / 100, upper / 100)
        self.over = over

    def __call__(self, image: Tensor) -> Tensor:
        """Return ``c x y z`` in the same form; a channel without contrast becomes 0."""
        return torch.stack([self._scale(channel) for channel in image])

    def _scale(self, channel: Tensor) -> Tensor:
        values = channel[channel != 0] if self.over == "foreground" else channel.flatten()
        if not values.numel():
            return torch.zeros_like(channel)
        # Not torch.quantile, which refuses whole volumes.
        low, high = np.quantile(values.numpy(), self.shares).tolist()
        if not high > low:
            return torch.zeros_like(channel)
        scaled: Tensor = ((channel - low) / (high - low)).clamp(0, 1)
        return scaled


def find_studies(folder: str | Path, modalities: Sequence[str]) -> list[dict[str, list[str]]]:
    """Return the images of each study, in the order of the channels.

    Args:
        folder: Has a folder for each study, with a NIfTI file for each modality whose name ends in
            it, such as ``t1ce.nii.gz`` or ``case7_t1ce.nii.gz``.
        modalities: Those that a study must have.

    Raises:
        FileNotFoundError: If there is no study, or one lacks a modality.
    """
    vocabulary = ModalityVocabulary(dict.fromkeys(modalities, ()))
    studies = []
    for study in sorted(path for path in Path(folder).glob("*") if path.is_dir()):
        found = {}
        for path in sorted(study.iterdir()):
            if path.name.endswith(_IMAGE_ENDS):
                found[_modality_of(path, vocabulary)] = str(path)
        missing = [name for name in modalities if name not in found]
        if missing:
            raise FileNotFoundError(
                f"{study} has no {', '.join(missing)}; a bundle takes complete studies, "
                "'brainmvp segment' takes others as well"
            )
        studies.append({"image": [found[name] for name in modalities]})
    if not studies:
        raise FileNotFoundError(f"{folder} has no folders of studies; set dataset_dir")
    return studies


def _modality_of(path: Path, vocabulary: ModalityVocabulary) -> str:
    ending = path.name.partition(".nii")[0].rpartition("_")[2]
    try:
        return vocabulary.parse(ending)
    except UnknownModalityError:
        return ""


def save_bundle(
    model: FineTunedModel, folder: Path, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a model as a MONAI bundle; its network needs this package.

    Args:
        model: What is exported.
        folder: New or empty. It is complete or not there, whatever happens.
        metadata: As in `export.save_model`; also ``version`` of the bundle, and ``authors``.

    Raises:
        FileExistsError: If the folder holds something.
        WeightsError: If weights are not finite, or the metadata are no plain JSON.
    """
    known = dict(metadata or {})
    note = str(known.get("licence_note") or "No licence note was given; ask whoever trained it.")
    with new_folder(folder) as part:
        for name in ("configs", "models", "docs"):
            (part / name).mkdir()
        write_model(model, part / "models", known)
        write_bytes(part / "models" / "model.pt", _state(model))
        write_bytes(part / "configs" / "metadata.json", to_json(bundle_metadata(model, known)))
        write_bytes(part / "configs" / "inference.json", to_json(inference_config(model)))
        card = model_card(model.spec(), known, folder.resolve().name)
        (part / "docs" / "README.md").write_text(card + _HOW_TO, encoding="utf-8")
        (part / "LICENSE").write_text(f"{note}\n", encoding="utf-8")


_HOW_TO = """
## MONAI

```bash
pip install brainmvp-lightning "monai[ignite,fire]"
python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
    --dataset_dir STUDIES
```

`STUDIES` has a folder for each study. Its images must be aligned and, if the training data were,
without skull; `brainmvp segment models ...` does all the preparation of the training data itself.
"""


def _state(model: FineTunedModel) -> bytes:
    stream = BytesIO()
    state = BundleNetwork(model).state_dict()
    torch.save({name: tensor.detach().cpu().clone() for name, tensor in state.items()}, stream)
    return stream.getvalue()
