"""Whatever holds pre-trained weights, under the names of our networks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from brainmvp_lightning.weights.errors import UnknownKindError, WeightsError
from brainmvp_lightning.weights.export import parse_manifest
from brainmvp_lightning.weights.published import LAYOUTS, detect_layout, translate
from brainmvp_lightning.weights.published_facts import encoder_options, release_manifest
from brainmvp_lightning.weights.reading import SUFFIX, Content, read_content
from brainmvp_lightning.weights.template_facts import (
    mapping_of,
    place_of_templates,
    reference_voxel,
    template_options,
)

CONFIG_FILE = "config.json"
MODEL_FILE = f"model{SUFFIX}"
ENCODER_FILE = f"encoder{SUFFIX}"

ACCEPTED = (
    "an encoder file (.safetensors) or checkpoint of a pre-training, a checkpoint or exported "
    f"folder of a fine-tuned network, or a published BrainMVP checkpoint "
    f"({', '.join(layout.title.partition(', ')[2] for layout in LAYOUTS)})"
)

_RECONSTRUCTION = re.compile(r"method\.(\w+)\.decoder\.(.+)")
# The cross-modal decoder is the one that sees true images only.
_PREFERRED_DECODERS = ("cross_modal", "distillation")


SourceKind = Literal["encoder", "pretrained", "fine_tuned", "published"]


@dataclass(frozen=True, eq=False)
class WeightSource:
    """Pre-trained weights, and what is known of them."""

    path: Path
    kind: SourceKind
    title: str
    """What kind of file it is, in words."""
    encoder: dict[str, Tensor]
    """By name in the backbone."""
    decoder: dict[str, Tensor] = field(default_factory=dict)
    """Reconstruction decoder, by name in it, such as ``up.0.weight``."""
    head: dict[str, Tensor] = field(default_factory=dict)
    """Task head of a fine-tuned network, by name in it."""
    templates: Tensor | None = None
    """One volume for each modality, ``s x y z``; the manifest says how they become images."""
    manifest: dict[str, Any] = field(default_factory=dict)
    """What the file says of itself; plain JSON values."""
    modalities: tuple[str, ...] | None = None
    """Of the channels of the image; None if not known, or if one channel takes any of them."""
    rest: tuple[str, ...] = ()
    """Names in the file that are none of these."""

    @property
    def backbone(self) -> dict[str, Any]:
        """Class and options of the backbone, as far as the file tells."""
        return mapping_of(self.manifest.get("backbone"))

    @property
    def network(self) -> str:
        """The backbone in a few words, for messages."""
        backbone = self.backbone
        name = str(backbone.get("class_path") or backbone.get("class") or "").rpartition(".")[2]
        widths = backbone.get("feature_channels") or backbone.get("widths")
        options = {"widths": widths} if widths else mapping_of(backbone.get("init_args"))
        if name:
            told = ", ".join(f"{key} {value}" for key, value in list(options.items())[:3])
            return f"{name} ({told})" if told else name
        first, tensor = next(iter(self.encoder.items()))  # `open_source` sees to it
        shape = "x".join(map(str, tensor.shape))
        return f"a network of {len(self.encoder)} tensors ({first} of shape {shape}, ...)"


def file_of(path: Path) -> Path:
    """Return the file whose tensors `open_source` reads: `path`, or the one in a folder.

    Raises:
        FileNotFoundError: If a folder has none.
    """
    if not path.is_dir():
        return path
    if not (path / CONFIG_FILE).is_file() and (path / ENCODER_FILE).is_file():
        return path / ENCODER_FILE
    if not (path / CONFIG_FILE).is_file() or not (path / MODEL_FILE).is_file():
        raise FileNotFoundError(
            f"{path} is a folder without {CONFIG_FILE} and {MODEL_FILE}, and without "
            f"{ENCODER_FILE}; give one that 'brainmvp weights export' wrote, or a file of weights"
        )
    return path / MODEL_FILE


def open_source(path: Path) -> WeightSource:
    """Read pre-trained weights of any kind that we know, without running code from the file.

    Args:
        path: An encoder file of ours, or the folder of a run that has one; a Lightning checkpoint
            of a pre-training or of a fine-tuned network; a folder with ``config.json`` and
            ``model.safetensors``; or a published BrainMVP checkpoint.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        WeightsError: If it is damaged or of another kind; the message is one sentence.
    """
    source = _open(Path(path))
    if not source.encoder:
        raise WeightsError(f"{path} ({source.title}) holds no encoder; give {ACCEPTED}")
    return source


def _open(path: Path) -> WeightSource:
    is_exported = path.name == MODEL_FILE and (path.parent / CONFIG_FILE).is_file()
    if path.is_dir() or is_exported:
        return _open_folder(path if path.is_dir() else path.parent)
    content = read_content(path)
    manifest = parse_manifest(path, content.metadata)
    if manifest is not None:
        return _encoder_file(path, content.tensors, manifest)
    names = content.tensors
    if any(name.startswith("model.backbone.") for name in names):
        return _fine_tuned(path, content)
    if any(name.startswith("backbone.") for name in names):
        return pretrained_source(path, content.tensors, content.facts)
    if detect_layout(names) is not None:
        return _published(path, content)
    raise UnknownKindError(
        f"{path} holds {len(names)} tensors such as {', '.join(list(names)[:3])}, which belong to "
        f"no kind of file that is known; give {ACCEPTED}"
    )


def pretrained_source(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> WeightSource:
    """Return what the tensors of a pre-training task hold.

    Args:
        path: Where they are from, for messages.
        tensors: The state of the task: ``backbone.*``, ``method.*``.
        facts: Of its checkpoint; ``hyper_parameters`` are used where they are there.
    """
    configuration = mapping_of(facts.get("hyper_parameters"))
    encoder = _part(tensors, "backbone.")
    decoder = _reconstruction(tensors)
    used = {f"backbone.{name}" for name in encoder} | set(decoder.values())
    manifest: dict[str, Any] = {"configuration": configuration}
    if "global_step" in facts:
        manifest["steps"] = facts["global_step"]
    if "backbone" in configuration:
        manifest["backbone"] = mapping_of(configuration["backbone"])
    options = template_options(configuration)
    templates = tensors.get("method.templates.values")
    if templates is not None:
        used |= {name for name in tensors if name.startswith("method.templates.")}
        manifest |= place_of_templates(tensors, options)
    return WeightSource(
        path=path,
        kind="pretrained",
        title="checkpoint of a pre-training",
        encoder=encoder,
        decoder={name: tensors[source] for name, source in decoder.items()},
        templates=templates,
        manifest=manifest,
        rest=_others(tensors, used),
    )


def _encoder_file(
    path: Path, tensors: Mapping[str, Tensor], manifest: dict[str, Any]
) -> WeightSource:
    return WeightSource(
        path=path,
        kind="encoder",
        title="encoder file",
        encoder=_part(tensors, "encoder."),
        decoder=_part(tensors, "decoder."),
        templates=tensors.get("templates"),
        manifest=manifest,
        modalities=_names(manifest.get("channels")),
    )


def _fine_tuned(path: Path, content: Content) -> WeightSource:
    tensors = _part(content.tensors, network_prefix(content.facts))
    spec = mapping_of(content.facts.get("model_spec"))
    return _task_network(path, "checkpoint of a fine-tuned network", tensors, spec)


def network_prefix(facts: Mapping[str, Any]) -> str:
    """Return how the names of the scored network begin in a checkpoint of a fine-tuning.

    Averaged weights are what was validated, where a run kept them.
    """
    return "ema.module." if facts.get("ema") else "model."


def read_spec(folder: Path) -> dict[str, Any]:
    """Return what the ``config.json`` of an exported network says.

    Raises:
        WeightsError: If it is damaged, or describes no network.
    """
    file = folder / CONFIG_FILE
    try:
        spec = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{file} is damaged ({error}); copy it again") from error
    if not isinstance(spec, dict):
        raise WeightsError(f"{file} describes no model; export it again")
    return spec


def _open_folder(folder: Path) -> WeightSource:
    file = file_of(folder)
    if file.name == ENCODER_FILE:
        return _open(file)
    spec = read_spec(folder)
    tensors = read_content(file).tensors
    if not any(name.startswith("backbone.") for name in tensors):
        raise WeightsError(
            f"{folder} holds tensors such as {', '.join(list(tensors)[:3])}, not those of a "
            f"network of this package (backbone.*, head.*); give {ACCEPTED}"
        )
    return _task_network(folder, "exported fine-tuned network", tensors, spec)


def _task_network(
    path: Path, title: str, tensors: Mapping[str, Tensor], spec: dict[str, Any]
) -> WeightSource:
    encoder, head = _part(tensors, "backbone."), _part(tensors, "head.")
    used = {f"backbone.{name}" for name in encoder} | {f"head.{name}" for name in head}
    templates = tensors.get("templates.volumes")
    if templates is not None:
        used |= {name for name in tensors if name.startswith("templates.")}
        spec = {
            **spec,
            "templates": {**mapping_of(spec.get("templates")), **reference_voxel(tensors)},
        }
    return WeightSource(
        path=path,
        kind="fine_tuned",
        title=title,
        encoder=encoder,
        head=head,
        templates=templates,
        manifest=spec,
        modalities=_names(mapping_of(spec.get("description")).get("modalities")),
        rest=_others(tensors, used),
    )


def _published(path: Path, content: Content) -> WeightSource:
    try:
        translation = translate(content.tensors)
        options = encoder_options(translation)
        manifest = release_manifest(translation, path)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    manifest["backbone"] = {"class": translation.layout.network, **options}
    if translation.layout.network == "uniformer":
        # Tensors do not tell the width of an attention head; the published one is 64.
        width = math.gcd(64, *options["widths"][2:])
        manifest["backbone"]["init_args"] = {"head_width": width}
    if translation.head:
        manifest["head"] = {"class_path": "uniunet"}
    return WeightSource(
        path=path,
        kind="published",
        title=translation.layout.title,
        encoder=_part(translation.tensors, "encoder."),
        decoder=_part(translation.tensors, "decoder."),
        head=_part(translation.head, "head."),
        templates=translation.tensors.get("templates"),
        manifest=manifest,
        rest=tuple(row.source for row in translation.rows if row.target is None),
    )


def _names(value: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - whatever a file says
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    return tuple(map(str, value)) if is_list else None


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _others(tensors: Mapping[str, Tensor], used: Iterable[str]) -> tuple[str, ...]:
    known = set(used)
    return tuple(name for name in tensors if name not in known)


def _reconstruction(names: Iterable[str]) -> dict[str, str]:
    """Return the names in a reconstruction decoder, and in the task that it is part of."""
    decoders: dict[str, dict[str, str]] = {}
    for name in names:
        if match := _RECONSTRUCTION.fullmatch(name):
            decoders.setdefault(match[1], {})[match[2]] = name
    order = [*(key for key in _PREFERRED_DECODERS if key in decoders), *decoders]
    return decoders[order[0]] if order else {}
