"""Cards: what a reader must know of a model before using it, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from brainmvp_lightning.inference.card_results import results

LIBRARY = "brainmvp_lightning"
_TAGS = ("medical", "mri", "brain", "3d", "pytorch")
_PIPELINES = {"segmentation": "image-segmentation", "classification": "image-classification"}
_RECORDED = {"scans": "scans seen", "recipe": "preparation", "clip": "intensities"}
NOT_A_DEVICE = (
    "For research. This is no medical device: it was not examined for use on patients, and its "
    "answers must not guide treatment."
)


def encoder_card(
    manifest: Mapping[str, Any], parts: Sequence[str], licence: str | None = None
) -> str:
    """Return the card of a file of pre-trained weights, with the header that model hubs read.

    Args:
        manifest: Of the file.
        parts: What it holds: ``encoder``, ``decoder``, ``templates``.
        licence: Identifier for the header, such as ``apache-2.0``.
    """
    backbone: Any = manifest.get("backbone") or {}
    scans: Any = manifest.get("scans") or {}
    sections = (
        _header({"library_name": LIBRARY, "tags": [*_TAGS, "self-supervised learning"]}, licence),
        "# Encoder pre-trained on brain MRI",
        f"`encoder.safetensors` holds {_listed(parts)} of a self-supervised pre-training.",
        _table(
            {
                "network": _network(backbone),
                "channels of the image": backbone.get("in_channels"),
                "studies seen": manifest.get("studies"),
                "scans seen": _listed(f"{n} {name}" for name, n in scans.items()),
                "epochs": manifest.get("epochs"),
                "steps": manifest.get("steps"),
                **_preparation(manifest.get("recipe") or {}, manifest.get("clip") or {}),
                "cache": manifest.get("recipe_hash"),
                "made with": _versions(manifest.get("versions") or {}),
                "not recorded": _listed(
                    told for key, told in _RECORDED.items() if not manifest.get(key)
                ),
            }
        ),
        "## Use\n\n```bash\nbrainmvp weights inspect encoder.safetensors\n"
        "brainmvp fit --config finetune.yaml --model.init_args.weights encoder.safetensors\n```",
        f"## Limits\n\n{_demands(manifest)} The network knows only the modalities that it saw. "
        f"{NOT_A_DEVICE}",
        f"## Licence\n\n{manifest.get('licence_note') or 'No licence note was given.'}",
    )
    return "\n\n".join(sections) + "\n"


def model_card(spec: Mapping[str, Any], metadata: Mapping[str, Any], name: str) -> str:
    """Return the card of a fine-tuned model, with the header that model hubs read.

    Args:
        spec: See `FineTunedModel.spec`.
        metadata: ``licence`` (an identifier such as ``apache-2.0``), ``licence_note``, ``metrics``
            (the summary of a test run, or numbers by name), ``data`` and ``exported_from``; all
            optional.
        name: Title of the model.
    """
    description: Any = spec["description"]
    header = {
        "library_name": LIBRARY,
        "pipeline_tag": _PIPELINES[spec["task"]],
        "tags": [*_TAGS, str(spec["task"])],
    }
    sections = (
        _header(header, metadata.get("licence")),
        f"# {name}",
        f"{str(spec['task']).capitalize()} of brain MRI with {LIBRARY}.",
        _table(
            {
                "network": _network(spec["backbone"]),
                "head": _network(spec["head"]),
                "channels, in order": _listed(description["modalities"]),
                **_outputs(spec["task"], description),
                **_geometry(description),
                **_preparation(description.get("recipe") or {}, description.get("clip") or {}),
                "missing modalities": _stand_in(spec),
                "data": metadata.get("data"),
                "exported from": metadata.get("exported_from"),
            }
        ),
        f"## Use\n\n{_usage(spec)}",
        f"## Results\n\n{results(metadata.get('metrics') or {})}",
        f"## Limits\n\n{_demands(description)} Other spacings, scalings or missing skull stripping "
        f"change the answers. {NOT_A_DEVICE}",
        f"## Licence\n\n{metadata.get('licence_note') or 'No licence note was given.'}",
    )
    return "\n\n".join(sections) + "\n"


def _header(content: Mapping[str, Any], licence: str | None) -> str:
    header = {**content, "license": licence} if licence else dict(content)
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---"


def _usage(spec: Mapping[str, Any]) -> str:
    first = spec["description"]["modalities"][0]
    return (
        f"```bash\nbrainmvp segment path/to/this/folder {first}=scan_{first}.nii.gz ... "
        "-o predictions\n```\n\n"
        "```python\nfrom brainmvp_lightning.inference.hub import from_pretrained\n\n"
        'model = from_pretrained("path/to/this/folder")  # or the name of its repository\n```'
    )


def _outputs(task: str, description: Mapping[str, Any]) -> dict[str, str]:
    if task == "classification":
        return {"classes": _listed(description["class_names"])}
    if description["overlapping"]:
        return {"regions (may overlap)": _listed(description["region_names"])}
    return {
        "structures, 0 first": _listed(description["label_names"]),
        "regions": _listed(description["region_names"]),
    }


def _preparation(recipe: Mapping[str, Any], clip: Mapping[str, Any]) -> dict[str, str]:
    facts = [f"{key}: {value}" for key, value in recipe.items()]
    scaled = ""
    if clip:
        scaled = (
            f"percentiles {clip.get('lower')} and {clip.get('upper')} of {clip.get('over')} "
            "become 0 and 1"
        )
    return {"preparation": "; ".join(facts), "intensities": scaled}


def _demands(facts: Mapping[str, Any]) -> str:
    """Return what images must be like, and what of it nobody noted."""
    names = {"recipe": "prepared", "clip": "scaled"}
    known = [word for key, word in names.items() if facts.get(key)]
    unknown = [word for key, word in names.items() if not facts.get(key)]
    text = f"Images must be {' and '.join(known)} as above." if known else ""
    if unknown:
        text += (
            f" It is not recorded here how the images of the training were {' and '.join(unknown)};"
            " new ones must be so too, ask whoever trained it."
        )
    return text.strip()


def _geometry(description: Mapping[str, Any]) -> dict[str, str]:
    if description.get("resized_to") is None:
        return {
            "windows, voxels": _size(description["crop_size"]),
            "spacing, mm": _size(description["spacing_mm"]),
        }
    return {
        "resized to, voxels": _size(description["resized_to"]),
        "centre crop, voxels": _size(description["crop_size"]),
    }


def _stand_in(spec: Mapping[str, Any]) -> str:
    templates: Any = spec.get("templates")
    if templates is None or spec.get("missing") == "zeros":
        return "zeros"
    return f"learned templates of {_listed(templates['modalities'])}"


def _table(facts: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {str(value).replace('|', '/')} |"
        for name, value in facts.items()
        if value not in (None, "", {}, ())
    ]
    return "\n".join(("| | |", "|---|---|", *rows))


def _network(component: Mapping[str, Any]) -> str:
    name = str(component.get("class_path") or component.get("class") or "unknown")
    options: Any = component.get("init_args") or {}
    told = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{name.rpartition('.')[2]}({told})"


def _versions(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(str, names))


def _size(values: Iterable[Any]) -> str:
    return " x ".join(map(str, values))
