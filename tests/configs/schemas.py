"""Which shipped schema describes which shipped configuration."""

import json
from functools import cache
from pathlib import Path

from jsonschema import Draft7Validator

CONFIGS = Path(__file__).parents[2] / "configs"
SCHEMAS = CONFIGS / "schema"
YAMLS = sorted(CONFIGS.glob("**/*.yaml"))
MARK = "# yaml-language-server: $schema="


def kind_of(path: Path) -> str:
    """Return the kind of a configuration by its place."""
    folder = path.relative_to(CONFIGS).parts[0]
    if folder == "experiments":
        return "ablation" if "ablation" in path.stem else "label_efficiency"
    return {"prepare": "prepare", "sweeps": "sweep"}.get(folder, "fit")


@cache
def validator(kind: str) -> Draft7Validator:
    """Return what checks files against the shipped schema of a kind."""
    return Draft7Validator(json.loads((SCHEMAS / f"{kind}.json").read_text()))
