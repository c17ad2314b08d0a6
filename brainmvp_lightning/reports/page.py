"""Runs as one HTML page that needs no network and no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from string import Template

from brainmvp_lightning.reports.budget import Budget
from brainmvp_lightning.reports.case_section import (
    Worst,
    write_classification,
    write_segmentation,
    write_worst,
)
from brainmvp_lightning.reports.curve_section import write_curves
from brainmvp_lightning.reports.difference_section import write_differences
from brainmvp_lightning.reports.markup import script, section
from brainmvp_lightning.reports.picture_section import (
    read_templates,
    write_pictures,
    write_templates,
)
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import Run
from brainmvp_lightning.reports.small_volumes import read_case
from brainmvp_lightning.reports.summary_section import write_summary
from brainmvp_lightning.reports.viewer_section import licence, write_viewer
from brainmvp_lightning.volumes.errors import VolumeError

MOST_WORST = 4  # cases of each run that are shown

# Nothing may be fetched, whatever is inside the page.
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src data: blob:"
)
_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style></head><body>
<header><h1>$title</h1><nav aria-label="Parts of the page">$links</nav></header>
<main>$notices$sections</main>
<footer>$footer</footer>
$scripts
</body></html>
""")


@dataclass
class Report:
    """A page and what is wrong with it.

    Attributes:
        html: The page.
        faults: What is damaged or missing, one sentence each.
        left_out: What did not fit.
    """

    html: str = ""
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def make_report(runs: Sequence[Run], privacy: Privacy, *, max_mb: float, title: str) -> Report:
    """Return the page.

    Args:
        runs: At least one.
        privacy: What the page may say.
        max_mb: Megabytes (1e6 bytes) that it may have. Text, curves and tables come first, then
            volumes of worst cases and templates, then pictures.
        title: Of the page.

    Raises:
        ValueError: If even text, curves and tables do not fit.
    """
    report = Report(faults=[fault for run in runs for fault in _named(run, privacy)])
    budget = Budget(int(max_mb * 1e6))
    privacy.number_cases(_studies(runs))

    def fault(run: Run, sentence: str) -> None:
        report.faults.append(privacy.text(f"{run.name}: {sentence}"))

    texts = {
        "summary": section("summary", "Summary", write_summary(runs, privacy)),
        "curves": section("curves", "Curves", write_curves(runs)),
        "differences": section("differences", "Configuration", write_differences(runs, privacy)),
    }
    segmented, classified = write_segmentation(runs, privacy), write_classification(runs, privacy)
    own = (_style(), _script("page"), _script("viewer"), escape(licence()))
    for content in (*texts.values(), *segmented, *classified, *own):
        budget.spend(content)
    if budget.spent > budget.most:
        raise ValueError(
            f"text, curves and tables alone need {budget.spent / 1e6:.1f} MB; raise --max-mb "
            f"{max_mb:g}, or give fewer runs"
        )
    worst = _read_worst(runs, privacy, report)
    pictured = write_worst(worst, budget, privacy)
    templates = [(run, read_templates(run, fault)) for run in runs]
    viewer = write_viewer(templates, worst, budget, privacy)
    texts["viewer"] = section("viewer-section", "Slices", viewer)
    texts["templates"] = section(
        "templates", "Templates over time", write_templates(templates, budget, fault)
    )
    texts["pictures"] = section("pictures", "Pictures", write_pictures(runs, budget, fault))
    texts["cases"] = section(
        "cases", "Cases", segmented[0] + classified[0] + pictured + segmented[1] + classified[1]
    )
    report.left_out = budget.left_out
    report.html = _assemble(texts, report, title, has_viewer=bool(viewer))
    return report


_ORDER = ("summary", "curves", "templates", "pictures", "cases", "viewer", "differences")
_LINKS = {
    "summary": ("summary", "Summary"),
    "curves": ("curves", "Curves"),
    "templates": ("templates", "Templates"),
    "pictures": ("pictures", "Pictures"),
    "cases": ("cases", "Cases"),
    "viewer": ("viewer-section", "Slices"),
    "differences": ("differences", "Configuration"),
}


def _assemble(texts: dict[str, str], report: Report, title: str, *, has_viewer: bool) -> str:
    links = "".join(
        f'<a href="#{_LINKS[key][0]}">{_LINKS[key][1]}</a>' for key in _ORDER if texts[key]
    )
    return _PAGE.substitute(
        policy=_POLICY,
        title=escape(title),
        style=_style(),
        links=links,
        notices=_notices(report),
        sections="".join(texts[key] for key in _ORDER),
        footer=_footer(has_viewer=has_viewer),
        scripts=script(_script("page")) + (script(_script("viewer")) if has_viewer else ""),
    )


def _named(run: Run, privacy: Privacy) -> list[str]:
    return [privacy.text(f"{run.name}: {fault}") for fault in run.faults]


def _studies(runs: Sequence[Run]) -> list[str]:
    studies = [case.study for run in runs for case in run.cases]
    studies += [answer.study for run in runs for answer in run.classes]
    return studies + [study for run in runs for study in run.volumes]


def _read_worst(runs: Sequence[Run], privacy: Privacy, report: Report) -> Worst:
    """Return the kept cases of all runs, the worst ones of each run first."""
    worst = []
    for run in runs:
        found = []
        for study, folder in run.volumes.items():
            name = privacy.case(study)
            try:
                found.append((run, study, read_case(folder)))
            except (VolumeError, OSError, ValueError) as error:
                reason = str(error).replace(f"{folder}/", "").replace(study, name)
                report.faults.append(
                    privacy.text(f"{run.name}: volumes of {name} are damaged: {reason}")
                )
        found.sort(key=lambda row: _mean_known(row[2].dice.values()))
        worst += found[:MOST_WORST]
    return worst


def _mean_known(values: Iterable[float | None]) -> float:
    """Return a mean; a case without any defined Dice is none of the worst."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 1.0


def _notices(report: Report) -> str:
    parts = []
    if report.faults:
        rows = "".join(f"<li>{escape(fault)}</li>" for fault in report.faults)
        parts.append(f"<h2>Missing or damaged</h2><ul>{rows}</ul>")
    if report.left_out:
        rows = "".join(f"<li>{escape(what)}</li>" for what in report.left_out)
        parts.append(f"<h2>Left out to keep the page small</h2><ul>{rows}</ul>")
    return f'<section class="notices">{"".join(parts)}</section>' if parts else ""


def _footer(*, has_viewer: bool) -> str:
    if not has_viewer:
        return ""
    return (
        "<details><summary>Slices are shown by NiiVue (BSD-2-Clause)</summary>"
        f"<pre>{escape(licence())}</pre></details>"
    )


def _style() -> str:
    return _asset("page.css")


def _script(name: str) -> str:
    return _asset(f"{name}.js")


def _asset(name: str) -> str:
    return (files("brainmvp_lightning.reports") / "assets" / name).read_text(encoding="utf-8")
