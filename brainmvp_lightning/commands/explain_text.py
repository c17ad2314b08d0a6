"""The facts of a configuration on one screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from brainmvp_lightning.commands.explain_paper import OPEN

WIDTH = 100
INDENT = 14

Facts = Mapping[str, Any]


def render(facts: Facts) -> str:
    """Return facts as text, a section a line or a few."""
    lines: list[str] = []
    for name, text in _sections(facts):
        lines += textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"{name:<{INDENT}}",
            subsequent_indent=" " * INDENT,
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join([*lines, "", *_departures(facts["departures"])]) + "\n"


def _sections(facts: Facts) -> Iterator[tuple[str, str]]:
    yield from _what(facts["what"])
    yield "networks", _networks(facts["networks"])
    yield from _data(facts["data"])
    yield "batch", _batch(facts["batch"])
    yield "steps", _steps(facts["steps"])
    yield "learning rate", facts["optimiser"]["schedule"]
    yield "memory", _memory(facts["memory"])
    yield from _outputs(facts["outputs"])
    yield "seed", f"{facts['seed']}, of weights, order, crops and masks alike"
    yield "machine", facts["machine"]
    for problem in facts["problems"]:
        yield "note", problem


def _what(what: Facts) -> Iterator[tuple[str, str]]:
    yield "task", f"{what['task']}: {what['words']}"
    if "method" in what:
        terms = "; ".join(f"{name}, {weight}" for name, weight in what["terms"].items())
        yield "method", f"{what['method']}: {terms or 'its own terms'}"
        yield "masking", what["masking"]
    if "starts_from" in what:
        copies = what["substitution"]
        how = (
            f"two copies of each study, some modalities from templates, consistency {copies:g}"
            if copies is not None
            else "one copy of each study"
        )
        yield "starts from", f"{what['starts_from']}; {how}"


def _networks(networks: Facts | None) -> str:
    if networks is None:
        return "not known, see the notes"
    backbone, heads = networks["backbone"], networks["heads"]
    parts = [f"{backbone['name']} {_million(backbone['parameters'])}"]
    if heads["parameters"] is None:
        parts.append("head and loss as the data ask for")
    else:
        parts.append(f"{heads.get('name', 'heads')} {_million(heads['parameters'])}")
    templates = networks.get("templates") or {}
    if templates.get("shape"):
        shape = " x ".join(map(str, templates["shape"]))
        parts.append(f"templates {_million(templates['parameters'])} ({shape})")
    elif templates.get("given"):
        parts.append("templates, given")
    text = ", ".join(parts)
    if "total" in networks:
        text += f"; {_million(networks['trainable'])} of {_million(networks['total'])} learn"
    if networks["frozen"]:
        text += f"; frozen: {', '.join(networks['frozen'])}"
    return text


def _data(data: Facts | None) -> Iterator[tuple[str, str]]:
    if data is None:
        yield "data", "not there yet, see the notes"
        return
    studies = ", ".join(f"{split} {count}" for split, count in data["studies"].items() if count)
    scans = ", ".join(f"{name} {count}" for name, count in data["scans"].items())
    yield "data", f"{data['cache']}: studies that take part: {studies}; training scans: {scans}"
    aside = f"; {data['set_aside']} files were set aside" if data["set_aside"] else ""
    yield (
        "",
        f"{data['spacing_mm']:g} mm, recipe {data['recipe_hash']}, splits {data['split_hash']}"
        f"{aside}",
    )


def _batch(batch: Facts) -> str:
    where = " (as many as this machine has)" if batch["processes_are_open"] else ""
    return (
        f"{batch['effective']} studies a step = {batch['batch_size']} x {batch['accumulation']} "
        f"accumulated x {batch['processes']} processes{where}; {batch['precision']}"
    )


def _steps(steps: Facts) -> str:
    each = "not known without the data" if steps["per_epoch"] is None else steps["per_epoch"]
    text = f"an epoch: {each}"
    if steps["epochs"] is not None:
        text += f"; epochs: {steps['epochs']}"
    if steps["max_steps"] is not None:
        text += f"; at most {steps['max_steps']} steps"
    return f"{text}; in all {steps['total']}" if steps["total"] is not None else text


def _memory(memory: Facts | None) -> str:
    if memory is None:
        return "not known, see the notes"
    verdict = "fits" if memory["fits"] else "does not fit; brainmvp plan proposes what does"
    return (
        f"about {memory['gib']:.2f} GiB a process, counted; {memory['device']} here has "
        f"{memory['available_gib']:.1f}: {verdict}"
    )


def _outputs(outputs: Facts) -> Iterator[tuple[str, str]]:
    last = outputs["last_checkpoint"]
    state = f"; holds {last}, go on with --ckpt_path last" if last else ""
    if outputs["exists"] and not last:
        state = "; is there already"
    yield "run folder", f"{outputs['run_folder']}{state}"
    yield "loggers", ", ".join(outputs["loggers"]) or "none"
    yield "callbacks", ", ".join(outputs["callbacks"]) or "none; no checkpoint is written"


def _departures(rows: list[Facts]) -> list[str]:
    if not rows:
        return ["departures from the paper: none"]
    table = [("option", "here", "paper", "place")]
    for row in rows:
        place = row["place"] + (", as the published code" if row["published"] else "")
        paper = _short(row["paper"])
        if row["paper"] == OPEN:
            paper = f"{OPEN}; ours {_short(row['ours'])}"
        table.append((row["option"], _short(row["here"]), paper, place))
    widths = [max(len(cells[column]) for cells in table) for column in range(3)]
    return ["departures from the paper:"] + [
        "  " + "  ".join([*(f"{c:<{w}}" for c, w in zip(cells, widths, strict=False)), cells[3]])
        for cells in table
    ]


def _short(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    value = list(value) if isinstance(value, tuple) else value
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 32 else f"{text[:29]}..."


def _million(number: int) -> str:
    return f"{number / 1e6:.2f} M"
