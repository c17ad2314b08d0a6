"""What ran: a column of facts for each run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from brainmvp_lightning.evaluation.headline import headline
from brainmvp_lightning.reports.configuration import flatten
from brainmvp_lightning.reports.markup import score, swatch, table
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import Run

# Name on the page -> key of the flat configuration.
_CONFIGURED = {
    "task": "model",
    "method": "model.method",
    "backbone": "model.backbone",
    "starts from": "model.weights",
    "data": "data.cache",
    "modalities": "data.modalities",
    "label fraction": "data.label_fraction",
    "crop": "data.crop_size",
    "batch": "data.batch_size",
    "learning rate": "model.optimizer.learning_rate",
    "epochs asked for": "trainer.max_epochs",
    "steps asked for": "trainer.max_steps",
    "precision": "trainer.precision",
    "seed": "seed_everything",
}


def write_summary(runs: Sequence[Run], privacy: Privacy) -> str:
    """Return the table of facts; rows that no run has are left out."""
    columns = [_facts(run) for run in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [
        (name, *(escape(privacy.text(column.get(name, ""))) for column in columns))
        for name in names
        if any(column.get(name) for column in columns)
    ]
    heads = ["", *(f"{swatch(i)}{escape(run.name)}" for i, run in enumerate(runs))]
    return table(heads, rows, "facts")


def _facts(run: Run) -> dict[str, str]:
    flat = flatten(run.config)
    facts = {name: flat.get(key, "") for name, key in _CONFIGURED.items()}
    unset = ("null", "-1")  # Lightning's -1 steps are no limit
    facts = {name: "" if value in unset else value for name, value in facts.items()}
    return {**facts, **_progress(run), **_recorded(run.facts), **_encoder(run), **_results(run)}


def _progress(run: Run) -> dict[str, str]:
    logs = run.logs
    if logs.last_step < 0:
        return {}
    resumed = f", in {logs.num_parts} parts" if logs.num_parts > 1 else ""
    return {"logged until": f"epoch {logs.last_epoch + 1}, step {logs.last_step + 1}{resumed}"}


def _recorded(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what ``run.json`` says; an entry of another form than expected is left out."""
    readers: dict[str, Callable[[], str]] = {
        "started": lambda: str(facts["started"]),
        "device": lambda: f"{facts['world_size']} x {facts['device']}",
        "commit": lambda: facts["git"]["commit"][:10] + _dirty(facts["git"]),
        "versions": lambda: ", ".join(f"{k} {v}" for k, v in facts["versions"].items()),
        "plug-ins": lambda: ", ".join(f"{k} {v}" for k, v in facts["plugins"].items()),
        "studies": lambda: ", ".join(f"{v} {k}" for k, v in facts["data"]["studies"].items()),
        "scans": lambda: ", ".join(f"{v} {k}" for k, v in facts["data"]["scans"].items()),
        "parameters": lambda: f"{facts['parameters']['total']:,}".replace(",", " "),
    }
    found = {}
    for name, read in readers.items():
        try:
            found[name] = read()
        except (KeyError, TypeError, AttributeError, ValueError):
            continue  # files of earlier versions have fewer entries
    return found


def _dirty(git: Mapping[str, Any]) -> str:
    return ", with changes" if git.get("dirty") else ""


def _encoder(run: Run) -> dict[str, str]:
    wanted = ("studies seen", "scans seen", "made with")
    return {name: run.encoder[name] for name in wanted if name in run.encoder}


def _results(run: Run) -> dict[str, str]:
    results = {}
    for name, curve in run.logs.curves.items():
        if name in ("val/dice", "val/auc", "val/total"):
            best = (min if name == "val/total" else max)(curve.values, default=None)
            results[f"best {name}"] = score(best)
    rows: Any = run.cases or run.classes
    if rows:
        for name, value in headline(rows).items():
            digits = 1 if name.startswith("hd95") else 3
            results[f"test {name}"] = f"{value:g}" if name == "cases" else score(value, digits)
    return results
