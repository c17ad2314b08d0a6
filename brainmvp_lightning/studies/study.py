"""Scans, and the studies they form."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

MAX_ID_LENGTH = 120


@dataclass(frozen=True)
class Scan:
    """One file of one modality.

    Args:
        patient: Patient, unique within the data set.
        session: Visit; empty where there is only one.
        dataset: Data set the scan comes from.
        modality: Canonical name.
        path: The image file.
        label: Annotation of the study, if any.
        target_class: Class of the study, if any.
        split: ``train``, ``val`` or ``test`` where the data set prescribes it.
        label_scheme: What the values of the annotation mean; a name of `labels.LABEL_SCHEMES` or of
            a scheme that the user defines.
        brain_mask: Mask of the brain, on the grid of this scan or of another, if any.
        volumes: Volumes of a 4-D file whose mean is the image, counted from 0; empty for a file of
            one volume.
    """

    patient: str
    session: str
    dataset: str
    modality: str
    path: Path
    label: Path | None = None
    target_class: str | None = None
    split: str | None = None
    label_scheme: str | None = None
    brain_mask: Path | None = None
    volumes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Study:
    """All scans of one visit of one patient, at most one per modality.

    Args:
        id: Unique and fit for a file name.
        dataset: Data set it belongs to.
        patient: Patient, unique within the data set.
        session: Visit; may be empty.
        scans: In the order of the vocabulary.
        label: Annotation, if any.
        target_class: Class, if any.
        split: ``train``, ``val`` or ``test``.
        label_scheme: What the values of the annotation mean, if it is known.
    """

    id: str
    dataset: str
    patient: str
    session: str
    scans: tuple[Scan, ...]
    label: Path | None
    target_class: str | None
    split: str
    label_scheme: str | None = None


def study_id(dataset: str, patient: str, session: str) -> str:
    """Return ``dataset_patient_session``, fit for a file name.

    Where characters had to be replaced, or the name is too long, a short hash keeps it unique.
    """
    parts = [part for part in (dataset, patient, session) if part]
    safe = "_".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.") for part in parts)
    if safe == "_".join(parts) and len(safe) <= MAX_ID_LENGTH:
        return safe
    return distinct_id(safe[:MAX_ID_LENGTH], dataset, patient, session)


def distinct_id(name: str, dataset: str, patient: str, session: str) -> str:
    """Return `name` with a short hash of the three parts."""
    key = "\0".join((dataset, patient, session)).encode()
    return f"{name}-{hashlib.blake2b(key, digest_size=4).hexdigest()}"
