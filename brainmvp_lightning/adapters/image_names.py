"""What the name of an image file says when no standard rules it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

from brainmvp_lightning.adapters.files import stem_of
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError

CHANNEL = re.compile(r"_(\d{4})$")
"""Number of a channel at the end of a name: ``CASE_0002``."""


@dataclass(frozen=True)
class ImageName:
    """A name split where its modality begins.

    Args:
        case: What comes before the modality; may be empty.
        modality: Canonical name.
    """

    case: str
    modality: str


def stem(path: Path) -> str:
    """Return the name of a file without ``.nii`` or ``.nii.gz``; other endings stay."""
    return stem_of(path.name) or path.name


def parse_image_name(path: Path, vocabulary: ModalityVocabulary) -> ImageName:
    """Find the modality in a name such as ``BraTS2021_00000_flair`` or ``case-7_T1_post_n4``.

    The last words count; words that no modality has are skipped from the end, and several words
    together (``T1_post``) come before a part of them.

    Raises:
        UnknownModalityError: If no part of the name is a known spelling.
    """
    text = stem(path)
    words = list(re.finditer(r"[^_\-.\s]+", text))
    for last in range(len(words), 0, -1):
        for first in range(last):
            try:
                modality = vocabulary.parse(text[words[first].start() : words[last - 1].end()])
            except UnknownModalityError:
                continue
            return ImageName(text[: words[first].start()].rstrip("_-. "), modality)
    raise UnknownModalityError(
        f"its name holds none of the modalities {', '.join(vocabulary.names)} in any known spelling"
    )


def case_of(paths: list[Path], vocabulary: ModalityVocabulary) -> str:
    """Return what the names of a case's files share: its own name.

    Args:
        paths: The images of one case, at least one.
        vocabulary: Modality names that do not belong to the case.
    """
    names = [_case(path, vocabulary) for path in paths]
    if len(set(names)) == 1 and names[0]:
        return names[0]
    start = commonprefix([stem(path) for path in paths])  # noqa: RUF071 - characters are meant
    shared = re.sub(r"[_\-.\s]+[^_\-.\s]*$", "", start)
    return shared if shared and len(paths) > 1 and names[0] else paths[0].parent.name


def split_case(case: str, pattern: str | None) -> tuple[str, str]:
    """Return patient and session of a case.

    Args:
        case: Its name.
        pattern: Regular expression with groups ``patient`` and perhaps ``session``; None, or one
            that does not match, makes the case a patient.

    Raises:
        ValueError: If the pattern is no such expression.
    """
    if pattern is None:
        return case, ""
    example = r"'(?P<patient>.+)-(?P<session>\d+)'"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"case_pattern {pattern!r} is no regular expression ({error}); one is {example}"
        ) from error
    if "patient" not in expression.groupindex:
        raise ValueError(f"case_pattern {pattern!r} has no group 'patient', as has {example}")
    match = expression.fullmatch(case)
    groups = match.groupdict() if match else {"patient": case}
    return groups["patient"] or case, groups.get("session") or ""


def _case(path: Path, vocabulary: ModalityVocabulary) -> str:
    text = stem(path)
    if CHANNEL.search(text):
        return CHANNEL.sub("", text)
    try:
        return parse_image_name(path, vocabulary).case
    except UnknownModalityError:
        return text
