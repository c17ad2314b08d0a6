"""All choices that decide which voxels a cache holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from brainmvp_lightning.volumes.frame import CODEC

PIPELINE_VERSION = 1  # raise it when the same settings give other voxels

ForegroundRule = Literal["auto", "nonzero", "threshold"]
Interpolation = Literal["linear", "nearest"]


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

    def __post_init__(self) -> None:
        if not 0.1 <= self.spacing_mm <= 20:
            raise ValueError(f"recipe.spacing_mm is {self.spacing_mm}; use 0.1 to 20 millimetres")
        if self.margin_mm < 0:
            raise ValueError(f"recipe.margin_mm is {self.margin_mm}; it cannot be negative")
        for name in ("min_overlap", "max_nonfinite"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"recipe.{name} is {getattr(self, name)}; it is a share of 0 to 1")

    def to_json(self) -> dict[str, Any]:
        """Return the settings, and the versions that matter, as plain JSON values."""
        settings = {**asdict(self), "codec": CODEC, "pipeline_version": PIPELINE_VERSION}
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain

    def hash(self) -> str:
        """Return a short digest: equal recipes, and only they, make interchangeable caches."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
