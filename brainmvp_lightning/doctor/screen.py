"""The report as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from brainmvp_lightning.doctor.cohort import Availability
from brainmvp_lightning.doctor.findings import HEADINGS, SEVERITIES, Finding
from brainmvp_lightning.doctor.prediction import Prediction
from brainmvp_lightning.doctor.report import Report
from brainmvp_lightning.studies.splits import SPLITS

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_MAX_COMBINATIONS = 5


def show_report(console: Console, report: Report, max_rows: int) -> None:
    """Print tables of what there is, then errors, warnings and notes.

    Args:
        console: Where to.
        report: What was found.
        max_rows: Findings shown of each kind.
    """
    _say(console, f"{report.source}: {counted_words(report)}")
    if report.quick:
        _say(console, "not looked at: voxels, labels, copies and intensities (leave out --quick)")
    _show_tables(console, report)
    for severity in SEVERITIES:
        rows = [finding for finding in report.findings if finding.severity == severity]
        if rows:
            console.rule(f"[{_COLOURS[severity]}]{plural(len(rows), severity)}", align="left")
            _show_findings(console, rows, max_rows)
    if report.prediction is not None:
        console.rule("estimates", align="left")
        for line in prediction_lines(report.prediction):
            _say(console, line)


def _show_tables(console: Console, report: Report) -> None:
    if not report.availability:
        return
    console.print(_availability_table(report))
    for dataset, row in report.availability.items():
        _say(console, f"{dataset}: {_combinations(row)}")
    console.print(_split_table(report))


def counted_words(report: Report) -> str:
    """Return one sentence on how much was looked at."""
    counts = report.counts
    how = "headers" if report.quick else "every voxel"
    people = f"{plural(counts['studies'], 'study', 'studies')} of "
    people += f"{plural(counts['patients'], 'patient')} in {plural(counts['datasets'], 'data set')}"
    scans = f"{plural(counts['scans'], 'readable scan')} ({counts['bytes'] / 1e6:.1f} MB)"
    return f"{people}, {scans}, {plural(counts['labels'], 'label')}; {how} read"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def prediction_lines(prediction: Prediction) -> list[str]:
    """Return the estimates as sentences."""
    basis = (
        f"scaled by {prediction.num_timed} studies that were really prepared"
        if prediction.num_timed
        else "from built-in figures of another machine, so roughly"
    )
    if prediction.is_partial:
        basis += "; registration, brain masks and bias correction come on top"
    return [
        f"cache {prediction.cache_bytes / 1e6:.1f} MB, CPU time "
        f"{duration(prediction.cpu_seconds)}, about {duration(prediction.wall_seconds)} with "
        f"{plural(prediction.workers, 'worker')} on cores of their own ({basis})",
        f"memory of a worker up to {prediction.memory_per_worker / 1e9:.2f} GB, at "
        f"{prediction.largest_study}; {prediction.num_resampled} scans are resampled",
    ]


def duration(seconds: float) -> str:
    """Return a time in the unit that fits."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def short_file(file: str) -> str:
    """Return the last two parts of a path."""
    return "/".join(Path(file).parts[-2:])


def _show_findings(console: Console, findings: Sequence[Finding], max_rows: int) -> None:
    for kind, group in groupby(findings, key=lambda finding: finding.kind):
        rows = list(group)
        console.print(f"[bold]{HEADINGS[kind]}[/bold]", highlight=False)
        for row in rows[:max_rows]:
            _say(console, f"  {_where(row)}{row.sentence}")
            _say(console, f"      -> {row.fix}")
        if len(rows) > max_rows:
            _say(console, f"  and {len(rows) - max_rows} more")


def _where(finding: Finding) -> str:
    parts = [part for part in (finding.study, short_file(finding.file)) if part]
    return f"{'  '.join(parts)}: " if parts else ""


def _availability_table(report: Report) -> Table:
    names = list(dict.fromkeys(n for row in report.availability.values() for n in row.modalities))
    table = Table("data set", "studies", *(name.upper() for name in names))
    for column in table.columns[1:]:
        column.justify = "right"
    for dataset, row in report.availability.items():
        cells = [str(row.modalities.get(name, "-")) for name in names]
        table.add_row(escape(dataset), str(row.num_studies), *cells)
    return table


def _combinations(row: Availability) -> str:
    listed = [f"{'+'.join(names)} {count}" for names, count in row.combinations.items()]
    more = len(listed) - _MAX_COMBINATIONS
    shown = [*listed[:_MAX_COMBINATIONS], *([f"and {more} more"] if more > 0 else [])]
    return f"{len(listed)} combinations: {', '.join(shown)}"


def _split_table(report: Report) -> Table:
    table = Table("data set", "class", *SPLITS)
    for column in table.columns[2:]:
        column.justify = "right"
    for dataset, row in report.splits.items():
        table.add_row(escape(dataset), "", *(str(row[split]) for split in SPLITS))
        for name, counts in report.classes.get(dataset, {}).items():
            table.add_row("", escape(name), *(str(counts[split]) for split in SPLITS))
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
