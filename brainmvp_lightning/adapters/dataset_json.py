"""What a ``dataset.json`` says, in the dialects of Decathlon, MONAI and nnU-Net."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brainmvp_lightning.studies.problem import Problem

MAX_NAMED = 3

_NO_STRUCTURES = frozenset({"background", "ignore", "unlabelled", "unlabeled"})


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or no object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; correct its path")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); correct it") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; it must be an object of keys")
    return content


def channel_names(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the channels of a ``dataset.json`` in order; empty if it has none."""
    written = content.get("channel_names") or content.get("modality") or {}
    if isinstance(written, Mapping) and all(str(key).isdecimal() for key in written):
        return [str(written[key]) for key in sorted(written, key=int)]
    return [str(name) for name in written] if isinstance(written, list) else []


def find_missing(
    listed: Iterable[Path], table: str, root: Path, adapter: str
) -> tuple[set[Path], list[Problem]]:
    """Return the listed files that are not there, and a sentence about each.

    Args:
        listed: Files that a list names.
        table: The list.
        root: Folder that its paths are relative to.
        adapter: Name of the adapter whose ``root`` can be set.

    Raises:
        FileNotFoundError: If more than half of them are missing; the root is wrong, then.
    """
    files = set(listed)
    missing = sorted(path for path in files if not path.exists())
    count = f"{len(missing)} of {len(files)} listed files are missing"
    remedy = f"paths are relative to {root}, set 'root' of the {adapter} adapter"
    if 2 * len(missing) > len(files):
        first = ", ".join(map(str, missing[:MAX_NAMED]))
        more = ", ..." if len(missing) > MAX_NAMED else ""
        raise FileNotFoundError(f"{table}: {count} ({first}{more}): {remedy}")
    reason = f"it is listed, but there is no such file ({count})"
    return set(missing), [Problem("", str(path), reason, remedy) for path in missing]


def scheme_of_labels(labels: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any JSON value
    """Return plain ``values`` and ``regions``, or None where there is nothing but background.

    Args:
        labels: ``{"0": "background", "1": "oedema"}`` (Decathlon, nnU-Net 1), ``{"background": 0,
            "oedema": 1}`` (nnU-Net 2), or with regions, ``{"whole tumour": [1, 2, 3]}``. The label
            ``ignore`` is no structure.

    Raises:
        ValueError: If it is none of these.
    """
    try:
        parts = _parts(labels)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"labels must look like {{background: 0, tumour: 1}}, got {labels!r}"
        ) from error
    if not parts:
        return None
    names = {numbers[0]: name for name, numbers in parts.items() if len(numbers) == 1}
    everything = sorted({number for numbers in parts.values() for number in numbers})
    structures = {number: names.get(number, f"value {number}") for number in everything}
    return {
        "values": {name: number for number, name in structures.items()},
        "regions": {
            name: [structures[number] for number in numbers] for name, numbers in parts.items()
        },
    }


def _parts(labels: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return the values of each structure or region, without 0."""
    pairs: list[tuple[str, Any]] = []
    for key, value in labels.items():
        is_number_first = str(key).isdecimal() and isinstance(value, str)
        pairs.append((value, int(key)) if is_number_first else (str(key), value))
    parts = {}
    for name, value in pairs:
        several = isinstance(value, Sequence) and not isinstance(value, str)
        numbers = [int(number) for number in value] if several else [int(value)]
        numbers = [number for number in numbers if number > 0]
        if numbers and name.casefold() not in _NO_STRUCTURES:
            parts[name] = numbers
    return parts
