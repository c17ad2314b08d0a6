"""Faults of the surroundings: they may be gone at the next run, which tries again."""

from __future__ import annotations

from dataclasses import dataclass

from brainmvp_lightning.preprocessing.preparation import Prepared
from brainmvp_lightning.preprocessing.tools import PassingProblem
from brainmvp_lightning.studies.problem import Problem

UNREADABLE = "it cannot be read ("  # how `read_nifti` begins if the system refuses a file


@dataclass(frozen=True)
class Passing(Prepared):
    """The result of a study that a passing fault has spoiled; the next run tries it again."""


def mark_passing(prepared: Prepared) -> Prepared:
    """Return the result as a passing one if a file was set aside for a fault that may pass."""
    if any(_may_pass(problem) for problem in prepared.problems):
        return Passing(prepared.study, prepared.problems)
    return prepared


def _may_pass(problem: Problem) -> bool:
    if problem.is_handled:
        return False
    return isinstance(problem, PassingProblem) or UNREADABLE in problem.reason
