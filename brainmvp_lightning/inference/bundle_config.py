"""The two files of a MONAI bundle that say what its network is and how it is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from brainmvp_lightning import __version__
from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.inference.card import NOT_A_DEVICE
from brainmvp_lightning.inference.model import FineTunedModel

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_PARTS = "brainmvp_lightning.inference.bundle"


def bundle_metadata(model: FineTunedModel, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``metadata.json``, which follows MONAI's schema of 2024-07-25."""
    description = model.description
    return {
        "schema": SCHEMA,
        "version": str(metadata.get("version") or "0.1.0"),
        "changelog": {},
        "monai_version": _release("monai"),
        "pytorch_version": _release("torch"),
        "numpy_version": _release("numpy"),
        "required_packages_version": {
            "brainmvp-lightning": __version__,
            "nibabel": _release("nibabel"),
            "pytorch-ignite": "0.4.11",
        },
        "task": f"{model.task.capitalize()} of brain MRI",
        "description": f"{model.task.capitalize()} from {', '.join(description.modalities)}.",
        "authors": str(metadata.get("authors") or "not stated"),
        "copyright": str(metadata.get("licence_note") or "not stated"),
        "data_source": str(metadata.get("data") or "not stated"),
        "data_type": "nibabel",
        "image_classes": ", ".join(description.modalities),
        "pred_classes": ", ".join(model.output_names),
        "eval_metrics": dict(metadata.get("metrics") or {}),
        "intended_use": NOT_A_DEVICE,
        "network_data_format": _data_format(model),
    }


def _data_format(model: FineTunedModel) -> dict[str, Any]:
    description = model.description
    is_segmentation = model.task == "segmentation"
    size = list(description.crop_size)
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": len(description.modalities),
        "spatial_shape": size,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": is_segmentation,
        "channel_def": dict(enumerate(description.modalities)),
    }
    prediction = {
        "type": "image" if is_segmentation else "probabilities",
        "format": "segmentation" if is_segmentation else "classification",
        "num_channels": description.num_outputs,
        "spatial_shape": size if is_segmentation else [],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": is_segmentation,
        "channel_def": dict(enumerate(model.output_names)),
    }
    return {"inputs": {"image": image}, "outputs": {"pred": prediction}}


def inference_config(model: FineTunedModel) -> dict[str, Any]:
    """Return ``inference.json``: from folders of aligned images to answers."""
    return {
        "imports": ["$import monai", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/studies'",
        "output_dir": "$@bundle_root + '/predictions'",
        "datalist": {
            "_target_": f"{_PARTS}.find_studies",
            "folder": "@dataset_dir",
            "modalities": list(model.description.modalities),
        },
        "network_def": {
            "_target_": f"{_PARTS}.build_network",
            "spec": json.dumps(model.spec()),
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(model)},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": _inferer(model),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(model)},
        "handlers": _handlers(model),
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "decollate": True,
        },
        "run": ["$@evaluator.run()"],
    }


def _preprocessing(model: FineTunedModel) -> list[dict[str, Any]]:
    description = model.description
    steps: list[dict[str, Any]] = [
        _step("LoadImaged", ensure_channel_first=True),
        _step("Orientationd", axcodes="RAS", labels=[["L", "R"], ["P", "A"], ["I", "S"]]),
    ]
    if description.resized_to is None:
        steps.append(_step("Spacingd", pixdim=list(description.spacing_mm), mode="bilinear"))
        steps.append(_crop(description))
    else:
        steps.append(_crop(description, has_spacing=False))
        steps.append(_step("Resized", spatial_size=list(description.resized_to), mode="trilinear"))
    if description.clip:
        scale = {"_target_": f"{_PARTS}.ScaleToUnit", **description.clip}
        steps.append({"_target_": "Lambdad", "keys": "image", "func": scale})
    if description.resized_to is not None:
        steps.append(_step("CenterSpatialCropd", roi_size=list(description.crop_size)))
    return [*steps, _step("EnsureTyped", dtype="$torch.float32")]


def _crop(description: LabelledDescription, *, has_spacing: bool = True) -> dict[str, Any]:
    """Return the step that cuts out the box that a prepared study is stored as.

    Percentiles over the volume are those of this box; what lies around it comes back as background.
    """
    margin_mm = float(description.recipe.get("margin_mm") or 0.0)
    margin = [round(margin_mm / side) for side in description.spacing_mm] if has_spacing else 0
    return _step("CropForegroundd", source_key="image", margin=margin, allow_smaller=True)


def _step(name: str, **options: object) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **options}


def _inferer(model: FineTunedModel) -> dict[str, Any]:
    if model.task == "classification":
        return {"_target_": "SimpleInferer"}
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(model.description.crop_size),
        "sw_batch_size": 1,
        "overlap": 0.5,
        "mode": "gaussian",
    }


def _postprocessing(model: FineTunedModel) -> list[dict[str, Any]]:
    if model.task == "classification":
        return [{"_target_": "EnsureTyped", "keys": "pred"}]
    inverse = {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "image",
        "nearest_interp": False,
    }
    decide = {"threshold": 0.5} if model.description.overlapping else {"argmax": True}
    write = {"output_dir": "@output_dir", "data_root_dir": "@dataset_dir"}
    return [
        inverse,
        {"_target_": "AsDiscreted", "keys": "pred", **decide},
        {"_target_": "SaveImaged", "keys": "pred", "output_postfix": "seg", **write},
    ]


def _handlers(model: FineTunedModel) -> list[dict[str, Any]]:
    weights = {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": "@network"},
    }
    if model.task == "segmentation":
        return [weights]
    table = {
        "_target_": "ClassificationSaver",
        "output_dir": "@output_dir",
        "filename": "probabilities.csv",
        "batch_transform": "$lambda batch: [item['image'].meta for item in batch]",
        "output_transform": "$monai.handlers.from_engine('pred')",
    }
    return [weights, table]


def _release(package: str) -> str:
    return version(package).partition("+")[0]
