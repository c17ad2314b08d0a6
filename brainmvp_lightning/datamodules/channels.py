"""Aligned modalities of a study as channels, and its annotation on the same voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_lightning.batches import Size
from brainmvp_lightning.datamodules.targets import LabelTargets
from brainmvp_lightning.volumes.cache import Cache, CachedStudy, CacheError, Clip
from brainmvp_lightning.volumes.crops import unit_crop


@dataclass(frozen=True)
class Channels:
    """Crops of a study.

    Attributes:
        image: ``n c x y z``, float32 in [0, 1]; a missing modality is 0.
        present: Which modalities are there, ``c``, at least one.
        is_usable: Any scan could be read; if not, the first that should be there counts as present.
        faults: One sentence for each scan that could not be read.
    """

    image: NDArray[np.float32]
    present: NDArray[np.bool_]
    is_usable: bool
    faults: tuple[str, ...]


@dataclass(frozen=True)
class ChannelReader:
    """Reads the same voxels of several modalities.

    Attributes:
        cache: Where scans are read from.
        modalities: Order of the channels.
        clip: Percentiles at which each scan is clipped and scaled to [0, 1].
    """

    cache: Cache
    modalities: tuple[str, ...]
    clip: Clip

    def stored(self, study: CachedStudy) -> list[int]:
        """Return the channels that a study has a scan for, ascending."""
        return [self.modalities.index(name) for name in self.modalities if name in study.modalities]

    def read(self, study: CachedStudy, starts: Sequence[Size], size: Size) -> Channels:
        """Read crops of all modalities.

        Args:
            study: What to read.
            starts: First voxel of each crop in the stored box; may be negative.
            size: Voxels of a crop.
        """
        image = np.zeros((len(starts), len(self.modalities), *size), np.float32)
        present = np.zeros(len(self.modalities), np.bool_)
        faults = []
        for channel in self.stored(study):
            scan = study.scan(self.modalities[channel])
            try:
                frame = self.cache.open_frame(study, scan)
                for number, start in enumerate(starts):
                    image[number, channel] = unit_crop(frame, scan, start, size, self.clip)
                present[channel] = True
            except (CacheError, OSError) as error:
                image[:, channel] = 0
                faults.append(f"{study.id}: {error}")
        is_usable = bool(present.any())
        if not is_usable:
            present[self.stored(study)[:1] or [0]] = True
        return Channels(image, present, is_usable, tuple(faults))


@dataclass(frozen=True)
class LabelReader:
    """Reads annotations as classes or regions.

    Attributes:
        cache: Where annotations are read from.
        targets: What their values mean.
        default_scheme: Name of the label scheme of studies for which the cache names none.
        overlapping: One channel for each region, instead of one of classes.
    """

    cache: Cache
    targets: LabelTargets
    default_scheme: str
    overlapping: bool

    def read(
        self, study: CachedStudy, starts: Sequence[Size], size: Size
    ) -> tuple[NDArray[np.uint8], str]:
        """Read crops of an annotation, ``n 1 x y z`` or ``n r x y z``.

        Returns:
            The crops, and why they are all background; empty if they could be read.
        """
        num_channels = len(self.targets.region_names) if self.overlapping else 1
        label = np.zeros((len(starts), num_channels, *size), np.uint8)
        scheme = study.label_scheme or self.default_scheme
        try:
            for number, start in enumerate(starts):
                values = self.cache.read_label_crop(study, start, size)
                classes = self.targets.classes(values, scheme)
                label[number] = self.targets.overlapping(classes) if self.overlapping else classes
        except (CacheError, OSError) as error:
            label[:] = 0
            return label, f"{study.id}: {error}"
        return label, ""
