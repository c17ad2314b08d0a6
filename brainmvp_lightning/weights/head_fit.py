"""Whether the head in a file is one for the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brainmvp_lightning.weights.options import class_in_file

_ANSWERING = ("out.", "auxiliary.")  # layers of a head whose channels are its answers


@dataclass(frozen=True)
class HeadFit:
    """How a head and the one in a file agree.

    Attributes:
        is_same_kind: Whether they are of one class.
        has_same_outputs: Whether both are known to answer the same, in the same order.
        note: A sentence about what does not agree; empty if all does.
    """

    is_same_kind: bool
    has_same_outputs: bool
    note: str = ""

    def takes(self, name: str) -> bool:
        """Tell whether a tensor whose name and shape agree means the same."""
        return self.is_same_kind and (self.has_same_outputs or not name.startswith(_ANSWERING))


def compare_heads(head: object, told: Mapping[str, Any], asked: Mapping[str, Any]) -> HeadFit:
    """Compare a head with the one in a file.

    Args:
        head: The new one.
        told: What the file says of its network: ``head``, ``task`` and ``description``.
        asked: The same of the new network, as far as it is known.
    """
    theirs: Mapping[str, Any] = told.get("head") or {}
    if class_in_file(head, theirs, asked.get("head") or {}) is None:
        name = theirs.get("class_path") or "a head that it does not name"
        note = f"the file has {name}, here it is {type(head).__name__}: nothing is taken of it"
        return HeadFit(False, False, note)
    before, now = output_names(told), output_names(asked)
    if before and before == now:
        return HeadFit(True, True)
    if not before or not now:
        which = "the file" if not before else "the new network"
        note = f"{which} does not say what its answers are: the layers of the answers start afresh"
    else:
        note = (
            f"the answers in the file are {', '.join(before)}, here {', '.join(now)}: the layers "
            "of the answers start afresh"
        )
    return HeadFit(True, False, note)


def output_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the name of each output of a network; none if its spec does not tell."""
    description: Mapping[str, Any] = spec.get("description") or {}
    key = "region_names" if description.get("overlapping") else "label_names"
    if spec.get("task") == "classification":
        key = "class_names"
    return tuple(map(str, description.get(key) or ()))
