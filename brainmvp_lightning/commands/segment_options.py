"""What ``brainmvp segment`` can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from brainmvp_lightning.commands.parsing import TeachingParser, make_parser

SUMMARY = "segment (or classify) NIfTI files with a fine-tuned model"

_EPILOG = (
    "Exit code: 0 all studies done, 1 some could not be used, 2 wrong call. For research only: not "
    "a medical device."
)


def build_parser() -> TeachingParser:
    """Return the parser of the command."""
    parser = make_parser("brainmvp segment", f"{SUMMARY[0].upper()}{SUMMARY[1:]}.")
    parser.epilog = _EPILOG
    parser.add_argument(
        "model",
        type=str,
        help="checkpoint of a fine-tuning run, exported folder, or owner/name on the hub",
    )
    parser.add_argument(
        "images",
        type=str,
        nargs="+",
        help="files of one study, each perhaps as modality=file; or folders, one study each",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--probabilities", action="store_true", help="write the probability of each output, too"
    )
    parser.add_argument(
        "--reference",
        type=str | None,
        default=None,
        help="modality whose grid the labels get; the first that the study has by default",
    )
    parser.add_argument(
        "--label_scheme",
        type=str | None,
        default=None,
        help="write the values of this scheme, such as brats2023, not those the model learned from",
    )
    parser.add_argument(
        "--missing",
        type=Literal["templates", "zeros"] | None,
        default=None,
        help="what stands for a missing modality; as in training by default",
    )
    _add_windows(parser)
    _add_preparation(parser)
    return parser


def _add_windows(parser: TeachingParser) -> None:
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--flips",
        type=str,
        nargs="?",
        const="xyz",
        default="",
        help="average over mirrored windows: axes such as x; xyz (8 passes) without a value",
    )
    parser.add_argument("--overlap", type=float, default=0.5, help="share that windows overlap")
    parser.add_argument("--batch", type=int, default=1, help="windows at once")


def _add_preparation(parser: TeachingParser) -> None:
    parser.add_argument(
        "--template",
        type=str | None,
        default=None,
        help="the template that the training data were moved onto, if they were",
    )
    parser.add_argument(
        "--brain_mask",
        type=str | None,
        default=None,
        help="mask of the brain, or the trusted command that draws it, if the recipe needs it",
    )
