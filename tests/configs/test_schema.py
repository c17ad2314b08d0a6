"""Shipped configurations satisfy the shipped schemas, which flag the mistakes one makes in them."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.configs.schemas import CONFIGS, MARK, SCHEMAS, YAMLS, kind_of, validator

WHOLE = (  # a file of each kind, with as many options as there are
    "pretrain/official.yaml",
    "finetune/segmentation/upenn_gbm.yaml",
    "prepare/pretraining.yaml",
    "experiments/ablation.yaml",
    "experiments/label_efficiency.yaml",
)
FREE = ("extra_modalities", "label_schemes", "arms", "phenotypes", "groups", "failed_qc")
"""Options whose value is a mapping with names that the user chooses."""


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def faults(kind: str, content: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(kind).iter_errors(content)]


def keys_of(content: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """Yield where each key lies whose name is not the user's own."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield (*above, key)
            if key in FREE:
                continue
            yield from keys_of(value, *above, key)
    elif isinstance(content, list):
        for position, value in enumerate(content):
            yield from keys_of(value, *above, position)


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_is_one_and_no_larger_than_an_editor_likes(path: Path) -> None:
    Draft7Validator.check_schema(validator(path.stem).schema)
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_shipped_file_satisfies_its_schema_and_names_it(path: Path) -> None:
    kind = kind_of(path)
    assert faults(kind, read(path)) == []
    first = path.read_text().partition("\n")[0]
    assert first.startswith(MARK)
    assert (path.parent / first.removeprefix(MARK)).resolve() == SCHEMAS / f"{kind}.json"


@pytest.mark.parametrize("name", WHOLE)
def test_every_misspelt_key_of_a_file_is_flagged(name: str) -> None:
    kind, content = kind_of(CONFIGS / name), read(CONFIGS / name)
    keys = list(keys_of(content))
    assert len(keys) > 7
    for *above, key in keys:
        changed = copy.deepcopy(content)
        place = changed
        for step in above:
            place = place[step]
        place[f"{key}x"] = place.pop(key)
        assert faults(kind, changed), (*above, key)
