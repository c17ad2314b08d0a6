"""The report as one self-contained HTML page: no script, no network."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import groupby
from string import Template

from brainmvp_lightning.doctor.facts import StudyFacts
from brainmvp_lightning.doctor.findings import HEADINGS, SEVERITIES, Finding
from brainmvp_lightning.doctor.page_style import STYLE
from brainmvp_lightning.doctor.pictures import draw_intensities, draw_study
from brainmvp_lightning.doctor.prediction import Prediction
from brainmvp_lightning.doctor.report import Report
from brainmvp_lightning.doctor.screen import counted_words, duration, short_file
from brainmvp_lightning.studies.splits import SPLITS
from brainmvp_lightning.studies.study import Study

MAX_STUDIES = 12
MAX_ROWS = 200  # findings of one kind
_MAX_COMBINATIONS = 20

_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>brainmvp doctor: $source</title>
<style>$style</style></head><body>
<header><h1>brainmvp doctor</h1><p>$words</p></header>
<main>
<section class="tiles">$tiles</section>
$sections
</main>
<footer>Estimates are estimates; everything else was counted.</footer>
</body></html>
""")


def make_page(
    report: Report, studies: Sequence[Study], progress: Callable[[int, int], None] | None = None
) -> str:
    """Return the page.

    Args:
        report: What was found.
        studies: In the order of ``report.studies``; some are read again for their pictures.
        progress: Called with (done, total) pictures.
    """
    sections = [
        ("Findings", _findings(report.findings)),
        ("Which modality is there", _availability(report)),
        ("Splits and classes", _splits(report)),
        ("Studies", _studies(report, studies, progress)),
        ("Intensities of the foreground", _intensities(report)),
        ("The same image in several places", _duplicates(report)),
        ("Estimates", _estimates(report.prediction)),
    ]
    return _PAGE.substitute(
        source=escape(report.source),
        style=STYLE,
        words=escape(f"{report.source}: {counted_words(report)}"),
        tiles=_tiles(report),
        sections="\n".join(
            f"<section><h2>{title}</h2>{body}</section>" for title, body in sections if body
        ),
    )


def pictured_studies(report: Report) -> list[StudyFacts]:
    """Return the studies to show: first those with errors, with warnings, then others."""
    worst: dict[str, int] = {}
    for finding in report.findings:
        place = SEVERITIES.index(finding.severity)
        worst[finding.study] = min(worst.get(finding.study, place), place)
    ordered = sorted(report.studies, key=lambda study: worst.get(study.id, len(SEVERITIES)))
    return ordered[:MAX_STUDIES]


def _tiles(report: Report) -> str:
    counts = report.counts
    tiles = [
        (str(counts["errors"]), "errors", "error" if counts["errors"] else "fine"),
        (str(counts["warnings"]), "warnings", "warning" if counts["warnings"] else "fine"),
        (str(counts["notes"]), "notes", "note"),
        (f"{counts['readable_studies']} / {counts['studies']}", "readable studies", ""),
        (str(counts["scans"]), "readable scans", ""),
        (str(counts["labels"]), "labels", ""),
        (str(counts["patients"]), "patients", ""),
        (str(counts["datasets"]), "data sets", ""),
    ]
    if report.prediction is not None:
        tiles += [
            (f"{report.prediction.cache_bytes / 1e9:.2g} GB", "cache, estimated", ""),
            (duration(report.prediction.wall_seconds), "to prepare, estimated", ""),
        ]
    return "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name, kind in tiles
    )


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "<p>Nothing to say: the cohort is clean.</p>"
    blocks = []
    for (severity, kind), group in groupby(findings, lambda row: (row.severity, row.kind)):
        rows = list(group)
        body = "".join(
            f"<tr><td>{escape(row.study)}</td>"
            f'<td title="{escape(row.file)}">{escape(short_file(row.file))}</td>'
            f"<td>{escape(row.sentence)}</td><td>{escape(row.fix)}</td></tr>"
            for row in rows[:MAX_ROWS]
        )
        more = len(rows) - MAX_ROWS
        rest = f'<p class="more">and {more} more; --json lists all</p>' if more > 0 else ""
        is_open = " open" if severity != "note" else ""
        blocks.append(
            f'<details{is_open}><summary><span class="chip {severity}">{severity}</span> '
            f"{escape(HEADINGS[kind])} <small>{len(rows)}</small></summary>"
            f"{_table((), body, 'findings')}{rest}</details>"
        )
    columns = ("study", "file", "what was found", "what to do")
    return _table(columns, "", "findings") + "".join(blocks)


def _table(columns: Iterable[str], body: str, kind: str = "") -> str:
    cells = "".join(f"<th>{escape(column)}</th>" for column in columns)
    head = f"<thead><tr>{cells}</tr></thead>" if cells else ""
    return f'<div class="wide"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'


def _availability(report: Report) -> str:
    names = list(dict.fromkeys(n for row in report.availability.values() for n in row.modalities))
    if not names:
        return ""
    rows, sets = [], []
    for dataset, row in report.availability.items():
        cells = "".join(_heat(row.modalities.get(name, 0), row.num_studies) for name in names)
        rows.append(f"<tr><th>{escape(dataset)}</th><td>{row.num_studies}</td>{cells}</tr>")
        for chosen, count in list(row.combinations.items())[:_MAX_COMBINATIONS]:
            dots = "".join(f'<td class="dot{_on(name in chosen)}"></td>' for name in names)
            share = 100 * count / row.num_studies
            bar = f'<td class="bar"><i style="width:{share:.0f}%"></i><span>{count}</span></td>'
            sets.append(f"<tr><th>{escape(dataset)}</th>{dots}{bar}</tr>")
    heads = [name.upper() for name in names]
    return (
        _table(("data set", "studies", *heads), "".join(rows), "heat")
        + "<h3>Combinations, the most frequent first</h3>"
        + _table(("data set", *heads, "studies"), "".join(sets), "sets")
    )


def _heat(count: int, total: int) -> str:
    share = count / max(total, 1)
    ink = "#fff" if share > 0.55 else "#17324d"
    colour = f"rgba(37, 99, 160, {0.06 + 0.9 * share:.2f})" if count else "#f4f5f7"
    return (
        f'<td style="background:{colour};color:{ink if count else "#a9b1ba"}">'
        f"{count or '-'}<small>{share:.0%}</small></td>"
    )


def _on(is_there: bool) -> str:
    return " on" if is_there else ""


def _splits(report: Report) -> str:
    body = []
    for dataset, row in report.splits.items():
        cells = "".join(f"<td>{row[split]}</td>" for split in SPLITS)
        body.append(f"<tr><th>{escape(dataset)}</th><td>all</td>{cells}</tr>")
        for name, counts in report.classes.get(dataset, {}).items():
            cells = "".join(f"<td>{counts[split]}</td>" for split in SPLITS)
            body.append(f"<tr><th></th><td>{escape(name)}</td>{cells}</tr>")
    return _table(("data set", "class", *SPLITS), "".join(body), "small") if body else ""


def _studies(
    report: Report, studies: Sequence[Study], progress: Callable[[int, int], None] | None
) -> str:
    by_id = {study.id: study for study in studies}
    shown = pictured_studies(report)
    figures = []
    for done, facts in enumerate(shown, start=1):
        picture = _image(draw_study(by_id[facts.id], facts), f"slices of study {facts.id}")
        chips = "".join(
            f'<li><span class="chip {row.severity}">{row.severity}</span> {escape(row.sentence)}'
            f" <small>{escape(short_file(row.file))}</small></li>"
            for row in report.findings
            if row.study == facts.id
        )
        label = ", label as contour" if facts.label else ""
        figures.append(
            f"<figure><figcaption><b>{escape(facts.id)}</b> {escape(facts.split)}{label}"
            f"</figcaption>{picture}<ul>{chips}</ul></figure>"
        )
        if progress is not None:
            progress(done, len(shown))
    words = f"<p>{len(shown)} of {len(report.studies)} studies, those with findings first. "
    words += "All scans of a study are cut at the same place in millimetres.</p>"
    return words + f'<div class="figures">{"".join(figures)}</div>'


def _image(picture: bytes, text: str) -> str:
    content = base64.b64encode(picture).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{content}">'


def _intensities(report: Report) -> str:
    picture = draw_intensities(report.groups)
    if picture is None:
        return ""
    words = "<p>One curve for each scan; those unlike their group are red.</p>"
    return f'{words}<div class="wide">{_image(picture, "histograms of intensities")}</div>'


def _duplicates(report: Report) -> str:
    body = []
    for number, group in enumerate(report.duplicates[:MAX_ROWS], start=1):
        for copy in group:
            body.append(
                f"<tr><td>{number}</td><td>{escape(copy.study.id)}</td><td>{escape(copy.name)}</td>"
                f"<td>{escape(copy.study.split)}</td><td>{escape(str(copy.path))}</td></tr>"
            )
    return _table(("group", "study", "as", "split", "file"), "".join(body)) if body else ""


def _estimates(prediction: Prediction | None) -> str:
    if prediction is None:
        return ""
    free = prediction.free_bytes
    rows = [
        ("size of the cache", f"{prediction.cache_bytes / 1e9:.3g} GB"),
        ("free where it will be", "unknown" if free is None else f"{free / 1e9:.3g} GB"),
        ("CPU time", duration(prediction.cpu_seconds)),
        (f"time with {prediction.workers} workers", duration(prediction.wall_seconds)),
        ("memory of a worker, at most", f"{prediction.memory_per_worker / 1e9:.2f} GB"),
        ("largest study", prediction.largest_study),
        ("scans that are resampled", str(prediction.num_resampled)),
        ("studies prepared to scale this", str(prediction.num_timed)),
    ]
    body = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows
    )
    return _table((), body, "small")
