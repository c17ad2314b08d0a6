"""From NIfTI files of one study to what a network sees, by the recipe of its training data."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainmvp_lightning.batches import LabelledDescription, Size, StudyGeometry
from brainmvp_lightning.inference.geometry import padded_box, resize, study_geometry
from brainmvp_lightning.preprocessing.preparation import Prepared, prepare_study
from brainmvp_lightning.preprocessing.recipe import MASK_RULES, PIPELINE_VERSION, Recipe
from brainmvp_lightning.studies.modality import VOCABULARY
from brainmvp_lightning.studies.study import Scan, Study, study_id
from brainmvp_lightning.volumes.cache import CachedStudy, Clip
from brainmvp_lightning.volumes.crops import unit_crop
from brainmvp_lightning.volumes.frame import OpenFrame
from brainmvp_lightning.volumes.store import FolderStore


class StudyError(ValueError):
    """A study that cannot be predicted on; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class RawStudy:
    """A study as a data module would give it.

    Attributes:
        study: Its name.
        image: ``1 c x y z``, float32 in [0, 1]; a missing modality is 0.
        present: ``1 c``, bool.
        start: First voxel of the image on its grid, ``1 3``, int64.
        origin: The same from the reference point of the data.
        geometry: The way back to the files.
        notes: Oddities that were handled, one sentence each.
    """

    study: str
    image: Tensor
    present: Tensor
    start: Tensor
    origin: Tensor
    geometry: StudyGeometry
    notes: tuple[str, ...]


def recorded_recipe(
    description: LabelledDescription,
    *,
    template: str | None = None,
    brain_mask: str | None = None,
) -> Recipe:
    """Return the recipe that a model's training data were prepared with.

    Args:
        description: What the model was trained on.
        template: File of the template that the recipe moves studies onto, if it does.
        brain_mask: The command that draws brain masks, if the recipe has one: it is not taken from
            the model, for no program may run because a file says so. Or, if masks came with the
            data, the file of the study's mask.

    Raises:
        ValueError: If the model does not say, something is missing, or is not needed.
    """
    if not description.recipe:
        raise ValueError(
            "the model does not say how its training data were prepared, so raw files cannot be "
            "brought into the same form; prepare them with 'brainmvp prepare' and use "
            "'brainmvp predict'"
        )
    recipe = Recipe.from_json(description.recipe, template)
    rule = recipe.brain_mask
    if rule not in MASK_RULES and brain_mask != rule:
        raise ValueError(
            f"the recipe runs the command {rule!r} to find the brain; if you trust it, give the "
            "same text as brain mask"
        )
    if rule == "file" and brain_mask is None:
        raise ValueError("the recipe needs a mask of the brain; give its file as brain mask")
    if rule in ("none", "deepbet", "hd-bet") and brain_mask is not None:
        raise ValueError(f"the recipe takes no brain mask (its rule is {rule!r}); leave it out")
    return recipe


def read_raw_study(
    name: str,
    files: Mapping[str, Path],
    description: LabelledDescription,
    recipe: Recipe,
    *,
    brain_mask: Path | None = None,
    others: Mapping[str, Path] = MappingProxyType({}),
) -> RawStudy:
    """Read the files of a study, as `WholeStudies` or `ResizedStudies` read a prepared one.

    All scans of a study have a say in its grid (`Recipe.reference`) and in its box, those that the
    network does not see as well; without them, voxels are not quite those of a cache that has them.
    The prepared study lies in a temporary folder, which is gone when this returns or raises.

    Args:
        name: Name of the study.
        files: File by modality; any of the model's, at least one.
        description: Channels, crop, clipping and placement of the model.
        recipe: How the files are prepared; see `recorded_recipe`.
        brain_mask: Mask of the brain, on any grid, if the recipe takes one from a file.
        others: Further scans, by modalities the model does not take; one that cannot be used is
            named in the notes.

    Raises:
        StudyError: If one of the files cannot be used.
        MissingToolError: If a step of the recipe needs a program that is not installed.
        CacheWriteError: If the temporary folder cannot be written.
    """
    check_modalities(files, description)
    study = _study_of(name, {**files, **others}, brain_mask)
    with tempfile.TemporaryDirectory(prefix="brainmvp-", ignore_cleanup_errors=True) as folder:
        prepared = prepare_study(study, recipe, Path(folder))
        stored = _checked(prepared, name, set(map(str, others.values())))
        image, start, origin = _read(stored, Path(folder), description)
        geometry = study_geometry(stored, description.modalities, files)
    present = [[modality in stored.modalities for modality in description.modalities]]
    return RawStudy(
        study=name,
        image=torch.from_numpy(image),
        present=torch.tensor(present),
        start=torch.tensor([start]),
        origin=torch.tensor([origin]),
        geometry=geometry,
        notes=(*_version_notes(description), *map(str, prepared.problems)),
    )


def check_modalities(modalities: Mapping[str, Path], description: LabelledDescription) -> None:
    """Check that there are any, and that the model takes them.

    Raises:
        StudyError: If not.
    """
    takes = ", ".join(description.modalities)
    unknown = [name for name in modalities if name not in description.modalities]
    if unknown:
        raise StudyError(f"the model takes {takes}; it knows no {', '.join(unknown)}")
    if not modalities:
        raise StudyError(f"there is no image; the model takes any of {takes}")


def _study_of(name: str, files: Mapping[str, Path], brain_mask: Path | None) -> Study:
    scans = tuple(
        Scan(name, "", "", modality, path, brain_mask=brain_mask)
        for modality, path in sorted(files.items(), key=_rank)
    )
    return Study(study_id("", name, ""), "", name, "", scans, None, None, "test")


def _rank(file: tuple[str, Path]) -> int:
    """Return the place of a modality in a study; those of others come last."""
    return VOCABULARY.index(file[0]) if file[0] in VOCABULARY else len(VOCABULARY)


def _checked(prepared: Prepared, name: str, dispensable: Collection[str]) -> CachedStudy:
    faults = [
        str(problem)
        for problem in prepared.problems
        if not problem.is_handled and problem.file not in dispensable
    ]
    if faults or prepared.study is None:
        raise StudyError("; ".join(faults) or f"study {name!r} holds no usable image")
    return prepared.study


def _read(
    study: CachedStudy, root: Path, description: LabelledDescription
) -> tuple[NDArray[np.float32], list[int], list[int]]:
    """Return the image and its first voxel, on its grid and from the reference point."""
    if description.resized_to is not None:
        return _resized(_channels(study, root, description, (0, 0, 0), study.shape), description)
    start, size = padded_box(study.shape, description.crop_size)
    reference = np.asarray(study.shape) // 2
    if description.placement == "world":
        inverse = np.linalg.inv(np.asarray(study.affine))
        place = inverse[:3, :3] @ np.asarray(description.centre_mm) + inverse[:3, 3]
        reference = np.rint(place).astype(np.int64)
    image = _channels(study, root, description, start, size)
    return image, list(start), (np.asarray(start) - reference).tolist()


def _channels(
    study: CachedStudy, root: Path, description: LabelledDescription, start: Size, size: Size
) -> NDArray[np.float32]:
    store = FolderStore(root)
    image = np.zeros((1, len(description.modalities), *size), np.float32)
    clip = Clip(**description.clip)
    for channel, modality in enumerate(description.modalities):
        if modality in study.modalities:
            scan = study.scan(modality)
            frame = OpenFrame(store.read_checked(scan.file, scan.digest))
            image[0, channel] = unit_crop(frame, scan, start, size, clip)
    return image


def _resized(
    image: NDArray[np.float32], description: LabelledDescription
) -> tuple[NDArray[np.float32], list[int], list[int]]:
    """Resize a whole study as in training and cut its centre out.

    Source:
        BrainMVP, supplement B.3.
    """
    assert description.resized_to is not None  # asked by the caller
    shape, size = description.resized_to, description.crop_size
    start = [(whole - edge) // 2 for whole, edge in zip(shape, size, strict=True)]
    x, y, z = (slice(first, first + edge) for first, edge in zip(start, size, strict=True))
    origin = [first - whole // 2 for first, whole in zip(start, shape, strict=True)]
    return np.ascontiguousarray(resize(image, shape)[:, :, x, y, z]), start, origin


def _version_notes(description: LabelledDescription) -> list[str]:
    version = description.recipe.get("pipeline_version", PIPELINE_VERSION)
    if version == PIPELINE_VERSION:
        return []
    return [
        f"the training data were prepared by version {version} of the pipeline, this is version "
        f"{PIPELINE_VERSION}; voxels may differ"
    ]
