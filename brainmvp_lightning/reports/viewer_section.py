"""Volumes to scroll through: the last templates and the worst cases."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from brainmvp_lightning.reports.budget import Budget
from brainmvp_lightning.reports.case_section import Worst
from brainmvp_lightning.reports.charts import embed
from brainmvp_lightning.reports.images import ANNOTATION_COLOURS, PREDICTION_COLOURS
from brainmvp_lightning.reports.markup import data_block
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import Run
from brainmvp_lightning.reports.small_volumes import SmallVolume, WorstCase

_PACKAGE = files("brainmvp_lightning.reports")


@dataclass
class Scene:
    """What is shown together.

    Attributes:
        title: In the list.
        layers: The image first, overlays after it.
        names: Structures behind the values of overlays.
    """

    title: str
    layers: list[dict[str, Any]] = field(default_factory=list)
    names: tuple[str, ...] = ()


def write_viewer(
    templates: Sequence[tuple[Run, Mapping[str, SmallVolume]]],
    worst: Worst,
    budget: Budget,
    privacy: Privacy,
) -> str:
    """Return the viewer with all volumes that fit; nothing if none does."""
    library = _library()
    before = budget.spent
    budget.spend(library)
    cases = [_case_scene(run, study, case, budget, privacy) for run, study, case in worst]
    last = [scene for run, volumes in templates for scene in _template_scenes(run, volumes, budget)]
    scenes = [scene for scene in (*last, *cases) if scene is not None]
    if not scenes:
        budget.spent = before
        return ""
    content = [vars(scene) for scene in scenes]
    colours = {"annotation": ANNOTATION_COLOURS, "prediction": PREDICTION_COLOURS}
    options = "".join(f"<option>{escape(scene.title)}</option>" for scene in scenes)
    return (
        _frame(options)
        + data_block("scenes", "application/json", embed(content))
        + data_block("colours", "application/json", embed(colours))
        + library
    )


def licence() -> str:
    """Return the licences of the viewer and of what is in it."""
    return (_PACKAGE / "vendor" / "niivue.LICENSE.txt").read_text(encoding="utf-8")


@cache
def _library() -> str:
    source = (_PACKAGE / "vendor" / "niivue.umd.js").read_bytes()
    return data_block("niivue", "application/gzip", gzip.compress(source, 9, mtime=0))


def _template_scenes(run: Run, volumes: Mapping[str, SmallVolume], budget: Budget) -> list[Scene]:
    scenes = []
    for modality, volume in volumes.items():
        title = f"{run.name}: template {modality}"
        data = budget.take(volume.to_nifti(), f"volume of {title}")
        if data is not None:
            scenes.append(Scene(title, [{"kind": "image", "data": data}]))
    return scenes


def _case_scene(
    run: Run, study: str, case: WorstCase, budget: Budget, privacy: Privacy
) -> Scene | None:
    title = f"{run.name}: {privacy.case(study)}"
    files_ = {"image": case.image.to_nifti()}
    files_ |= {kind: volume.to_nifti() for kind, volume in case.overlays.items()}
    whole = budget.take(b"".join(files_.values()), f"volumes of {title}")
    if whole is None:
        return None
    inner = Budget(most=2**62)  # they were counted together: all of them, or none
    layers = [{"kind": kind, "data": inner.take(data, "")} for kind, data in files_.items()]
    return Scene(title, layers, case.names)


def _frame(options: str) -> str:
    directions = {"x": "left to right", "y": "back to front", "z": "bottom to top"}
    sliders = "".join(
        f'<label>{name} <input type="range" id="slice-{axis}" min="0" max="1" step="any" '
        'value="0.5"></label>'
        for axis, name in directions.items()
    )
    opacities = "".join(
        f'<label class="overlay" hidden>{kind}, opacity <input type="range" id="opacity-{kind}" '
        'min="0" max="1" step="0.05" value="0.5"></label>'
        for kind in ("annotation", "prediction")
    )
    return (
        '<p class="hint" id="viewer-state" role="status">The viewer needs JavaScript.</p>'
        '<div id="viewer" hidden>'
        f'<div class="controls"><label>Volume <select id="scene">{options}</select></label>'
        '<label>View <select id="view"><option value="3">three planes</option>'
        '<option value="0">axial</option><option value="1">coronal</option>'
        '<option value="2">sagittal</option></select></label></div>'
        '<div id="stage"><canvas id="canvas" tabindex="0" aria-label="Slices of the chosen volume; '
        'arrow keys, Page Up and Page Down move through it"></canvas></div>'
        f'<div class="controls">{sliders}{opacities}</div>'
        '<p class="legend" id="scene-legend"></p></div>'
    )
