"""The schemas of all kinds of configuration files."""

from __future__ import annotations

import argparse
import warnings
from functools import cached_property
from importlib.metadata import version
from typing import Any

from jsonargparse import ArgumentParser, capture_parser

from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.commands.experiment import STUDIES
from brainmvp_lightning.commands.experiment import build_parser as build_experiment_parser
from brainmvp_lightning.commands.prepare import build_parser as build_prepare_parser
from brainmvp_lightning.commands.schema_changes import changes_schema, reachable
from brainmvp_lightning.commands.schema_classes import Catalogue
from brainmvp_lightning.commands.schema_parts import SchemaParts
from brainmvp_lightning.commands.schema_sweep import (
    parameter_schema,
    sweep_parameters,
    sweep_properties,
)
from brainmvp_lightning.commands.schema_types import Schema
from brainmvp_lightning.commands.trainer import SHIPPED, BrainMVPCLI, TrainerParser
from brainmvp_lightning.registry import Registry
from brainmvp_lightning.tasks.sharding import FullySharded

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that editors know in full
REGISTRIES: tuple[Registry[Any], ...] = (*TrainerParser.registries, ADAPTERS)
KINDS = ("fit", "prepare", *STUDIES, "sweep")
_DOTTED = r"^(trainer|model|data)\."


class Schemas:
    """Makes the schemas of all kinds.

    Args:
        with_plugins: Whether classes of other distributions in this environment are offered.
    """

    def __init__(self, *, with_plugins: bool = True) -> None:
        self._with_plugins = with_plugins

    def of(self, kind: str) -> Schema:
        """Return the schema of a kind of file, one of `KINDS`."""
        if kind == "fit":
            return self.fit
        if kind == "prepare":
            return self._prepare()
        return self._sweep() if kind == "sweep" else self._experiment(kind)

    @cached_property
    def fit(self) -> Schema:
        """Schema of files for ``fit``, ``validate``, ``test``, ``predict`` and ``plan``.

        Nothing is required: a file may be a layer above another one.
        """
        parts = class_parts(with_plugins=self._with_plugins)
        schema = parts.of_parser(trainer_parsers()["fit"])
        schema["patternProperties"] = {_DOTTED: {}}  # such as model.method.contrast: null
        return _finished("brainmvp fit", schema, parts.definitions)

    def _prepare(self) -> Schema:
        """Files for ``prepare`` and ``doctor``."""
        parts = class_parts(with_plugins=self._with_plugins)
        schema = parts.of_parser(build_prepare_parser())
        return _finished("brainmvp prepare", schema, parts.definitions)

    def _experiment(self, study: str) -> Schema:
        schema = class_parts().of_parser(build_experiment_parser(study))
        changes = {"$ref": "#/definitions/changes"}
        arm: Schema = {"anyOf": [changes, {"type": "null"}]}
        if study == "ablation":
            both = {"pretrain": arm, "finetune": arm}
            arm = {"type": ["object", "null"], "properties": both, "additionalProperties": False}
        properties = schema["properties"]
        properties["arms"] = {**properties["arms"], "additionalProperties": arm}
        properties["overrides"] = {**properties["overrides"], "allOf": [changes]}
        definitions = {"changes": changes_schema(self.fit), **self.fit["definitions"]}
        return _finished(f"brainmvp experiment {study}", schema, definitions)

    def _sweep(self) -> Schema:
        """Files for ``brainmvp sweep`` and for wandb."""
        changes = changes_schema(self.fit)
        schema = sweep_properties(sweep_parameters(changes))
        definitions = {"parameter": parameter_schema(), "changes": changes}
        return _finished("brainmvp sweep", schema, {**definitions, **self.fit["definitions"]})


def trainer_parsers() -> dict[str, ArgumentParser]:
    """Return the parsers of the commands that Lightning serves."""
    with warnings.catch_warnings():
        # Lightning 2.6 calls methods that jsonargparse 4.49 has given other names.
        warnings.filterwarnings(
            "ignore", "(?s).*(JsonargparseDeprecationWarning|deprecated in v4).*"
        )
        parser = capture_parser(lambda: BrainMVPCLI(["fit"]))
    commands = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return dict(commands.choices)


def class_parts(*, with_plugins: bool = True) -> SchemaParts:
    """Return the describer of the classes that configurations may name."""
    shipped = (*SHIPPED, FullySharded)
    return SchemaParts(Catalogue(REGISTRIES, shipped, with_plugins=with_plugins))


def _finished(title: str, schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Add what a document needs beside its properties."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("jsonargparse", "lightning"))
    return {
        "$schema": DRAFT,
        "$comment": f"written by brainmvp schema with {versions}",
        "title": title,
        **schema,
        "definitions": reachable(schema, definitions),
    }
