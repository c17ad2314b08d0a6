"""The network a fine-tuning starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.inference.components import build_backbone, component_spec
from brainmvp_lightning.inference.hub import local_copy
from brainmvp_lightning.inference.model import FineTunedModel, Missing, ModelTask
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates, load_templates
from brainmvp_lightning.methods.substitution import SubstitutionOptions
from brainmvp_lightning.methods.template_files import place_templates
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.weights.sources import WeightSource, open_source
from brainmvp_lightning.weights.template_facts import mapping_of
from brainmvp_lightning.weights.transfer import TransferOptions, TransferReport, transfer


@dataclass(frozen=True)
class Start:
    """What a fine-tuning starts from.

    Attributes:
        backbone: Factory of the backbone, or its spec.
        head: Factory of the head, or its spec; None for the one that suits backbone and task.
        weights: File of pre-trained weights, if any.
        transfer: How they are taken over.
        templates: File or folder of templates, if not those of the weights.
        missing: What a missing modality is filled with; None for templates where there are any.
        substitution: Needs templates, if it is there.
    """

    backbone: Callable[..., Backbone] | Mapping[str, Any]
    head: Callable[..., TaskHead] | Mapping[str, Any] | None
    weights: str | None
    transfer: TransferOptions
    templates: str | None
    missing: Missing | None
    substitution: SubstitutionOptions | None

    def build(
        self, description: LabelledDescription, task: ModelTask
    ) -> tuple[FineTunedModel, TransferReport | None]:
        """Build the network for some data and fill it.

        Returns:
            The network, and what became of the weights; None without weights.

        Raises:
            ValueError: If weights, templates, crops or options do not suit.
            FileNotFoundError: If there is no such file.
        """
        source = None if self.weights is None else open_source(local_copy(self.weights))
        backbone = component_spec(self.backbone)
        model = FineTunedModel(
            backbone=backbone,
            head=self._head_spec(backbone, description, task),
            description=description,
            task=task,
            templates=self._templates(source, description),
        )
        model.missing = self.missing or "templates"
        check_crop(model.backbone, description, task)
        if self.substitution is not None:
            self.substitution.check(description.crop_size)
        if source is None:
            return model, None
        report = transfer(
            model.backbone,
            model.head,
            source,
            description.modalities,
            self.transfer,
            model.spec(),
        )
        return model, report

    def _head_spec(
        self, backbone: Mapping[str, Any], description: LabelledDescription, task: ModelTask
    ) -> dict[str, Any]:
        if self.head is not None:
            return component_spec(self.head)
        if task == "classification":
            return {"class_path": "pooled", "init_args": {}}
        paired = build_backbone(backbone, len(description.modalities)).segmentation_head
        return {"class_path": paired, "init_args": {}}

    def _templates(
        self, source: WeightSource | None, description: LabelledDescription
    ) -> FrozenTemplates | None:
        if self.missing == "zeros" and self.substitution is None:
            return None
        found = self._find_templates(source)
        if found is not None:
            return found.for_data(description)
        asked = (
            "model.substitution" if self.substitution is not None else "model.missing: templates"
        )
        if self.substitution is not None or self.missing == "templates":
            where = "there are no weights" if source is None else f"{source.path} holds none"
            raise SetupError(
                f"{asked} needs modality templates, but {where}; give a file with model.templates, "
                "or set model.substitution to null and model.missing to zeros"
            )
        return None

    def _find_templates(self, source: WeightSource | None) -> FrozenTemplates | None:
        if self.templates is not None:
            return load_templates(self.templates)
        if source is None or source.templates is None:
            return None
        return templates_of(source)


def check_crop(backbone: Backbone, description: LabelledDescription, task: ModelTask) -> None:
    """See that crops suit a network.

    Raises:
        SetupError: If a side is no multiple of its last stride, or too little is left there.
    """
    coarsest = backbone.strides[-1]
    if any(side % coarsest for side in description.crop_size):
        raise SetupError(
            f"data.crop_size {tuple(description.crop_size)} must be multiples of {coarsest}, the "
            f"stride of {type(backbone).__name__}"
        )
    if task == "segmentation" and all(side == coarsest for side in description.crop_size):
        raise SetupError(
            f"data.crop_size {tuple(description.crop_size)} leaves {type(backbone).__name__} a "
            f"single voxel at its coarsest level, which has no statistics; use at least "
            f"{2 * coarsest} along one axis"
        )


def templates_of(source: WeightSource) -> FrozenTemplates:
    """Return the templates among some weights.

    Raises:
        SetupError: If the file does not say what and where they are.
    """
    entry = mapping_of(source.manifest.get("templates"))
    is_placed = "affine" in entry or {"spacing_mm", "centre_mm"} <= entry.keys()
    if source.templates is None or "modalities" not in entry or not is_placed:
        raise SetupError(
            f"{source.path} does not say which modalities its templates have and where they are; "
            "name them with model.templates, such as the encoder.safetensors or the folder "
            "templates of the run"
        )
    modalities, volumes = tuple(entry["modalities"]), source.templates.float()
    if "affine" in entry:
        return FrozenTemplates(*place_templates(source.path, volumes, entry))
    voxel = entry.get("reference_voxel")
    return FrozenTemplates(modalities, volumes, entry["spacing_mm"], entry["centre_mm"], voxel)
