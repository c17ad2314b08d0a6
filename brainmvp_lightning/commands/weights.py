"""``brainmvp weights``: look into checkpoints, and turn released ones into our format."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.commands.parsing import make_parser
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.export import parse_manifest, write_weights
from brainmvp_lightning.weights.load import LoadReport, match_tensors
from brainmvp_lightning.weights.published import Translation, detect_layout, translate
from brainmvp_lightning.weights.published_facts import encoder_options, release_manifest
from brainmvp_lightning.weights.reading import read_metadata, read_tensors

SUMMARY = "inspect and import checkpoints, the published ones too"

UNLICENSED = (
    "converted from a checkpoint of others, whose terms apply; the BrainMVP release states no "
    "licence"
)


def main(argv: list[str]) -> int:
    """Run ``inspect`` or ``import``.

    Returns:
        0 if it worked, 2 for a wrong call or a file that cannot be used.
    """
    actions = {"inspect": _inspect, "import": _import}
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
        "usage: brainmvp weights inspect FILE\n"
        "       brainmvp weights import FILE --output OUT.safetensors [--licence-note TEXT]\n"
    )


def _inspect(argv: list[str]) -> None:
    parser = make_parser("brainmvp weights inspect", "Show what a file of weights holds.")
    parser.add_argument("file", type=Path, help="safetensors file or PyTorch checkpoint")
    path: Path = parser.parse_args(argv).file
    tensors = read_tensors(path)
    manifest = parse_manifest(path, read_metadata(path))
    header = ("tensor", "shape", "type")
    _write_columns([header, *((name, _shape(t.shape), _dtype(t)) for name, t in tensors.items())])
    num_values = sum(tensor.numel() for tensor in tensors.values())
    _say(f"layout: {_layout_title(tensors, manifest)}")
    _say(f"{len(tensors)} tensors, {num_values:,} values")
    if manifest is not None:
        _say("manifest:\n" + yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None))


def _layout_title(tensors: Mapping[str, Tensor], manifest: Mapping[str, Any] | None) -> str:
    if manifest is not None:
        return "brainmvp_lightning weights"
    published = detect_layout(tensors)
    return "unknown" if published is None else published.title


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
    manifest["backbone"] = _describe(networks["encoder"], encoder_options(translation))
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
    options = encoder_options(translation)
    with torch.device("meta"):
        if translation.layout.network == "unet3d":
            backbone: Backbone = UNET3D(**options)
        else:
            # Tensors do not tell the width of a head; the published one is 64.
            head_width = math.gcd(64, *options["widths"][2:])
            backbone = UniFormer(**options, head_width=head_width)
        has_decoder = any(name.startswith("decoder.") for name in translation.tensors)
        return {"encoder": backbone} | ({"decoder": build_decoder(backbone)} if has_decoder else {})


def _compare(networks: Mapping[str, nn.Module], translation: Translation) -> LoadReport:
    expected = {
        f"{part}.{name}": tensor
        for part, network in networks.items()
        for name, tensor in network.state_dict().items()
    }
    return match_tensors(expected, translation.tensors)


def _describe(backbone: Backbone, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        **options,
        "feature_channels": list(backbone.feature_channels),
        "strides": list(backbone.strides),
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
