"""``brainmvp weights export``: checkpoints of ours as files and folders for others."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from torch import Tensor

from brainmvp_lightning.commands.parsing import make_parser
from brainmvp_lightning.inference.bundle import save_bundle
from brainmvp_lightning.inference.components import build_backbone
from brainmvp_lightning.inference.export import save_encoder, save_model
from brainmvp_lightning.inference.loading import load_model
from brainmvp_lightning.inference.origins import check_origin
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.export import write_weights
from brainmvp_lightning.weights.load import match_tensors
from brainmvp_lightning.weights.sharing import shareable
from brainmvp_lightning.weights.sources import WeightSource, open_source

LICENCE_NOTE = "terms follow the data the weights were learned from"


def export(argv: list[str]) -> None:
    """Write a checkpoint in another form.

    Raises:
        WeightsError: If the checkpoint cannot be used, or not for that form.
        OSError: If something cannot be read or written.
    """
    options = _parse(argv)
    output: Path = options.output
    if options.format == "safetensors":
        _check_file(output, options.file)
        tensors, manifest = _encoder(options)
        write_weights(output, tensors, manifest)
    elif options.format == "huggingface" and open_source(options.file).kind == "pretrained":
        tensors, manifest = _encoder(options)
        save_encoder(tensors, manifest, output, options.licence)
    else:
        _export_model(options)
    sys.stdout.write(f"wrote {output}\n")


def _export_model(options: Namespace) -> None:
    metadata = {"licence": options.licence, "licence_note": options.licence_note}
    metadata["exported_from"] = options.file.name
    if options.metrics is not None:
        metadata["metrics"] = _results(_read_json(options.metrics))
    save = save_model if options.format == "huggingface" else save_bundle
    save(load_model(options.file), options.output, {k: v for k, v in metadata.items() if v})


def _parse(argv: list[str]) -> Namespace:
    parser = make_parser(
        "brainmvp weights export",
        "Write a fine-tuned model as a folder for the Hugging Face hub or as a MONAI bundle, or "
        "the encoder of a checkpoint as a file of weights.",
    )
    parser.add_argument("file", type=Path, help="checkpoint of a fine-tuning or pre-training")
    parser.add_argument(
        "--output", type=Path, required=True, help="new folder; or file, for safetensors"
    )
    parser.add_argument(
        "--format",
        type=Literal["huggingface", "monai", "safetensors"],
        default="huggingface",
        help="what to write; safetensors is one file: the encoder, with decoder and templates of a "
        "pre-training",
    )
    parser.add_argument("--licence-note", type=str, default=LICENCE_NOTE, help="terms of use")
    parser.add_argument(
        "--licence", type=str | None, help="identifier for the card, such as cc-by-nc-4.0"
    )
    parser.add_argument(
        "--metrics", type=Path | None, help="results for the card: test/summary.json"
    )
    options: Namespace = parser.parse_args(argv)
    return options


def _check_file(output: Path, source: Path) -> None:
    if output.suffix != ".safetensors":
        raise WeightsError(f"{output}: the name of the output must end in .safetensors")
    if output.resolve() == source.resolve():
        raise WeightsError(f"{output} is the file to read; choose another output")


def _encoder(options: Namespace) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and manifest of an encoder file."""
    source = open_source(options.file)
    if source.kind in ("encoder", "published"):
        hint = "it can be used as it is" if source.kind == "encoder" else "use weights import"
        raise WeightsError(
            f"{options.file} is no checkpoint of a run of ours but this: {source.title}; {hint}"
        )
    tensors = {f"encoder.{name}": tensor for name, tensor in source.encoder.items()}
    tensors |= {f"decoder.{name}": tensor for name, tensor in source.decoder.items()}
    manifest = {**_manifest(source), "licence_note": options.licence_note}
    if source.templates is not None and "templates" in manifest:
        tensors["templates"] = source.templates
    return tensors, manifest


def _manifest(source: WeightSource) -> dict[str, Any]:
    known = source.manifest
    description: Mapping[str, Any] = known.get("description") or {}
    manifest: dict[str, Any] = {
        "source": {"layout": source.title, "file": source.path.name},
        "backbone": _describe(source),
        "recipe": description.get("recipe") or {},
        "clip": description.get("clip") or {},
        "configuration": shareable(known.get("configuration") or {}),
    }
    if "steps" in known:
        manifest["steps"] = known["steps"]
    if source.modalities is not None:
        manifest["channels"] = list(source.modalities)
    if "affine" in (known.get("templates") or {}):
        manifest["templates"] = known["templates"]
    return manifest


def _describe(source: WeightSource) -> dict[str, Any]:
    """Return the manifest's entry on the backbone, after a look at whether the weights fit it."""
    spec: Any = source.manifest.get("backbone")
    if not isinstance(spec, Mapping) or "class_path" not in spec:
        return {}
    in_channels = 1 if source.modalities is None else len(source.modalities)
    try:
        check_origin(str(spec["class_path"]))
        backbone = build_backbone(spec, in_channels)
    except ValueError as error:
        raise WeightsError(f"{source.path}: {error}") from error
    report = match_tensors(backbone.state_dict(), source.encoder)
    if report.coverage < 1:
        raise WeightsError(f"{source.path} does not fit the network it names: {report}")
    return {
        "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        "in_channels": in_channels,
        "feature_channels": list(backbone.feature_channels),
        "strides": list(backbone.strides),
        **_json(spec),
    }


def _json(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(value))
    return plain


def _read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is no JSON file ({error}); give one with results") from error


def _results(found: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the file holds
    """Return a test's summary as it is, of anything else the finite numbers."""
    if isinstance(found, Mapping) and isinstance(found.get("blocks"), list):
        summary: dict[str, Any] = _finite(found)
        return summary
    return dict(_numbers(found))


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:  # noqa: ANN401
    """Return the finite numbers of nested mappings, by the path to them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{name}/{key}" if name else str(key))
    elif isinstance(value, (int, float)) and math.isfinite(value) and not isinstance(value, bool):
        yield name, value
