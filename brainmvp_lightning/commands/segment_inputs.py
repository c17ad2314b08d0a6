"""Which files of a command line are which image of which study."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.adapters.files import stem_of
from brainmvp_lightning.adapters.image_names import ImageName, parse_image_name, stem
from brainmvp_lightning.studies.modality import (
    VOCABULARY,
    ModalityVocabulary,
    UnknownModalityError,
)


@dataclass(frozen=True)
class Inputs:
    """The files of one study.

    Attributes:
        name: Name of the study.
        files: File by modality.
        skipped: Files of its folder that are not used, each with a reason.
        fault: Why the study cannot be used; empty if it can.
    """

    name: str
    files: dict[str, Path]
    skipped: tuple[str, ...] = ()
    fault: str = ""


def find_inputs(words: Sequence[str], modalities: Sequence[str]) -> list[Inputs]:
    """Sort what the user named into studies.

    Args:
        words: Files of one study, each perhaps as ``modality=file``; or folders, one study each.
        modalities: What the model takes.

    Raises:
        ValueError: If files and folders are mixed, or a file's modality is unknown, not the
            model's, or there twice.
        FileNotFoundError: If there is no such file or folder.
    """
    vocabulary = ModalityVocabulary({n: [] for n in modalities if n not in VOCABULARY})
    folders = [word for word in words if Path(word).is_dir()]
    if not folders:
        return [_one_study(words, vocabulary, modalities)]
    if len(folders) < len(words):
        other = next(word for word in words if word not in folders)
        if not Path(other).exists():
            raise FileNotFoundError(f"there is no file or folder {other}; correct the path")
        raise ValueError(
            f"{other} is a file beside folders; give the files of one study, or one folder for "
            "each study"
        )
    found = [_in_folder(Path(folder), vocabulary, modalities) for folder in folders]
    return _distinct(found, folders)


def _one_study(
    words: Sequence[str], vocabulary: ModalityVocabulary, modalities: Sequence[str]
) -> Inputs:
    files: dict[str, Path] = {}
    cases = []
    for word in words:
        modality, path, case = _named(word, vocabulary, modalities)
        if modality not in modalities:
            raise ValueError(f"{path} is {modality}; the model takes {', '.join(modalities)}")
        if modality in files:
            raise ValueError(
                f"{files[modality]} and {path} are both {modality}; name each as modality=file, "
                "or leave one out"
            )
        files[modality] = path
        cases.append(case)
    first = next(iter(files.values()))
    return Inputs(_common(cases) or _folder_name(first.parent), files)


def _named(
    word: str, vocabulary: ModalityVocabulary, modalities: Sequence[str]
) -> tuple[str, Path, str]:
    """Return modality, path and case of a word of the command line."""
    name, equals, rest = word.partition("=")
    is_named = bool(equals) and not Path(word).exists()
    path = Path(rest if is_named else word)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; correct the path")
    if is_named:
        return vocabulary.parse(name), path, _case(path, vocabulary)
    try:
        parsed = parse_image_name(path, vocabulary)
    except UnknownModalityError as error:
        raise ValueError(
            f"the name of {path} holds no modality that is known; name it, such as "
            f"{modalities[0]}={path} (the model takes {', '.join(modalities)})"
        ) from error
    return parsed.modality, path, parsed.case


def _case(path: Path, vocabulary: ModalityVocabulary) -> str:
    try:
        return parse_image_name(path, vocabulary).case
    except UnknownModalityError:
        return stem(path)


def _in_folder(folder: Path, vocabulary: ModalityVocabulary, modalities: Sequence[str]) -> Inputs:
    candidates: dict[str, list[tuple[ImageName, Path]]] = {}
    skipped = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or stem_of(path.name) is None:
            continue
        try:
            name = parse_image_name(path, vocabulary)
        except UnknownModalityError:
            skipped.append(f"{path}: its name holds no known modality")
            continue
        if name.modality in modalities:
            candidates.setdefault(name.modality, []).append((name, path))
        else:
            skipped.append(f"{path}: the model does not take {name.modality}")
    files, faults = {}, []
    for modality, found in candidates.items():
        plain = [path for name, path in found if not name.rest] or [path for _, path in found]
        files[modality] = plain[0]
        skipped += [f"{p}: {plain[0].name} is the {modality}" for _, p in found if p != plain[0]]
        if len(plain) > 1:
            faults.append(f"{plain[0].name} and {plain[1].name} may both be {modality}")
    if not files:
        faults.append(f"it holds no image the model takes ({', '.join(modalities)})")
    fault = f"{folder}: {'; '.join(faults)}; name files as modality=file" if faults else ""
    cases = [found[0][0].case for found in candidates.values()]
    return Inputs(_common(cases) or _folder_name(folder), files, tuple(skipped), fault)


def _common(cases: Sequence[str]) -> str:
    named = set(cases)
    return named.pop() if len(named) == 1 else ""


def _folder_name(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name  # noqa: PTH100 - resolve() would follow links


def _distinct(found: list[Inputs], folders: Sequence[str]) -> list[Inputs]:
    """Name studies by their paths where their own names repeat.

    Raises:
        ValueError: If a folder is named twice.
    """
    paths = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100 - see above
    if len(set(paths)) < len(paths):
        raise ValueError("a folder is named twice; name each study once")
    names = [inputs.name.casefold() for inputs in found]
    if len(set(names)) == len(names):
        return found
    root = os.path.commonpath(paths)
    return [
        Inputs("_".join(Path(path).relative_to(root).parts), i.files, i.skipped, i.fault)
        for path, i in zip(paths, found, strict=True)
    ]
