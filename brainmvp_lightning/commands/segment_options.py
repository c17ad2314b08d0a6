"""What ``brainmvp segment`` can be told, and what of it makes no sense."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from brainmvp_lightning.commands.parsing import TeachingParser, make_parser
from brainmvp_lightning.commands.segment_inputs import Inputs
from brainmvp_lightning.inference.model import FineTunedModel

SUMMARY = "segment (or classify) NIfTI files with a fine-tuned model"

_EPILOG = (
    "Scans of a study that the model does not take still have a say in its grid and box, as in "
    "prepared data, where they lie in its folder or are named, too; they are listed as 'others' "
    "in the JSON file. "
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
        help="the mask of the brain of one study, or the trusted command that draws it for any, if "
        "the recipe needs it",
    )


def check_folder(folder: Path) -> None:
    """Check that a folder can be written, or made, without making it.

    Raises:
        NotADirectoryError: If it, or what it lies in, is a file.
        PermissionError: If it may not be written.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not place.is_dir():
        raise NotADirectoryError(f"--out {folder}: {place} is no folder; name another")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(f"--out {folder}: {place} may not be written to; name another")


def check_call(options: Namespace, studies: Sequence[Inputs], model: FineTunedModel) -> None:
    """Check what depends on the model and on the studies.

    Raises:
        ValueError: If there is no such reference, or one mask is to do for several studies.
    """
    if options.brain_mask and model.description.recipe.get("brain_mask") == "file":
        if len(studies) > 1:
            raise ValueError(
                f"{options.brain_mask} is the brain mask of one study, not of {len(studies)}; call "
                "the command once for each study"
            )
        if not Path(options.brain_mask).is_file():
            raise FileNotFoundError(f"there is no mask {options.brain_mask}; correct the path")
    if options.reference is not None:
        _check_reference(options.reference, studies, model.description.modalities)


def _check_reference(reference: str, studies: Sequence[Inputs], takes: Sequence[str]) -> None:
    if reference not in takes:
        raise ValueError(f"there is no reference {reference!r}; the model takes {', '.join(takes)}")
    without = [
        inputs.name for inputs in studies if not inputs.fault and reference not in inputs.files
    ]
    if without:
        raise ValueError(
            f"{', '.join(without[:3])} has no {reference} to be the reference; leave --reference "
            "out, or name another modality"
        )
