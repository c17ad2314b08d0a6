"""Pictures that a run drew while it learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from brainmvp_lightning.reports.budget import Budget
from brainmvp_lightning.reports.images import draw_planes, shrink_picture
from brainmvp_lightning.reports.markup import picture
from brainmvp_lightning.reports.run_folder import Run
from brainmvp_lightning.reports.small_volumes import SmallVolume, read_grey
from brainmvp_lightning.volumes.errors import VolumeError

MOST_EPOCHS = 12  # of each kind and run

Fault = Callable[[Run, str], None]


def read_templates(run: Run, fault: Fault) -> dict[str, SmallVolume]:
    """Return the last templates of a run that were ever learned, by modality."""
    found = {}
    unlearned = []
    for modality, path in run.templates.items():
        try:
            volume = read_grey(path)
        except (VolumeError, OSError, ValueError) as error:
            fault(run, f"templates/{path.name} is damaged: {error}".replace(str(path), path.name))
            continue
        if volume is None:
            unlearned.append(modality)
        else:
            found[modality] = volume
    if unlearned:
        fault(run, f"templates of {', '.join(unlearned)} are one grey: none was ever learned")
    return found


def write_templates(
    templates: Sequence[tuple[Run, Mapping[str, SmallVolume]]], budget: Budget, fault: Fault
) -> str:
    """Return the templates of each run: a row for each epoch, a column for each modality.

    The last ones follow in three planes, as they are in the viewer.
    """
    parts = []
    for run, volumes in templates:
        last = _draw_last(run, volumes, budget)
        shown = _shrink(run, "templates", budget, fault)
        rows = "".join(
            f"<tr><th scope='row'>{_when(epoch)}</th><td>"
            f"{picture(content, f'templates of {run.name}, {_when(epoch)}')}</td></tr>"
            for epoch, content in shown.items()
        )
        strips = f'<table class="strips"><tbody>{rows}</tbody></table>' if rows else ""
        if strips or last:
            parts.append(f'<h3>{escape(run.name)}</h3><div class="wide">{strips}</div>{last}')
    return "".join(parts)


def _draw_last(run: Run, volumes: Mapping[str, SmallVolume], budget: Budget) -> str:
    figures = []
    for modality, volume in volumes.items():
        name = f"last template {modality} of {run.name}"
        content = draw_planes(volume.array, {}, volume.voxel_mm, height=120)
        text = budget.take(content, f"picture of the {name}")
        if text is not None:
            figures.append(
                f"<figure>{picture(text, name)}<figcaption>{escape(modality)}, last</figcaption>"
                "</figure>"
            )
    return f'<div class="figures planes">{"".join(figures)}</div>' if figures else ""


def write_pictures(runs: Sequence[Run], budget: Budget, fault: Fault) -> str:
    """Return the other pictures, the newest one of each kind, with a slider back through time."""
    parts = []
    for run in runs:
        for kind in run.pictures:
            if kind != "templates":
                parts.append(_scrubber(run, kind, _shrink(run, kind, budget, fault)))
    return "".join(parts)


def choose_epochs(epochs: Sequence[str], most: int = MOST_EPOCHS) -> list[str]:
    """Return at most `most` epochs, evenly spread, the first and the last among them."""
    if len(epochs) <= most:
        return list(epochs)
    places = {round(i * (len(epochs) - 1) / (most - 1)) for i in range(most)}
    return [epochs[place] for place in sorted(places)]


def _shrink(run: Run, kind: str, budget: Budget, fault: Fault) -> dict[str, str]:
    """Return pictures as base64 by epoch, oldest first; the newest takes its place first."""
    files: Mapping[str, Path] = run.pictures.get(kind, {})
    found: dict[str, str] = {}
    for epoch in reversed(choose_epochs(list(files))):
        path = files[epoch]
        try:
            content = shrink_picture(path)
        except ValueError as error:
            fault(run, f"pictures/{path.name} is damaged: {error}")
            continue
        text = budget.take(content, f"{run.name}: {kind}, {_when(epoch)}")
        if text is not None:
            found[epoch] = text
    return dict(reversed(found.items()))


def _scrubber(run: Run, kind: str, pictures: Mapping[str, str]) -> str:
    if not pictures:
        return ""
    title = f"{run.name}: {kind}"
    last = len(pictures) - 1
    images = "".join(
        picture(
            content,
            f"{title}, {_when(epoch)}",
            f'data-when="{_when(epoch)}"{"" if i == last else " hidden"}',
        )
        for i, (epoch, content) in enumerate(pictures.items())
    )
    slider = ""
    if last:
        slider = (
            f'<label class="time">Epoch <input type="range" min="0" max="{last}" value="{last}">'
            f"<output>{_when(list(pictures)[-1])}</output></label>"
        )
    return (
        f'<figure class="scrubber"><figcaption>{escape(title)}</figcaption>{slider}'
        f'<div class="wide">{images}</div></figure>'
    )


def _when(epoch: str) -> str:
    if epoch.isdecimal():
        return f"epoch {int(epoch)}"
    return "end of training" if epoch == "last" else escape(epoch)
