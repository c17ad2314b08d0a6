"""A fine-tuned network with all that is needed to use it: no Lightning, no data module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.inference.components import build_backbone, build_head, component_spec
from brainmvp_lightning.inference.origins import check_origin
from brainmvp_lightning.inference.sliding_window import WindowOptions, predict
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates
from brainmvp_lightning.methods.substitution import fill_missing

FORMAT = 1
"""Of the spec."""

ModelTask = Literal["segmentation", "classification"]
Missing = Literal["templates", "zeros"]


class Answer(NamedTuple):
    """What a network says of an image.

    Attributes:
        logits: The answer, then auxiliary ones, coarsest first; ``b k x y z`` or ``b k``.
        features: Pyramid of the backbone, finest first.
    """

    logits: list[Tensor]
    features: list[Tensor]


class FineTunedModel(nn.Module):
    """Backbone, head and templates, and the description of the data they were trained on.

    Args:
        backbone: Spec of the backbone; see `components`.
        head: Spec of the head.
        description: Channels, geometry, outputs and recipe.
        task: What the outputs are.
        templates: Stand-ins for missing modalities, brought to the data with ``for_data``.

    Attributes:
        missing: What stands for a missing modality: the templates, if there are any, or zeros.

    Raises:
        ValueError: If parts do not fit together.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        head: Mapping[str, Any],
        description: LabelledDescription,
        task: ModelTask,
        templates: FrozenTemplates | None = None,
    ) -> None:
        super().__init__()
        if task not in get_args(ModelTask):
            raise ValueError(f"task is {task!r}; use {' or '.join(get_args(ModelTask))}")
        if description.num_outputs < 1:
            raise ValueError(
                "the data name nothing to learn (no regions, structures or classes), so a network "
                "has no outputs; use SegmentationDataModule or ClassificationDataModule"
            )
        _check_templates(templates, description)
        self.backbone_spec = component_spec(backbone)
        self.head_spec = component_spec(head)
        self.description = description
        self.task: ModelTask = task
        self.backbone = build_backbone(self.backbone_spec, len(description.modalities))
        self.head = build_head(self.head_spec, self.backbone, description.num_outputs)
        self.templates = templates
        self.missing: Missing = "templates"

    @property
    def fills_with(self) -> Missing:
        """What stands for a missing modality."""
        return "zeros" if self.templates is None else self.missing

    @property
    def output_names(self) -> tuple[str, ...]:
        """Name of each output: classes, structures, or regions that overlap."""
        if self.task == "classification":
            return self.description.class_names
        if self.description.overlapping:
            return self.description.region_names
        return self.description.label_names

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def fill(self, image: Tensor, present: Tensor, origin: Tensor) -> Tensor:
        """Put templates or zeros in the place of missing modalities.

        Args:
            image: ``b c x y z``, on any device.
            present: Which modalities are there, ``b c``.
            origin: First voxel of each crop from the reference point of the data, ``b 3``.

        Raises:
            ValueError: If a row has no modality at all.
        """
        if not bool(present.any(dim=1).all()):
            raise ValueError(
                "an image without any modality cannot be filled up; give at least one of "
                f"{', '.join(self.description.modalities)}"
            )
        stand_in = None
        if self.templates is not None and self.fills_with == "templates":
            x, y, z = image.shape[2:]
            crops = self.templates.crop(origin.to(self.templates.volumes.device), (x, y, z))
            stand_in = crops.to(image)
        return fill_missing(image, present.to(image.device), stand_in)

    def forward(self, image: Tensor, *, auxiliary: bool = False) -> Answer:
        """Answer for an image without gaps, ``b c x y z``; see `TaskHead.forward`."""
        features = self.backbone(image)
        return Answer(self.head(image, features, auxiliary=auxiliary), features)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities in float32: of exclusive classes, or of each region."""
        if self.task == "segmentation" and self.description.overlapping:
            return torch.sigmoid(logits.float())
        return torch.softmax(logits.float(), dim=1)

    @torch.inference_mode()
    def predict_volume(
        self, image: Tensor, present: Tensor, origin: Tensor, options: WindowOptions
    ) -> Tensor:
        """Predict on whole volumes, in the mode (train or eval) that the model is in.

        Args:
            image: ``b c x y z``, on any device; windows go to the model's.
            present: Which modalities are there, ``b c``.
            origin: First voxel of the volume from the reference point of the data, ``b 3``.
            options: Windows and flips.

        Returns:
            Probabilities, float32: ``b k x y z``, on the model's device or on the CPU if that is
            too much for a device; ``b k`` for classification.

        Raises:
            ValueError: If no modality is there.
            FloatingPointError: If the network answers with numbers that are not finite.
        """
        filled = self.fill(image, present, origin)
        size = None if self.task == "classification" else self.description.crop_size
        answer = predict(
            self._probabilities_of,
            filled,
            size,
            options,
            self.device,
            num_outputs=self.description.num_outputs,
        )
        if not bool(torch.isfinite(answer).all()):
            raise FloatingPointError(
                "the network's answer is not finite: its weights are of a training that diverged, "
                "or the precision is too low; take another checkpoint, or predict in 32-true"
            )
        return answer

    def _probabilities_of(self, image: Tensor) -> Tensor:
        return self.probabilities(self(image).logits[0])

    def spec(self) -> dict[str, Any]:
        """Return all but the weights as plain JSON values."""
        return {
            "format": FORMAT,
            "task": self.task,
            "backbone": self.backbone_spec,
            "head": self.head_spec,
            "description": self.description.to_json(),
            "templates": None if self.templates is None else _template_spec(self.templates),
            "missing": self.missing,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> FineTunedModel:
        """Build the model that `spec` describes; its weights wait to be loaded.

        A spec may come from anywhere, so no code runs for it that is neither installed nor
        imported yet; see `origins`.

        Raises:
            ValueError: If it is no spec of a model, one of a later version, or of unknown parts.
        """
        if spec.get("format") != FORMAT:
            raise ValueError(
                f"the model is of format {spec.get('format')!r}, this version reads {FORMAT}; "
                "update brainmvp-lightning, or export the model again"
            )
        missing = [key for key in ("task", "backbone", "head", "description") if key not in spec]
        if missing:
            raise ValueError(f"the model's description lacks {', '.join(missing)}; export it again")
        for part in ("backbone", "head"):
            check_origin(component_spec(spec[part])["class_path"])
        stand_in = spec.get("missing", "templates")
        if stand_in not in get_args(Missing):
            raise ValueError(
                f"the model's description says missing: {stand_in!r}; it is "
                f"{' or '.join(get_args(Missing))}; export it again"
            )
        templates = spec.get("templates")
        model = cls(
            backbone=spec["backbone"],
            head=spec["head"],
            description=LabelledDescription.from_json(spec["description"]),
            task=spec["task"],
            templates=None if templates is None else _empty_templates(templates),
        )
        model.missing = stand_in
        return model


def _check_templates(templates: FrozenTemplates | None, description: LabelledDescription) -> None:
    if templates is not None and tuple(templates.modalities) != description.modalities:
        raise ValueError(
            f"the templates are of {', '.join(templates.modalities)}, the channels are "
            f"{', '.join(description.modalities)}; bring them to the data with for_data first"
        )


def _template_spec(templates: FrozenTemplates) -> dict[str, Any]:
    return {
        "modalities": list(templates.modalities),
        "shape": list(templates.shape),
        "spacing_mm": list(templates.spacing_mm),
        "centre_mm": list(templates.centre_mm),
    }


def _empty_templates(spec: Mapping[str, Any]) -> FrozenTemplates:
    keys = ("modalities", "shape", "spacing_mm", "centre_mm")
    return FrozenTemplates.empty(*(spec[key] for key in keys))
