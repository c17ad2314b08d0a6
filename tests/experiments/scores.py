"""Scores of runs that can be worked out by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from brainmvp_lightning.evaluation.class_tables import ClassScore, write_classes
from brainmvp_lightning.evaluation.segmentation import Outcome
from brainmvp_lightning.evaluation.tables import CaseScore, write_cases
from brainmvp_lightning.experiments.cells import Place


def place(folder: Path, arm: str, fraction: float = 1.0, seed: int = 0) -> Place:
    name = f"{arm}_{fraction:g}_{seed}"
    return Place(arm, fraction, seed, name, folder / name)


def case(
    study: str,
    region: str,
    dice: float,
    hd95_mm: float = 2.0,
    outcome: Outcome = "scored",
    modalities: str = "t1+t2",
    space: str = "native",
) -> CaseScore:
    return CaseScore(
        study, "toy", "test", modalities, region, space, dice, hd95_mm, outcome, 1.0, 1.0
    )


def write_dice(target: Place, dice: Sequence[float]) -> Place:
    """Write the Dice of one region, a study for each number."""
    write_cases(target.cases, [case(f"s{n:02}", "WT", value) for n, value in enumerate(dice)])
    return target


def write_answers(target: Place, answers: Mapping[str, tuple[str, float]]) -> Place:
    """Write for each study its true class and the probability of ``sick``."""
    rows = [
        ClassScore.of(
            (1 - p, p), ("well", "sick"), truth=truth, study=study, dataset="toy", modalities=["t1"]
        )
        for study, (truth, p) in answers.items()
    ]
    write_classes(target.cases, rows)
    return target
