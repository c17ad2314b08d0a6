"""What the name of a file on a command line says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.adapters.image_names import WORD, parse_image_name, stem
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError

_ANNOTATION = re.compile(
    r"(seg|segm|segmentation|dseg|mask|brainmask|label|labels|labelmap|prob|probs|probseg|"
    r"annotation|annotations|roi|gt|groundtruth)\d*"
)
# Parts of a BIDS name that say how an image was made, not whose it is.
_MAKING = re.compile(
    r"(?:^|_)(?:acq|ce|rec|dir|run|mod|echo|part|inv|chunk|space|res|desc)-[A-Za-z0-9]+"
)


@dataclass(frozen=True)
class NamedImage:
    """A file and what its name, or the user, says of it.

    Attributes:
        path: The file.
        modality: Canonical name.
        case: What comes before the modality; may be empty.
        rest: What comes after it; may be empty.
        annotation: The word that makes it an annotation; empty if there is none.
        is_named: Whether the user said the modality.
    """

    path: Path
    modality: str
    case: str
    rest: str = ""
    annotation: str = ""
    is_named: bool = False

    @property
    def person(self) -> str:
        """The case without what BIDS says of how the image was made, such as ``acq-3d``."""
        return _MAKING.sub("", self.case)

    @property
    def note(self) -> str:
        """What is to be told if it is used."""
        return f"{self.path}: {self.rest!r} in its name is passed over, it is the {self.modality}"


def read_name(path: Path, vocabulary: ModalityVocabulary) -> NamedImage:
    """Return what the name of a file says.

    Raises:
        UnknownModalityError: If it holds no modality.
    """
    name = parse_image_name(path, vocabulary)
    rest = WORD.findall(name.rest)
    words = [*WORD.findall(name.case)[-1:], *rest]
    annotation = next((word for word in words if _ANNOTATION.fullmatch(word.casefold())), "")
    # A number after the modality (T1_001) tells people apart.
    if any(map(str.isdecimal, rest)):
        case = f"{name.case}_{name.rest}".lstrip("_")
        return NamedImage(path, name.modality, case, annotation=annotation)
    return NamedImage(path, name.modality, name.case, name.rest, annotation)


def case_of(path: Path, vocabulary: ModalityVocabulary) -> str:
    """Return the case in the name of a file, all of it if it holds no modality."""
    try:
        return read_name(path, vocabulary).case
    except UnknownModalityError:
        return stem(path)
