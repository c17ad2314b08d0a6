"""All choices that decide which voxels a cache holds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from brainmvp_lightning.volumes.frame import CODEC

PIPELINE_VERSION = 3  # raise it when the same settings give other voxels

ForegroundRule = Literal["auto", "nonzero", "threshold"]
Interpolation = Literal["linear", "nearest"]
Registration = Literal["none", "rigid", "affine"]
BiasCorrection = Literal["none", "n4"]

MASK_RULES = ("none", "file", "deepbet", "hd-bet")
_VERSIONS = ("codec", "pipeline_version")
STEPS = ("registration", "template", "template_registration", "brain_mask", "bias_correction")

_NUMBERS = ("spacing_mm", "margin_mm", "min_overlap", "max_nonfinite")
_CHOICES = {"interpolation": get_args(Interpolation), "foreground": get_args(ForegroundRule)}


@dataclass(frozen=True)
class Recipe:
    """How studies are prepared.

    Args:
        spacing_mm: Edge of the isotropic voxels.
        reference: Modalities in the order in which a study's reference scan is chosen; its field
            of view becomes the study's grid. Others come last.
        interpolation: How scans on other grids are resampled; labels always take the nearest.
        foreground: ``nonzero`` for images whose background is one value, ``threshold`` for
            images with noisy air, ``auto`` to decide for each scan.
        margin_mm: Kept around the foreground box.
        min_overlap: Share of the smaller field of view that a scan must share with the reference.
        max_nonfinite: Share of NaN and infinite voxels up to which they become background.
        registration: How the scans of a study are moved onto its reference scan before anything
            else; ``none`` trusts their headers. Needs ``pip install niimath``.
        template: NIfTI file of a head (or brain) that all studies are moved onto.
        template_registration: How; the reference scan finds the way for the whole study.
        brain_mask: ``none``; ``file`` for the masks that the data set brings; ``deepbet`` or
            ``hd-bet``; or a command such as ``mytool {image} {mask}`` that writes a mask.
        bias_correction: ``n4`` evens out the slow brightness changes of receive coils.

    Raises:
        ValueError: If a value makes no sense.

    Source:
        BrainMVP, supplement B.1: RAS, 1 mm isotropic, linear interpolation, foreground.
    """

    spacing_mm: float = 1.0
    reference: tuple[str, ...] = ("t1", "t1ce", "flair", "t2", "pd", "mra", "dwi", "adc")
    interpolation: Interpolation = "linear"
    foreground: ForegroundRule = "auto"
    margin_mm: float = 0.0
    min_overlap: float = 0.25
    max_nonfinite: float = 0.01
    registration: Registration = "none"
    template: str | None = None
    template_registration: Registration = "none"
    brain_mask: str = "none"
    bias_correction: BiasCorrection = "none"

    def __post_init__(self) -> None:
        if not 0.1 <= self.spacing_mm <= 20:
            raise ValueError(f"recipe.spacing_mm is {self.spacing_mm}; use 0.1 to 20 millimetres")
        if self.margin_mm < 0:
            raise ValueError(f"recipe.margin_mm is {self.margin_mm}; it cannot be negative")
        for name in ("min_overlap", "max_nonfinite"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"recipe.{name} is {getattr(self, name)}; it is a share of 0 to 1")
        self._check_steps()

    def _check_steps(self) -> None:
        for name in ("registration", "template_registration"):
            if getattr(self, name) not in get_args(Registration):
                raise ValueError(
                    f"recipe.{name} is {getattr(self, name)!r}; use none, rigid, affine"
                )
        if self.bias_correction not in get_args(BiasCorrection):
            raise ValueError(f"recipe.bias_correction is {self.bias_correction!r}; use none or n4")
        if (self.template is None) != (self.template_registration == "none"):
            raise ValueError(
                "recipe.template and recipe.template_registration go together: give the file and "
                f"rigid or affine, or neither; got {self.template} and {self.template_registration}"
            )
        fields = [part for part in ("{image}", "{mask}") if part not in self.brain_mask]
        if self.brain_mask not in MASK_RULES and fields:
            raise ValueError(
                f"recipe.brain_mask is {self.brain_mask!r}; use {', '.join(MASK_RULES)}, or a "
                "command with {image} and {mask} in it, such as 'mytool {image} {mask}'"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings, and the versions that matter, as plain JSON values.

        Steps that are not used are left out; a template is known by its content, not its place.

        Raises:
            ValueError: If the template cannot be read.
        """
        settings = {**asdict(self), "codec": CODEC, "pipeline_version": PIPELINE_VERSION}
        for step in STEPS:
            if settings[step] in (None, "none"):
                del settings[step]
        if self.template is not None:
            settings["template"] = _name_and_digest(Path(self.template))
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], template: str | None = None) -> Recipe:
        """Return the recipe that `to_json` recorded.

        Args:
            plain: The settings; versions in it are not looked at.
            template: File of the template, if the recipe has one: only its name and content are
                recorded.

        Raises:
            ValueError: If a setting is unknown, of another type or makes no sense, the template is
                missing, another one or not needed.
        """
        if not isinstance(plain, Mapping):
            raise ValueError(f"the recipe is {plain!r}, not a mapping of settings; write it again")
        settings = {name: value for name, value in plain.items() if name not in _VERSIONS}
        unknown = sorted(settings.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(
                f"the recipe has unknown settings ({', '.join(unknown)}); update brainmvp-lightning"
            )
        _check_types(settings)
        recorded = settings.pop("template", None)
        _check_template(recorded, template)
        if "reference" in settings:
            settings["reference"] = tuple(settings["reference"])
        return cls(**settings, template=template)

    def hash(self) -> str:
        """Return a short digest: equal recipes, and only they, make interchangeable caches."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_types(settings: Mapping[str, Any]) -> None:
    """Check plain values, which nothing has looked at yet."""
    for name, value in settings.items():
        expected = _expected(name, value)
        if expected:
            raise ValueError(
                f"recipe.{name} is {value!r}; it must be {expected}, so the recipe is damaged: "
                "write it again"
            )


def _expected(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return what a setting must be, if it is not."""
    if name in _NUMBERS:
        return "" if _is_number(value) else "a number"
    if name in _CHOICES:
        return "" if value in _CHOICES[name] else f"one of {', '.join(_CHOICES[name])}"
    if name == "reference":
        return "" if _is_list_of_words(value) else "a list of words"
    return "" if isinstance(value, str) or (name, value) == ("template", None) else "a word"


def _is_number(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    is_plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_plain and math.isfinite(value)


def _is_list_of_words(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)


def _check_template(recorded: str | None, template: str | None) -> None:
    if recorded is None and template is not None:
        raise ValueError(f"the recipe moves studies onto no template; leave {template} out")
    if recorded is None:
        return
    name, _, digest = recorded.rpartition(" ")
    if template is None:
        raise ValueError(
            f"the recipe moves all studies onto the template {name} (sha256 {digest}...), which "
            "is not part of it; name the file"
        )
    found = _name_and_digest(Path(template)).rpartition(" ")[2]
    if found != digest:
        raise ValueError(
            f"{template} is not the template {name} of the recipe: its sha256 begins with {found}, "
            f"not {digest}; give the file that the training data were prepared with"
        )


def _name_and_digest(path: Path) -> str:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ValueError(
            f"recipe.template {path} cannot be read ({error.strerror}); correct the path"
        ) from error
    return f"{path.name} {digest}"
