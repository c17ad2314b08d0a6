"""Schema of changes to a configuration by dotted name, as experiments and sweeps make them."""

from __future__ import annotations

import re

from brainmvp_lightning.commands.schema_options import Option, dotted_options
from brainmvp_lightning.commands.schema_types import Schema, any_of

_WHOLE = ("model", "data")  # their classes are ours, so an unknown option is a mistake


def changes_schema(fit: Schema) -> Schema:
    """Return the schema of a mapping from options of ``fit`` to what they become.

    Args:
        fit: Schema of a configuration of ``fit``.
    """
    options = dotted_options(fit)
    open_names = [
        name for name, option in options.items() if option.takes_class and name not in _WHOLE
    ]
    return {
        "type": "object",
        "properties": {
            name: _value(name, option)
            for name, option in options.items()
            if name == "seed_everything" or ("." in name and not _is_inside(name, options))
        },
        "patternProperties": {
            # A class may be one of others, with options that are not known here.
            rf"^({'|'.join(re.escape(name) for name in open_names)})\.": {},
            r"^(model|data)(\.\w+)*\.init_args\.": {},
        },
        "additionalProperties": False,
    }


def reachable(schema: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """Return the definitions that a schema needs, in their order."""
    needed: set[str] = set()
    waiting = _references(schema)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting |= _references(definitions[name])
    return {name: one for name, one in definitions.items() if name in needed}


def _value(name: str, option: Option) -> Schema:
    """Return what an option may be; of Lightning's classes, of which there are many, anything."""
    if name.startswith("trainer.") and option.takes_class:
        return {}
    schemas = [{k: v for k, v in one.items() if k != "default"} for one in option.schemas]
    return schemas[0] if len(schemas) == 1 else any_of(schemas)


def _is_inside(name: str, options: dict[str, Option]) -> bool:
    """Tell whether an option is one of a class of Lightning."""
    first = ".".join(name.split(".")[:2])
    return name.startswith("trainer.") and name != first and options[first].takes_class


def _references(schema: object) -> set[str]:
    return set(re.findall(r"'#/definitions/([^'/]+)", str(schema)))
