"""``brainmvp weights``: look into checkpoints, turn released ones into our format, export ours."""

from __future__ import annotations

import difflib
import math
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.commands.parsing import make_parser
from brainmvp_lightning.commands.weights_export import export
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.inference.components import build_backbone
from brainmvp_lightning.weights.errors import UnknownKindError, WeightsError
from brainmvp_lightning.weights.export import write_weights
from brainmvp_lightning.weights.load import LoadReport, match_tensors
from brainmvp_lightning.weights.published import Translation, detect_layout, translate
from brainmvp_lightning.weights.published_facts import encoder_options, release_manifest
from brainmvp_lightning.weights.reading import read_content, read_tensors
from brainmvp_lightning.weights.sources import WeightSource, file_of, open_source
from brainmvp_lightning.weights.transfer import TransferOptions, TransferReport, transfer

SUMMARY = "inspect, import and export weights, the published ones too"

UNLICENSED = (
    "converted from a checkpoint of others, whose terms apply; the BrainMVP release states no "
    "licence"
)


def main(argv: list[str]) -> int:
    """Run ``inspect``, ``import`` or ``export``.

    Returns:
        0 if it worked, 2 for a wrong call or a file that cannot be used.
    """
    actions: dict[str, Callable[[list[str]], None]] = {
        "inspect": _inspect,
        "import": _import,
        "export": export,
    }
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0
    if argv[0] not in actions:
        close = difflib.get_close_matches(argv[0], actions, n=1, cutoff=0.5)
        question = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join(actions)
        sys.stderr.write(f"brainmvp weights: unknown action {argv[0]!r}{question} ({known})\n")
        return 2
    try:
        actions[argv[0]](argv[1:])
    except (WeightsError, OSError) as error:
        sys.stderr.write(f"brainmvp weights {argv[0]}: {error}\n")
        return 2
    return 0


def _usage() -> str:
    return (
        f"brainmvp weights: {SUMMARY}\n\n"
        "usage: brainmvp weights inspect FILE [--configuration]\n"
        "       brainmvp weights inspect FILE --for BACKBONE [--modalities t1,flair]\n"
        "       brainmvp weights import FILE --output OUT.safetensors [--licence-note TEXT]\n"
        "       brainmvp weights export FILE --output FOLDER [--format huggingface | monai]\n"
        "       brainmvp weights export FILE --output OUT.safetensors --format safetensors\n"
    )


def _inspect(argv: list[str]) -> None:
    parser = make_parser(
        "brainmvp weights inspect", "Show what a file of weights holds.", BACKBONES
    )
    parser.add_argument("file", type=Path, help="file or folder of weights, a checkpoint, ...")
    parser.add_argument("--for", dest="backbone", type=str | None, help="backbone to compare with")
    parser.add_argument("--modalities", type=str, default="t1", help="its channels: t1,t1ce,...")
    parser.add_argument(
        "--configuration", action="store_true", help="print the configuration of a checkpoint, too"
    )
    options = parser.parse_args(argv)
    path: Path = options.file
    source = _source(path)
    content = read_content(file_of(path))
    tensors = content.tensors
    header = ("tensor", "shape", "type")
    _write_columns([header, *((name, _shape(t.shape), _dtype(t)) for name, t in tensors.items())])
    num_values = sum(tensor.numel() for tensor in tensors.values())
    _say(f"layout: {'unknown' if source is None else source.title}")
    _say(f"{len(tensors)} tensors, {num_values:,} values")
    _say_run(content.facts, with_configuration=options.configuration)
    if source is None:
        return
    _say(f"network: {source.network}")
    if detect_layout(tensors) is None and source.manifest:
        text = yaml.safe_dump(source.manifest, sort_keys=False, default_flow_style=None)
        _say(f"manifest:\n{text}")
    if options.backbone is not None:
        _say(str(_fit(source, options.backbone, options.modalities.split(","))))


def _say_run(facts: Mapping[str, Any], *, with_configuration: bool) -> None:
    """Tell what a checkpoint knows of its run."""
    if "run" in facts:
        _say(f"run:\n{_indented(facts['run'])}")
    if with_configuration:
        known = facts.get("configuration", facts.get("hyper_parameters"))
        _say("configuration:\n" + ("  not recorded" if known is None else _indented(known)))


def _indented(facts: Any) -> str:  # noqa: ANN401 - plain values of a file
    text = yaml.safe_dump(facts, sort_keys=False, default_flow_style=False)
    return textwrap.indent(text.rstrip(), "  ")


def _source(path: Path) -> WeightSource | None:
    try:
        return open_source(path)
    except UnknownKindError:
        return None


def _fit(source: WeightSource, name: str, modalities: Sequence[str]) -> TransferReport:
    """Tell what a network would take from a file, without memory for its weights."""
    try:
        with torch.device("meta"):
            backbone = build_backbone({"class_path": name}, len(modalities))
    except ValueError as error:
        raise WeightsError(f"--for: {error}") from error
    return transfer(backbone, None, source, modalities, TransferOptions(minimum=0.0))


def _import(argv: list[str]) -> None:
    parser = make_parser("brainmvp weights import", "Turn a released checkpoint into our format.")
    parser.add_argument("file", type=Path, help="released BrainMVP checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="ends in .safetensors")
    parser.add_argument("--licence-note", type=str, default=UNLICENSED, help="terms of use")
    options = parser.parse_args(argv)
    _check_output(options.file, options.output)
    tensors = read_tensors(options.file)
    try:
        translation = translate(tensors)
        networks = _build_networks(translation)
        manifest = release_manifest(translation, options.file)
    except ValueError as error:
        raise WeightsError(f"{options.file}: {error}") from error
    manifest["licence_note"] = options.licence_note
    manifest["backbone"] = _describe(networks["encoder"], translation)
    report = _compare(networks, translation)
    _write_coverage(translation, report)
    missing = [match for match in report.matches if match.status != "loaded"]
    if missing:
        raise WeightsError(
            f"{options.file} does not fill {len(missing)} tensors of the network, such as "
            f"{missing[0].name} ({missing[0].status}); nothing was written, get the file again"
        )
    write_weights(options.output, translation.tensors, manifest)
    _say(f"wrote {options.output}")


def _check_output(source: Path, output: Path) -> None:
    if output.suffix != ".safetensors":
        raise WeightsError(f"{output}: the name of the output must end in .safetensors")
    if output.resolve() == source.resolve():
        raise WeightsError(f"{output} is the file to read; choose another output")


def _build_networks(translation: Translation) -> dict[str, Any]:
    """Build the encoder and decoder that the tensors belong to, without memory for weights."""
    has_decoder = any(name.startswith("decoder.") for name in translation.tensors)
    in_channels = encoder_options(translation)["in_channels"]
    with torch.device("meta"):
        backbone = build_backbone(_encoder_spec(translation), in_channels)
        return {"encoder": backbone} | ({"decoder": build_decoder(backbone)} if has_decoder else {})


def _encoder_spec(translation: Translation) -> dict[str, Any]:
    options = encoder_options(translation)
    sizes = {"widths": options["widths"], "depths": options["depths"]}
    if translation.layout.network == "unet3d":
        return {"class_path": "unet3d", "init_args": sizes}
    # Tensors do not tell the width of a head; the published one is 64.
    head_width = math.gcd(64, *options["widths"][2:])
    return {"class_path": "uniformer_small", "init_args": {**sizes, "head_width": head_width}}


def _compare(networks: Mapping[str, nn.Module], translation: Translation) -> LoadReport:
    expected = {
        f"{part}.{name}": tensor
        for part, network in networks.items()
        for name, tensor in network.state_dict().items()
    }
    return match_tensors(expected, translation.tensors)


def _describe(backbone: Backbone, translation: Translation) -> dict[str, Any]:
    return {
        "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        **encoder_options(translation),
        "feature_channels": list(backbone.feature_channels),
        "strides": list(backbone.strides),
        **_encoder_spec(translation),
    }


def _write_coverage(translation: Translation, report: LoadReport) -> None:
    rows = [("in the file", "ours", "shape", "status")]
    rows += [(r.source, r.target or "-", _shape(r.shape), r.status) for r in translation.rows]
    rows += [
        ("-", m.name, _shape(m.shape), m.status) for m in report.matches if m.status != "loaded"
    ]
    _write_columns(rows)
    num_imported = len(translation.tensors)
    _say(f"layout: {translation.layout.title}")
    _say(f"{num_imported} tensors imported, {len(translation.rows) - num_imported} not used")
    _say(
        f"coverage of the network: {report.num_loaded} of {len(report.matches)} tensors "
        f"({report.coverage:.1%})"
    )


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _write_columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        _say("  ".join(cells).rstrip())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
