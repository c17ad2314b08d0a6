"""Which files of a command line are which image of which study."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from brainmvp_lightning.adapters.files import stem_of
from brainmvp_lightning.commands.segment_names import NamedImage, case_of, read_name
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
        others: Files of modalities that the model does not take; like those of a prepared study,
            they have a say in its grid and its box.
        skipped: Files of its folder that are not used, each with a reason.
        notes: What names of files that are used say beyond case and modality.
        fault: Why the study cannot be used; empty if it can.
    """

    name: str
    files: dict[str, Path]
    others: dict[str, Path] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fault: str = ""


def find_inputs(words: Sequence[str], modalities: Sequence[str]) -> list[Inputs]:
    """Sort what the user named into studies.

    Args:
        words: Files of one study, each perhaps as ``modality=file``; or folders, one study each.
        modalities: What the model takes.

    Raises:
        ValueError: If files and folders are mixed, or a file's modality is unknown, there twice, or
            none is the model's; or if names of files are of an annotation or of several cases.
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
    images: dict[str, NamedImage] = {}
    for word in words:
        image = _named(word, vocabulary, modalities)
        if image.annotation:
            raise ValueError(
                f"{image.path} is an annotation by its name ({image.annotation}); leave it out, or "
                f"name it {image.modality}={image.path} if it is an image"
            )
        if image.modality in images:
            raise ValueError(
                f"{images[image.modality].path} and {image.path} are both {image.modality}; name "
                "each as modality=file, or leave one out"
            )
        images[image.modality] = image
    own = [image for image in images.values() if image.modality in modalities]
    if not own:
        first = next(iter(images.values()))
        raise ValueError(
            f"{first.path} is {first.modality}; the model takes {', '.join(modalities)}"
        )
    fault = _of_two_cases([image for image in images.values() if not image.is_named])
    if fault:
        raise ValueError(f"{fault}; name each as modality=file if they are of one study")
    name = _common(own) or _folder_name(own[0].path.parent)
    return _inputs(name, images, modalities)


def _inputs(
    name: str,
    images: Mapping[str, NamedImage],
    modalities: Sequence[str],
    skipped: Sequence[str] = (),
    fault: str = "",
) -> Inputs:
    files = {key: image.path for key, image in images.items()}
    others = {key: path for key, path in files.items() if key not in modalities}
    notes = [image.note for image in images.values() if image.rest]
    notes += [
        f"{path}: the model does not take {key}; it only has a say in the grid and the box"
        for key, path in others.items()
    ]
    own = {key: path for key, path in files.items() if key in modalities}
    return Inputs(name, own, others, tuple(skipped), tuple(notes), fault)


def _named(word: str, vocabulary: ModalityVocabulary, modalities: Sequence[str]) -> NamedImage:
    """Return what a word of the command line names."""
    name, equals, rest = word.partition("=")
    is_named = bool(equals) and not Path(word).exists()
    path = Path(rest if is_named else word)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; correct the path")
    if is_named:
        return NamedImage(path, vocabulary.parse(name), case_of(path, vocabulary), is_named=True)
    try:
        return read_name(path, vocabulary)
    except UnknownModalityError as error:
        raise ValueError(
            f"the name of {path} holds no modality that is known; name it, such as "
            f"{modalities[0]}={path} (the model takes {', '.join(modalities)})"
        ) from error


def _in_folder(folder: Path, vocabulary: ModalityVocabulary, modalities: Sequence[str]) -> Inputs:
    candidates, skipped = _images_in(folder, vocabulary)
    own: dict[str, NamedImage] = {}
    faults = []
    for modality in [name for name in candidates if name in modalities]:
        found = candidates.pop(modality)
        plain = [image for image in found if not image.rest] or found
        if len(plain) > 1:
            faults.append(f"{plain[0].path.name} and {plain[1].path.name} may both be {modality}")
        own[modality] = plain[0]
        skipped += [
            f"{image.path}: {plain[0].path.name} is the {modality}"
            for image in found
            if image is not plain[0]
        ]
    if not own:
        faults.append(f"it holds no image the model takes ({', '.join(modalities)})")
    faults += filter(None, [_of_two_cases(list(own.values()))])
    fault = f"{folder}: {'; '.join(faults)}; name files as modality=file" if faults else ""
    persons = {"", *(image.person for image in own.values())}
    others, left = _bystanders(candidates, persons)
    name = _common(list(own.values())) or _folder_name(folder)
    return _inputs(name, {**own, **others}, modalities, [*skipped, *left], fault)


def _bystanders(
    candidates: Mapping[str, Sequence[NamedImage]], persons: set[str]
) -> tuple[dict[str, NamedImage], list[str]]:
    """Return images of modalities that the model does not take, and those left aside.

    One of a modality that is clearly of this study has a say in its grid; of others, none has.
    """
    images = {}
    for modality, found in candidates.items():
        clear = [image for image in found if not image.rest and image.person in persons]
        if len(clear) == 1:
            images[modality] = clear[0]
    left = [
        f"{image.path}: the model does not take {modality}"
        for modality, found in candidates.items()
        for image in found
        if image is not images.get(modality)
    ]
    return images, left


def _images_in(
    folder: Path, vocabulary: ModalityVocabulary
) -> tuple[dict[str, list[NamedImage]], list[str]]:
    """Return the images of a folder by modality, and what is none, with a reason."""
    images: dict[str, list[NamedImage]] = {}
    skipped = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or stem_of(path.name) is None:
            continue
        try:
            image = read_name(path, vocabulary)
        except UnknownModalityError:
            skipped.append(f"{path}: its name holds no known modality")
            continue
        if image.annotation:
            skipped.append(f"{path}: it is an annotation by its name ({image.annotation})")
        else:
            images.setdefault(image.modality, []).append(image)
    return images, skipped


def _of_two_cases(images: Sequence[NamedImage]) -> str:
    """Return a sentence about names that are of different cases, if there are such."""
    files = {image.person: image.path.name for image in images if image.person}
    if len(files) < 2:
        return ""
    first, second = list(files.values())[:2]
    return f"{first} and {second} are of different cases by their names"


def _common(images: Sequence[NamedImage]) -> str:
    for names in ({image.case for image in images}, {image.person for image in images}):
        if len(names) == 1:
            return names.pop()
    return ""


def _folder_name(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name or "study"  # noqa: PTH100 - resolve() would follow links


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
    root = Path(os.path.commonpath(paths))
    root = root.parent if str(root) in paths else root
    long = ["_".join(Path(path).relative_to(root).parts) for path in paths]
    return [replace(i, name=name) for i, name in zip(found, _numbered(long), strict=True)]


def _numbered(names: Sequence[str]) -> list[str]:
    """Tell apart what is the same once it is joined, such as ``a_b/c`` and ``a/b_c``."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidates = (name if number == 1 else f"{name}_{number}" for number in count(1))
        result.append(next(text for text in candidates if text.casefold() not in taken))
        taken.add(result[-1].casefold())
    return result
