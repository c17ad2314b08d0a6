"""``brainmvp segment``: from NIfTI files and a fine-tuned model to labels on the files' grid."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from rich.console import Console

from brainmvp_lightning.commands.segment_inputs import Inputs, find_inputs
from brainmvp_lightning.commands.segment_options import build_parser, check_call, check_folder
from brainmvp_lightning.inference.decisions import Labelling, fitting_schemes
from brainmvp_lightning.inference.hub import from_pretrained
from brainmvp_lightning.inference.raw_study import RawStudy, read_raw_study, recorded_recipe
from brainmvp_lightning.inference.records import Maker, sha256_of, source_of, write_study
from brainmvp_lightning.inference.sliding_window import WindowOptions
from brainmvp_lightning.inference.writing import StudyPrediction, Target, read_header
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.preprocessing.steps import check_tools
from brainmvp_lightning.preprocessing.tools import MissingToolError
from brainmvp_lightning.studies.labels import find_scheme, label_schemes
from brainmvp_lightning.studies.study import study_id
from brainmvp_lightning.volumes.errors import CacheError


@dataclass(frozen=True)
class Job:
    """What is the same for all studies of a call.

    Attributes:
        maker: The model, on its device, and what else makes predictions.
        recipe: How files are prepared.
        windows: Windows and flips.
        options: What the user asked for.
    """

    maker: Maker
    recipe: Recipe
    windows: WindowOptions
    options: Namespace


def main(argv: list[str]) -> int:
    """Run the command.

    Returns:
        0 if all studies are done, 1 if some could not be used, 2 for a wrong call, 130 if it was
        interrupted.
    """
    options = build_parser().parse_args(argv)
    console = Console(soft_wrap=True)
    try:
        check_folder(options.out)
        job = _prepare_job(options)
        studies = find_inputs(options.images, job.maker.model.description.modalities)
        check_call(options, studies, job.maker.model)
        _tell_own_values(job)
        with _tidy_end():
            num_failed = sum(not _segment(inputs, job, console) for inputs in studies)
    except (ValueError, OSError, ImportError, MissingToolError) as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("interrupted; finished studies are kept", 130)
    if num_failed:
        _fail(f"{num_failed} of {len(studies)} studies could not be used", 1)
    return 1 if num_failed else 0


def _prepare_job(options: Namespace) -> Job:
    model = from_pretrained(options.model)
    if options.missing == "templates" and model.templates is None:
        raise ValueError(
            "the model has no templates to stand for a missing modality; leave --missing out, and "
            "zeros do, as in its training"
        )
    model.missing = options.missing or model.missing
    windows = WindowOptions(options.overlap, batch=options.batch, flips=options.flips)
    recipe = recorded_recipe(
        model.description, template=options.template, brain_mask=options.brain_mask
    )
    check_tools(recipe)
    labelling = None
    if model.task == "segmentation":
        scheme = options.label_scheme and find_scheme(options.label_scheme, label_schemes())
        labelling = Labelling.of(model.description, scheme)
    maker = Maker(
        model=model.to(_device(options.device)),
        source=source_of(options.model),
        windows=windows,
        labelling=labelling,
        probabilities=options.probabilities,
    )
    return Job(maker, recipe, windows, options)


def _tell_own_values(job: Job) -> None:
    """Tell that values in the files are none of a data set, and which scheme would change that."""
    description, labelling = job.maker.model.description, job.maker.labelling
    if labelling is None or description.label_values or job.options.label_scheme is not None:
        return
    fitting = fitting_schemes(description, label_schemes().values())
    if set(fitting.values()) == {labelling.values}:
        return  # they are those of all known schemes
    known = f" (those that fit: {', '.join(fitting)})" if fitting else ""
    pairs = zip(labelling.values, labelling.names, strict=True)
    own = ", ".join(f"{value} {name}" for value, name in pairs)
    sys.stderr.write(
        "brainmvp segment: note: the annotations that the model learned from have no one value for "
        f"each of its structures, so labels have its own ({own}); "
        f"--label_scheme NAME writes those of a scheme{known}\n"
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used here; use auto, cpu or cuda") from error
    return device


@contextmanager
def _tidy_end() -> Iterator[None]:
    """Let a request to end, such as that of a batch system, leave no temporary folder behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: object) -> None:
    del frame
    sys.exit(128 + number)


def _segment(inputs: Inputs, job: Job, console: Console) -> bool:
    """Do one study; tell what was written, or why not."""
    try:
        if inputs.fault:
            raise ValueError(inputs.fault)
        paths, notes = _write(inputs, job)
    except MissingToolError:
        raise  # the others would lack it, too
    except (ValueError, OSError, CacheError, ArithmeticError, RuntimeError, MemoryError) as error:
        _fail(f"study {inputs.name!r} is set aside: {_reason(error)}", 1)
        return False
    for note in notes:
        sys.stderr.write(f"brainmvp segment: note on {inputs.name!r}: {note}\n")
    for path in paths:
        console.print(str(path), markup=False, highlight=False)
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "the device has too little memory; use --batch 1, or --device cpu"
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return f"this machine has too little memory ({text or 'MemoryError'}); free some"
    return text or type(error).__name__


def _write(inputs: Inputs, job: Job) -> tuple[list[Path], list[str]]:
    """Return the files that were written, and notes."""
    name = study_id("", inputs.name, "")
    raw = read_raw_study(
        name,
        inputs.files,
        job.maker.model.description,
        job.recipe,
        brain_mask=_mask_file(job),
        others=inputs.others,
    )
    notes = [*raw.notes, *inputs.skipped, *inputs.notes]
    prediction = replace(_predict(raw, job), warnings=tuple(notes))
    target = None if job.maker.labelling is None else _target(raw, job.options.reference)
    paths = write_study(prediction, job.maker, target, job.options.out, _input_facts(inputs, job))
    return paths, notes


def _mask_file(job: Job) -> Path | None:
    return Path(job.options.brain_mask) if job.recipe.brain_mask == "file" else None


def _predict(raw: RawStudy, job: Job) -> StudyPrediction:
    probabilities = job.maker.model.predict_volume(raw.image, raw.present, raw.origin, job.windows)
    row: Any = {
        "study": [raw.study],
        "geometry": [raw.geometry],
        "present": raw.present,
        "start": raw.start,
        "faults": [],  # notes are told beside
    }
    return StudyPrediction.of(row, 0, probabilities, job.maker.model.description.modalities)


def _target(raw: RawStudy, reference: str | None) -> Target:
    scans = raw.geometry["scans"]
    file = next((scan for scan in scans if scan["modality"] == reference), scans[0])
    return Target(file, read_header(Path(file["path"])))


def _input_facts(inputs: Inputs, job: Job) -> dict[str, Any]:
    """Return which files a study was read from, as plain JSON values."""
    mask = _mask_file(job)
    return {
        "inputs": _named_files({**inputs.files, **({"brain_mask": mask} if mask else {})}),
        "others": _named_files(inputs.others),
    }


def _named_files(files: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    return {name: {"path": str(path), "sha256": sha256_of(path)} for name, path in files.items()}


def _fail(error: Exception | str, code: int) -> int:
    sys.stderr.write(f"brainmvp segment: {error}\n")
    return code
