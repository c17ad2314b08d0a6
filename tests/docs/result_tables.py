"""The tables of the page of results, made from ``benchmarks/results``.

``python -m tests.docs.result_tables`` writes them into the page, between the comments that name
them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tests.docs.pages import DOCS, ROOT

PAGE = DOCS / "results.md"
RESULTS = ROOT / "benchmarks" / "results"
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def table(header: Sequence[str], *rows: Sequence[object]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def streaming(content: dict[str, Any]) -> str:
    header = ("chain", "samples per CPU-second", "ratio to the first", "lowest ratio of a round")
    numbers = ("samples_per_cpu_s", "ratio", "lowest_ratio")
    rows = ([row["name"], *(f"{row[key]:.1f}" for key in numbers)] for row in content["rows"])
    return table(header, *rows)


def prepare(content: dict[str, Any]) -> str:
    header = (
        "scans",
        "ours, CPU ms a scan",
        "MONAI, CPU ms a scan",
        "ratio",
        "ratio, MONAI with our setting of the C library",
        "largest difference, of [0, 1]",
    )
    formats = {
        "ours_cpu_ms": ".0f",
        "monai_cpu_ms": ".0f",
        "ratio": ".1f",
        "ratio_kept": ".1f",
        "largest_difference": ".0e",
    }
    rows = [dict(row) for row in content["rows"]]
    for row in rows:
        for key in ("ours_cpu_ms", "monai_cpu_ms"):  # of a study
            row[key] /= row["num_scans"]
    return table(header, *(_cells(row, "name", formats) for row in rows))


def registration(content: dict[str, Any]) -> str:
    header = (
        "scans",
        "number",
        "mean error before, mm",
        "after, mm",
        "largest after, mm",
        "s a scan",
    )
    formats = {
        "num": "",
        "mean before mm": ".2f",
        "mean after mm": ".2f",
        "largest after mm": ".2f",
        "s per scan": ".1f",
    }
    return table(header, *(_cells(row, "scans", formats) for row in content["rows"]))


def _cells(row: dict[str, Any], name: str, formats: dict[str, str]) -> list[str]:
    return [row[name], *(format(row[key], form) for key, form in formats.items())]


def step(content: dict[str, Any]) -> str:
    """The parts of a step, and the whole of it; times are of one thread."""
    header = ("part", "studies", "ours, CPU ms", "published, CPU ms", "ratio")
    formats = {"batch": "", "ours_ms": ".0f", "published_ms": ".0f", "ratio": ".2f"}
    rows = (_cells({**row, "part": _part(row)}, "part", formats) for row in content["rows"])
    return table(header, *rows)


def _part(row: dict[str, Any]) -> str:
    if row["kind"] == "step":
        return "**whole step**"
    if row["kind"] == "masking":
        return f"masking both views, templates {row['our_rescale']}: {row['part']}"
    return str(row["part"])


def pipeline(content: dict[str, Any]) -> str:
    header = ("batches from", "CPU-s a step, training", "CPU-s a step, workers", "time waiting")
    formats = {
        "training_cpu_s_per_step": ".3f",
        "workers_cpu_s_per_step": ".3f",
        "waiting_share": ".1%",
    }
    return table(header, *(_cells(row, "name", formats) for row in content["rows"]))


def scale(content: dict[str, Any]) -> str:
    header = ("studies", "opening, s", "index, MB", "growth of a worker, MB", "after batches")
    keys = ("studies", "opening_s", "index_mb", "worker_growth_mb")
    return table(header, [*(content[key] for key in keys), content["rows"][-1]["batches"]])


def scaling(content: dict[str, Any]) -> str:
    header = ("templates", "processes", "CPU-s a step and process", "sent a step, MB")
    formats = {"processes": "", "cpu_s_per_step": ".3f", "sent_mb": ".1f"}
    rows = [row for row in content["rows"] if row["kind"] == "measured"]
    return table(header, *(_cells(row, "update", formats) for row in rows))


def modality_subsets(content: dict[str, Any]) -> str:
    header = ("modalities", "cases", "zeros", "templates in their place", "trained with them")
    keys = ("modalities", "cases", "zeros", "templates", "substitution")
    return table(header, *([row[key] for key in keys] for row in content["rows"]))


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "streaming": streaming,
    "prepare": prepare,
    "registration": registration,
    "pipeline": pipeline,
    "scale": scale,
    "step": step,
    "step_step": step,
    "step_masking": step,
    "scaling": scaling,
    "modality_subsets": modality_subsets,
}


def facts(content: dict[str, Any]) -> str:
    """The command and the machine, which stand above each table."""
    machine = content["machine"]
    return (
        f"`{content['command']}`, {content['date']}, {machine['processor']}, {machine['cores']} "
        f"cores, load {machine['load_before']} before, torch {machine['packages']['torch']}\n\n"
    )


def filled(page: str) -> str:
    """Return the page with all tables made anew."""

    def fill(place: re.Match[str]) -> str:
        content = read(place[2])
        return f"{place[1]}{facts(content)}{TABLES[place[2]](content)}{place[3]}"

    return _PLACE.sub(fill, page)


def named(page: str) -> list[str]:
    """Return the results that the page has a table of."""
    return [place[2] for place in _PLACE.finditer(page)]


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
