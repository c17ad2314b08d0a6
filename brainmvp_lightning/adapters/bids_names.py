"""What the parts of a BIDS file name say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from brainmvp_lightning.studies.modality import ModalityVocabulary

IMAGE_ENDINGS = (".nii.gz", ".nii")

# Files of the raw folders that belong to others, or are no images of a contrast.
IGNORED_SUFFIXES = frozenset({"dseg", "mask", "probseg", "defacemask", "sbref", "events"})

# PD and T2 of one dual-echo series as two volumes of a file.
COMBINED_SUFFIXES = frozenset({"pdt2", "pdt2w"})
_OTHER_MAPS = frozenset({"fa", "colfa", "expadc", "eadc", "md", "s0map"})
_CONTRAST_AGENT = frozenset({"ce", "gd", "gado", "gadolinium", "post", "postgd", "postcontrast"})


@dataclass(frozen=True)
class BidsName:
    """A parsed name: ``sub-01_ses-02_acq-fast_T1w.nii.gz``.

    Args:
        path: The file.
        entities: Value by lower-case key, such as ``{"sub": "01", "acq": "fast"}``.
        suffix: Last part before the ending, as it is written.
    """

    path: Path
    entities: dict[str, str]
    suffix: str

    @property
    def subject(self) -> str:
        """Label after ``sub-``."""
        return self.entities.get("sub", "")

    @property
    def session(self) -> str:
        """Label after ``ses-``; empty where there is none."""
        return self.entities.get("ses", "")

    @property
    def run(self) -> int:
        """Number after ``run-``; 0 where there is none."""
        digits = re.sub(r"\D", "", self.entities.get("run", ""))
        return int(digits) if digits else 0


def is_image(path: Path) -> bool:
    """Tell whether a file is an image; sidecars (.json, .bval, .bvec, .tsv) are not."""
    return path.name.endswith(IMAGE_ENDINGS) and not path.name.startswith(".")


def parse_name(path: Path, root: Path | None = None) -> BidsName:
    """Split a file name into entities and suffix; folders fill in missing ``sub`` and ``ses``.

    Args:
        path: The file.
        root: Folder of the data set; those above it do not count. None: all of `path` counts.
    """
    stem = path.name.removesuffix(".gz").removesuffix(".nii").removesuffix(".bval")
    *pairs, suffix = stem.split("_")
    entities: dict[str, str] = {}
    place = path.relative_to(root) if root else path
    for folder in place.parts[:-1]:
        if folder.startswith(("sub-", "ses-")):
            entities[folder[:3]] = folder[4:]
    for pair in pairs:
        key, dash, value = pair.partition("-")
        if dash:
            entities[key.casefold()] = value
    return BidsName(path, entities, suffix)


def contradiction(name: BidsName, root: Path) -> str:
    """Return what is wrong with the place of a file: a folder of somebody else; empty if nothing.

    Leading zeros and case do not count.
    """
    for folder in name.path.relative_to(root).parts[:-1]:
        written = name.entities.get(folder[:3], "")
        if folder.startswith(("sub-", "ses-")) and _simple(written) != _simple(folder[4:]):
            return f"it lies in {folder}, but its name says {folder[:3]}-{written}"
    return ""


def _simple(label: str) -> str:
    return label.casefold().lstrip("0")


def parse_modality(name: BidsName, vocabulary: ModalityVocabulary) -> str:
    """Return the canonical modality of a file.

    The suffix decides, in any case, with three exceptions: T1 with a ``ce-`` entity, or with
    ``acq-post`` and the like, is contrast-enhanced T1; ``dwi`` with ``adc`` in any other entity's
    value (``acq-ADC_dwi``) is an ADC map; ``dwi`` with another map there (``acq-FA_dwi``) is what
    the map is called.

    Raises:
        UnknownModalityError: If the suffix is no known spelling.
    """
    modality = vocabulary.parse(name.suffix)
    values = [value.casefold() for key, value in name.entities.items() if key not in ("sub", "ses")]
    if modality == "t1" and _is_enhanced(name.entities):
        return "t1ce"
    if modality == "dwi":
        maps = [value for value in values if value in _OTHER_MAPS]
        if maps:
            return vocabulary.parse(maps[0])
        if any("adc" in value for value in values):
            return "adc"
    return modality


def _is_enhanced(entities: dict[str, str]) -> bool:
    if "ce" in entities:
        return entities["ce"].casefold() not in ("none", "no", "pre")
    words = re.findall(r"[a-z]+", entities.get("acq", "").casefold())
    return any(word in _CONTRAST_AGENT for word in words)
