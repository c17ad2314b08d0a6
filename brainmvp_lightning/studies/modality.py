"""Names of the contrasts and the many spellings that data sets use for them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

VOCABULARY: tuple[str, ...] = ("flair", "t1", "t1ce", "t2", "mra", "pd", "dwi", "adc")
"""Canonical names in the order of the published templates (BrainMVP, released weights)."""

# Spellings after `_normalise`: lower case, letters and digits (of any script) only.
_ALIASES: dict[str, str] = {
    "flair": "flair fl t2f t2flair t2wflair flairt2 t2fl fluidattenuatedinversionrecovery "
    "darkfluid t2tirm",
    "t1": "t1 t1n t1w t1wi t1weighted t1pre t1native t1wpre mprage t1mprage unit1 mpr "
    "spgr fspgr t1spgr",
    "t1ce": "t1ce t1c t1gd t1post t1wc t1wce t1wgd t1wpost t1contrast t1wcontrast t1gado "
    "t1gadolinium t1cegadolinium t1wcegadolinium cegadolinium cegd t1postcontrast t1wpostcontrast "
    "t1contrastenhanced t1km t1gad t1wgad cet1 cet1w gdt1 postcontrastt1",
    "t2": "t2 t2w t2wi t2weighted t2tse t2wtse",
    "mra": "mra angio angiography tof tofmra mratof timeofflight mrangiography",
    "pd": "pd pdw pdwi pdweighted protondensity protondensityweighted",
    "dwi": "dwi trace tracew dwitrace tracedwi b1000 dwib1000 diffusion diffusionweighted isodwi",
    "adc": "adc adcmap dwiadc adcdwi apparentdiffusioncoefficient",
}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class UnknownModalityError(ValueError):
    """A spelling that no modality has; the message lists the nearest names."""


class ModalityVocabulary:
    """Canonical modality names and how to find them behind other spellings.

    Args:
        extra: More spellings for a known name, or new names with their spellings (the name itself
            always counts). New names come after the published ones, in the order given.

    Raises:
        ValueError: If a new name is not snake case, or a spelling already means something else.
    """

    def __init__(self, extra: Mapping[str, Sequence[str]] | None = None) -> None:
        extra = extra or {}
        self.names = VOCABULARY + tuple(name for name in extra if name not in VOCABULARY)
        self._names_by_spelling: dict[str, str] = {}
        for name, spellings in _ALIASES.items():
            for spelling in spellings.split():
                self._add(name, spelling)
        for name, more in extra.items():
            if not _NAME.fullmatch(name) or name == "label":
                raise ValueError(
                    f"extra_modalities: {name!r} cannot be a modality name; "
                    "use lower-case letters, digits and '_', such as 'swi' ('label' is taken)"
                )
            for spelling in (name, *more):
                self._add(name, spelling)

    def _add(self, name: str, spelling: str) -> None:
        owner = self._names_by_spelling.setdefault(_normalise(spelling), name)
        if owner != name:
            raise ValueError(
                f"extra_modalities: {spelling!r} cannot mean {name!r}, it already means {owner!r}"
            )

    def parse(self, text: str) -> str:
        """Return the canonical name behind a spelling; case and punctuation do not matter.

        Raises:
            UnknownModalityError: If there is none.
        """
        spelling = _normalise(text)
        if spelling in self._names_by_spelling:
            return self._names_by_spelling[spelling]
        close = difflib.get_close_matches(spelling, self._names_by_spelling, n=3, cutoff=0.6)
        names = sorted({self._names_by_spelling[match] for match in close})
        question = f"; did you mean {' or '.join(repr(name) for name in names)}?" if names else ""
        raise UnknownModalityError(
            f"unknown modality {text!r}{question} "
            f"(known: {', '.join(self.names)}; others can be added under extra_modalities)"
        )


def _normalise(text: str) -> str:
    # T2* is not T2. Letters of other scripts stay: they may be the name of a person.
    return "".join(filter(str.isalnum, text.casefold().replace("*", "star")))
