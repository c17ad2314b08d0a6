"""What the name of an image file says when no standard rules it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.adapters.files import stem_of
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError
from brainmvp_lightning.studies.problem import Problem

CHANNEL = re.compile(r"_(\d{4})$")
"""Number of a channel at the end of a name: ``CASE_0002``."""

WORD = re.compile(r"[^_\-.\s]+")
SEPARATORS = "_-. "


@dataclass(frozen=True)
class ImageName:
    """A name split around its modality.

    Args:
        case: What comes before the modality; may be empty.
        modality: Canonical name.
        rest: What comes after the modality; may be empty.
    """

    case: str
    modality: str
    rest: str = ""


def stem(path: Path) -> str:
    """Return the name of a file without ``.nii`` or ``.nii.gz``; other endings stay."""
    return stem_of(path.name) or path.name


def parse_image_name(path: Path, vocabulary: ModalityVocabulary) -> ImageName:
    """Find the modality in a name such as ``BraTS2021_00000_flair`` or ``case-7_T1_post_n4``.

    The last words count; words that no modality has are skipped from the end, and several words
    together (``T1_post``) come before a part of them. They begin and end with a word of letters or
    digits, and none of these, of whatever script, is passed over.

    Raises:
        UnknownModalityError: If no part of the name is a known spelling.
    """
    text = stem(path)
    words = list(WORD.finditer(text))
    for last in range(len(words), 0, -1):
        for first in range(last):
            start, end = words[first].start(), words[last - 1].end()
            if not (_is_spelt(words[first]) and _is_spelt(words[last - 1])):
                continue
            try:
                modality = vocabulary.parse(text[start:end])
            except UnknownModalityError:
                continue
            rest = text[end:].strip(SEPARATORS)
            return ImageName(text[:start].rstrip(SEPARATORS), modality, rest)
    raise UnknownModalityError(
        f"its name holds none of the modalities {', '.join(vocabulary.names)} in any known spelling"
    )


def _is_spelt(word: re.Match[str]) -> bool:
    return any(map(str.isalnum, word.group()))


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
    match = _compile(pattern).fullmatch(case)
    groups = match.groupdict() if match else {"patient": case}
    return groups["patient"] or case, groups.get("session") or ""


def tell_unmatched(cases: Iterable[str], pattern: str | None, where: str) -> list[Problem]:
    """Return a sentence about the cases that a pattern does not match, if there are any.

    Args:
        cases: Their names.
        pattern: As for `split_case`.
        where: The data set.
    """
    names = list(dict.fromkeys(cases))
    others = [name for name in names if pattern and not _compile(pattern).fullmatch(name)]
    if not others:
        return []
    reason = (
        f"'case_pattern' does not match {len(others)} of {len(names)} cases (the first: "
        f"{', '.join(others[:3])}); each is a patient of its own"
    )
    return [Problem("", where, reason, "correct the pattern, or nothing", is_handled=True)]


def _compile(pattern: str) -> re.Pattern[str]:
    example = r"'(?P<patient>.+)-(?P<session>\d+)'"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"case_pattern {pattern!r} is no regular expression ({error}); one is {example}"
        ) from error
    if "patient" not in expression.groupindex:
        raise ValueError(f"case_pattern {pattern!r} has no group 'patient', as has {example}")
    return expression
