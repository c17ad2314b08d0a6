"""Predictions as files: labels and probabilities on the grid of an image."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from brainmvp_lightning.batches import FileGeometry, StudyGeometry, VolumeBatch
from brainmvp_lightning.inference.decisions import Labelling
from brainmvp_lightning.inference.native_space import restore
from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.volumes.gunzip import GZIP_MAGIC
from brainmvp_lightning.volumes.nifti_header import HEADER_BYTES, parse_header

_SAME = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
_SAME_PLACES = ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")


@dataclass(eq=False)  # not frozen: Lightning moves what a prediction returns to the CPU
class StudyPrediction:
    """What a network says of one study.

    Attributes:
        study: Name of the study.
        geometry: The way back to its files.
        probabilities: ``k x y z`` of the stored box, float32 or float16, on the CPU; of
            classification ``k``.
        missing: Modalities that the study lacks, or that could not be read.
        warnings: Faults and oddities of the study, one sentence each.
    """

    study: str
    geometry: StudyGeometry
    probabilities: Tensor
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, batch: VolumeBatch, number: int, probabilities: Tensor, modalities: Sequence[str]
    ) -> StudyPrediction:
        """Return the prediction of one row of a batch, without its padding.

        Args:
            batch: What was predicted on.
            number: Row of the study.
            probabilities: Of all rows, ``b k x y z`` or ``b k``.
            modalities: Names of the channels.
        """
        geometry = batch["geometry"][number]
        present = batch["present"][number].tolist()
        study = batch["study"][number]
        owner = f"{study}: "  # a batch holds the faults of all of its studies
        return cls(
            study=study,
            geometry=geometry,
            probabilities=without_padding(
                probabilities[number], batch["start"][number], geometry
            ).cpu(),
            missing=tuple(n for n, there in zip(modalities, present, strict=True) if not there),
            warnings=tuple(
                fault.removeprefix(owner) for fault in batch["faults"] if fault.startswith(owner)
            ),
        )


def without_padding(volume: Tensor, start: Tensor, geometry: StudyGeometry) -> Tensor:
    """Return what lies in the stored box of a study, ``k x y z``; a vector is left as it is.

    Args:
        volume: Of a whole volume, perhaps padded, ``k x y z``, or ``k``.
        start: Its first voxel in the stored box, ``3``.
        geometry: Of the study.
    """
    if volume.ndim == 1:
        return volume
    x, y, z = (
        slice(-first, extent - first)
        for first, extent in zip(start.tolist(), geometry["shape"], strict=True)
    )
    return volume[:, x, y, z]


@dataclass(frozen=True, eq=False)
class Target:
    """The grid that a prediction is written on.

    Attributes:
        file: Whose grid.
        header: Its NIfTI header, if it is at hand: transforms are copied bit by bit. Otherwise
            they are written from the affine.
        relative_to: Folder that the path of `file` counts from; None for the folder of the call.
    """

    file: FileGeometry
    header: Any = None
    relative_to: str | None = None


def write_segmentation(
    prediction: StudyPrediction,
    target: Target,
    labelling: Labelling,
    folder: Path,
    output_names: Sequence[str] = (),
) -> list[Path]:
    """Write ``<study>_seg.nii.gz``, and ``<study>_prob-<output>.nii.gz`` for each of the outputs.

    Memory: what `restore` needs for one file at a time.

    Args:
        prediction: Probabilities of a segmentation.
        target: Grid of the files.
        labelling: From probabilities to labels.
        folder: Where they go; made if needed.
        output_names: Name of each channel, if probabilities are to be written, too; a number goes
            before the names if some are the same in what a file's name can hold.

    Raises:
        OSError: If they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    channels = prediction.probabilities.numpy()
    file_affine = np.asarray(target.file["to_study"]) @ np.asarray(target.file["affine"])
    onto_file = partial(
        restore,
        grid_affine=prediction.geometry["affine"],
        file_affine=file_affine,
        file_shape=target.file["shape"],
    )
    paths = [folder / f"{prediction.study}_seg.nii.gz"]
    label = onto_file(channels, decide=labelling, outside=labelling.outside)
    write_on_grid(paths[0], label, target)
    for number, name in enumerate(_file_names(output_names)):
        one = slice(number, number + 1)
        volume = onto_file(channels[one], decide=_only, outside=labelling.outside[one])
        paths.append(folder / f"{prediction.study}_prob-{name}.nii.gz")
        write_on_grid(paths[-1], volume, target)
    return paths


def _only(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    first: NDArray[np.float32] = probabilities[0]
    return first


def _file_names(names: Sequence[str]) -> list[str]:
    """Return the names as parts of a file's name, all different even where case is ignored."""
    safe = [re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-") for name in names]
    if all(safe) and len({name.casefold() for name in safe}) == len(safe):
        return safe
    return [f"{number}-{name}".rstrip("-") for number, name in enumerate(safe)]


def write_on_grid(path: Path, array: NDArray[Any], target: Target) -> None:
    """Write a NIfTI-1 file in one piece, with the grid of another file.

    Args:
        path: File ending in ``.nii.gz``.
        array: ``x y z``.
        target: The grid. Without a header, the sform is the affine, and so is the qform where it
            can be; both say "scanner" coordinates.

    Raises:
        OSError: If it cannot be written.
    """
    image = nib.Nifti1Image(array, np.asarray(target.file["affine"], np.float64))
    header = image.header
    header.set_xyzt_units("mm")
    if target.header is None:
        image.set_sform(image.affine, code="scanner")
        image.set_qform(image.affine, code="scanner")
        if not np.allclose(image.get_qform(), image.affine, atol=1e-3):
            image.set_qform(image.affine, code="unknown")  # a sheared grid has no qform
    else:
        for name in (*_SAME, *_SAME_PLACES):
            header[name] = target.header[name]
        header["pixdim"][:4] = target.header["pixdim"][:4]
    write_bytes(path, gzip.compress(_to_bytes(header, array), compresslevel=1, mtime=0))


def _to_bytes(header: Any, array: NDArray[Any]) -> bytes:  # noqa: ANN401 - nibabel has no types
    # nibabel writes transforms of its own into the header of an image that it saves.
    header.set_data_dtype(array.dtype)
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    return b"".join((header.binaryblock, bytes(4), array.tobytes(order="F")))


def read_header(path: Path) -> Any:  # noqa: ANN401 - nibabel has no types
    """Return the header of a NIfTI file, compressed or not whatever its name says.

    Raises:
        VolumeError: If it has none.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        is_compressed = file.read(2) == GZIP_MAGIC
    with gzip.open(path) if is_compressed else path.open("rb") as stream:
        return parse_header(stream.read(HEADER_BYTES), str(path))
