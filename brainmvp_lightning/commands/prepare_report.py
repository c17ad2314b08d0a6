"""What ``brainmvp prepare`` says at its end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from brainmvp_lightning.preprocessing.summary import Summary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.volumes.writer import NOTES_FILE, REJECTED_FILE

MAX_ROWS = 30
MAX_COLUMNS = 12  # modalities in the table of data sets


def show_problems(console: Console, summary: Summary, cache: Path) -> None:
    """List the files that were set aside, and those that were odd."""
    handled = [problem for problem in summary.problems if problem.is_handled]
    for title, rows, file in (
        ("set aside", summary.rejected, REJECTED_FILE),
        ("handled", handled, NOTES_FILE),
    ):
        if not rows:
            continue
        console.print(_problem_table(f"{len(rows)} {title}", rows))
        more = f"{len(rows) - MAX_ROWS} more, all" if len(rows) > MAX_ROWS else "all"
        where = "once the cache is complete: " if summary.num_waiting else ""
        console.print(f"({more} in {where}{cache / file})", markup=False)


def _problem_table(title: str, problems: tuple[Problem, ...] | list[Problem]) -> Table:
    table = Table("study", "file", "what is wrong", "what to do", title=title, title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    for problem in problems[:MAX_ROWS]:
        file = "/".join(Path(problem.file).parts[-2:])
        cells = (problem.study, file, problem.reason, problem.remedy)
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return table


def show_summary(console: Console, summary: Summary, cache: Path, seconds: float) -> None:
    """Say what the cache holds now."""
    lines = [_outcome(summary, cache, seconds)]
    if summary.num_checked:
        lines.append(
            f"checked {summary.num_checked} stored volumes: {summary.num_damaged} damaged"
            + (", prepared again" if summary.num_damaged else "")
        )
    if summary.num_studies:
        lines += _contents(summary)
    for line in lines:
        console.print(line, markup=False, highlight=False)
    if len(summary.studies_by_dataset) > 1 and not summary.num_waiting:
        console.print(_dataset_table(summary))


def _contents(summary: Summary) -> list[str]:
    scans = sum(summary.scans_by_modality.values())
    modalities = ", ".join(
        f"{name.upper()} {count}" for name, count in summary.scans_by_modality.items()
    )
    splits = ", ".join(
        f"{name} {summary.studies_by_split.get(name, 0)}" for name in ("train", "val", "test")
    )
    lines = [
        f"{summary.num_studies} studies ({splits}), {summary.num_labels} with a label, "
        f"{summary.num_partnered} with two modalities or more",
        f"{scans} scans: {modalities}",
        f"{summary.num_bytes / 1e6:.1f} MB; {summary.num_lossless} scans without loss, "
        f"largest quantisation error {summary.worst_error:.1e} of the 1-99 percentile range",
    ]
    if not summary.num_partnered:
        lines.append(
            "warning: no study has two modalities, so cross-modal reconstruction has nothing "
            "to do; check how the scans are grouped into studies"
        )
    return lines


def _dataset_table(summary: Summary) -> Table:
    """Return studies and scans of each data set, by modality if these are few."""
    names = list(summary.scans_by_modality)
    names = names if len(names) <= MAX_COLUMNS else []
    table = Table("data set", *("studies", "scans", *(name.upper() for name in names)))
    for column in table.columns[1:]:
        column.justify = "right"
    for dataset, counts in summary.counts_by_dataset.items():
        numbers = [summary.studies_by_dataset[dataset], sum(counts.values())]
        numbers += [counts.get(name, 0) for name in names]
        table.add_row(dataset.replace("[", r"\["), *(str(number) for number in numbers))
    return table


def _outcome(summary: Summary, cache: Path, seconds: float) -> str:
    if summary.num_waiting:
        return (
            f"this shard is done: it prepared {summary.num_new} studies in {seconds:.1f} s; "
            f"{summary.num_waiting} studies of other shards are not finished, the last shard "
            f"completes {cache}"
        )
    if not summary.num_studies:
        return f"nothing could be prepared; {cache / REJECTED_FILE} says why"
    if not summary.num_new and summary.is_changed:
        return (
            f"nothing left to prepare; the index of cache {cache} was rewritten: splits, classes "
            "or exclusions changed, or an earlier run was interrupted"
        )
    if not summary.num_new:
        return f"nothing to do: cache {cache} is complete and up to date"
    if summary.num_new > summary.num_studies:  # some came to nothing; the list above says why
        return (
            f"prepared {summary.num_studies} of {summary.num_new} studies in {seconds:.1f} s into "
            f"{cache}"
        )
    noun = "study" if summary.num_new == 1 else "studies"
    return f"prepared {summary.num_new} {noun} in {seconds:.1f} s into {cache}"
