"""Dice with every subset of four modalities, by what fine-tuning did about missing ones.

Reads the runs of configs/experiments/gliomas_subsets.yaml and prints a table: the mean over cases
and seeds for each number of modalities, and paired tests against the first arm (Wilcoxon, over
cases; not corrected for their number).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml
from recording import record

from brainmvp_lightning.evaluation.intervals import bootstrap, paired_test
from brainmvp_lightning.evaluation.tables import read_cases

PLAN = Path("configs/experiments/gliomas_subsets.yaml")

# Case, subset of modalities -> Dice, averaged over regions and seeds.
Scores = dict[tuple[str, str], float]


def read_arm(folder: Path) -> Scores:
    """Return the mean Dice of each case and subset over regions and seeds."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    files = sorted(folder.glob("fraction_*/seed_*/test/cases.csv"))
    if not files:
        raise SystemExit(f"no test results below {folder}; run the experiment first")
    for file in files:
        for row in read_cases(file):
            values[row.study, row.modalities].append(row.dice)
    return {key: float(np.mean(found)) for key, found in values.items()}


def case_means(scores: Scores, size: int | None) -> dict[str, float]:
    """Return the mean of each case over its subsets of one size, or of all sizes."""
    cases: dict[str, list[float]] = defaultdict(list)
    for (study, modalities), dice in scores.items():
        if size is None or modalities.count("+") + 1 == size:
            cases[study].append(dice)
    return {study: float(np.mean(found)) for study, found in cases.items()}


def main() -> None:
    """Print and record the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=None)
    plan = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    runs: Path = parser.parse_args().runs or Path(plan["runs"])
    arms = {name: read_arm(runs / "finetune" / name) for name in plan["arms"]}
    first = next(iter(arms))
    print("| modalities | " + " | ".join(arms) + " |")
    print("|---|" + "---|" * len(arms))
    rows = []
    for size in (1, 2, 3, 4, None):
        means = {name: case_means(scores, size) for name, scores in arms.items()}
        cases = sorted(means[first])
        cells = []
        for found in means.values():
            values = [found[case] for case in cases]
            interval = bootstrap(values)
            test = paired_test([means[first][case] for case in cases], values)
            cells.append(
                f"{interval.estimate:.4f} ({interval.low:.4f} .. {interval.high:.4f})"
                + ("" if found is means[first] else f", p {test.p_value:.2g}")
            )
        label = "all subsets" if size is None else str(size)
        print(f"| {label} | " + " | ".join(cells) + " |")
        rows.append(
            {"modalities": label, "cases": len(cases), **dict(zip(arms, cells, strict=True))}
        )
    record("modality_subsets", "python benchmarks/modality_subsets.py", rows)


if __name__ == "__main__":
    main()
