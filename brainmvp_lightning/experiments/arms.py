"""Arms of an experiment as YAML gives them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainmvp_lightning.experiments.overrides import Overrides, flatten

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class AblationArm:
    """How one arm of an ablation is pre-trained and fine-tuned.

    Attributes:
        pretrain: Changes to the pre-training's YAML; null trains from scratch.
        finetune: Changes to the fine-tuning's YAML beside the weights.
    """

    pretrain: Overrides | None = None
    finetune: Overrides | None = None


def check_arm_options(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, AblationArm]:
    """Read the arms of an ablation as YAML gives them.

    Raises:
        ValueError: If an arm has an unknown key.
    """
    known = ("pretrain", "finetune")
    for name, arm in arms.items():
        for key in arm or {}:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"arm {name!r} has no option {key!r}{hint} (known: {known})")
    return {name: AblationArm(**(arm or {})) for name, arm in arms.items()}


def check_names(arms: Iterable[str]) -> None:
    """Check that arms can name folders.

    Raises:
        ValueError: If one cannot, or there are none.
    """
    names = list(arms)
    if not names:
        raise ValueError("there are no arms; name one or more, the first is the reference")
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"arm {name!r} cannot name a folder; use letters, digits and any of _ . + -"
            )


def check_fractions(fractions: Sequence[float]) -> list[float]:
    """Return the different shares in order.

    Raises:
        ValueError: If one is out of range, or there are none.
    """
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        raise ValueError(
            f"fractions are {list(fractions)}; each is a share of the training patients above 0 "
            "and at most 1, such as 0.2"
        )
    return sorted(set(fractions))


def share_text(fraction: float) -> str:
    """Return a share as text that no other share has."""
    short = f"{fraction:g}"
    return short if float(short) == fraction else repr(fraction)


def refuse_fixed(chosen: Overrides, fixed: Iterable[str], arm: str) -> None:
    """Refuse overrides of what an experiment sets for each run, nested ones too.

    Raises:
        ValueError: If there is one.
    """
    taken = [
        name.replace("init_args.", "").removesuffix(".init_args")
        for name, value in flatten(chosen)
        if not isinstance(value, Mapping)
    ]
    for name in (*fixed, "trainer.default_root_dir"):
        for other in taken:
            if name == other:
                raise ValueError(f"arm {arm!r} overrides {name}, which the experiment sets itself")
            if name.startswith(f"{other}."):
                raise ValueError(
                    f"arm {arm!r} replaces {other} as a whole, but the experiment sets {name} "
                    "itself; override single options of it"
                )
