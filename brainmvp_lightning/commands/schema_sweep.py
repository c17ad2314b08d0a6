"""Schema of sweep files; what may be swept comes from the schema of a training."""

from __future__ import annotations

from brainmvp_lightning.commands.schema_types import Schema
from brainmvp_lightning.sweeps.checks import GOALS, METHODS, PROGRAM
from brainmvp_lightning.sweeps.parameters import KINDS

_MAPPING: Schema = {"type": "object"}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_TEXT: Schema = {"type": "string"}
PARAMETER = {"$ref": "#/definitions/parameter"}


def parameter_schema() -> Schema:
    """Return the schema of what a sweep says of one option, but for the kind of its values."""
    number = {"type": "number"}
    above_zero = {"type": "number", "exclusiveMinimum": 0}
    return {
        "type": "object",
        "properties": {
            "distribution": {"enum": list(KINDS)},
            "value": {},
            "values": {"type": "array", "minItems": 1},
            "probabilities": {"type": "array", "items": {"type": "number", "minimum": 0}},
            **dict.fromkeys(("min", "max", "mu"), number),
            **dict.fromkeys(("sigma", "q"), above_zero),
        },
        "additionalProperties": False,
        "minProperties": 1,
    }


def sweep_parameters(changes: Schema) -> Schema:
    """Return the schema of the parameters of a sweep.

    Args:
        changes: Schema of changes by dotted name, which is found under ``definitions/changes``.
    """
    names = {
        name: _parameter({"$ref": f"#/definitions/changes/properties/{name}"}, value)
        for name, value in changes["properties"].items()
    }
    patterns = dict.fromkeys(changes["patternProperties"], PARAMETER)
    return {**changes, "properties": names, "patternProperties": patterns}


def _parameter(reference: Schema, value: Schema) -> Schema:
    kinds = {"properties": {"value": reference, "values": {"items": reference}}}
    return {"allOf": [PARAMETER, kinds]} if value else PARAMETER


def sweep_properties(parameters: Schema) -> Schema:
    """Return the schema of a sweep file.

    Args:
        parameters: Schema of what is varied.
    """
    return {
        "type": "object",
        "properties": {
            "program": {"const": PROGRAM},
            "method": {"enum": list(METHODS), "description": "how values are chosen"},
            "metric": _metric(),
            "parameters": {**parameters, "description": "options of the training that are varied"},
            "command": {
                "type": "array",
                "items": {"type": ["string", "number"]},
                "description": 'what a trial starts, such as ["${env}", "${program}", fit, -c, '
                'BASE, -c, "${args_json_file}"]',
            },
            "early_terminate": _early_terminate(),
            "run_cap": {**_COUNT, "description": "most trials there may be"},
            **dict.fromkeys(("name", "description", "project", "entity"), _TEXT),
            **dict.fromkeys(("job", "image_uri"), _TEXT),
            **dict.fromkeys(("controller", "scheduler"), _MAPPING),
        },
        "additionalProperties": False,
        "required": ["program", "method", "metric", "parameters"],
    }


def _metric() -> Schema:
    return {
        "type": "object",
        "properties": {
            "name": {**_TEXT, "description": "as it is logged, such as val/dice"},
            "goal": {"enum": list(GOALS)},
            "target": {"type": "number"},
            **dict.fromkeys(("impute", "impute_while_running"), _TEXT),
        },
        "additionalProperties": False,
        "required": ["name"],
    }


def _early_terminate() -> Schema:
    return {
        "type": "object",
        "description": "stops trials that are behind the others",
        "properties": {
            "type": {"const": "hyperband"},
            **dict.fromkeys(("min_iter", "max_iter", "s"), _COUNT),
            "eta": {"type": "number", "exclusiveMinimum": 1},
            "strict": {"type": "boolean"},
        },
        "additionalProperties": False,
        "required": ["type"],
        "oneOf": [{"required": ["min_iter"]}, {"required": ["max_iter", "s"]}],
    }
