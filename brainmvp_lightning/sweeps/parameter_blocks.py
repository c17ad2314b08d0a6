"""The parameters of a sweep file, with a sentence for each fault in their form."""

from __future__ import annotations

from typing import Any

from brainmvp_lightning.sweeps.names import nearest
from brainmvp_lightning.sweeps.parameters import KINDS, ONLY_WANDB, Parameter

Faults = list[str]

_PARAMETER = ("distribution", "value", "values", "probabilities", "min", "max", "mu", "sigma", "q")


def read_parameters(tree: dict[str, Any], faults: Faults) -> list[Parameter]:
    """Return the parameters that are right; what is wrong goes to `faults`."""
    blocks = tree.get("parameters")
    if not isinstance(blocks, dict) or not blocks:
        faults.append("there are no parameters; give some, such as trainer.max_epochs: {value: 3}")
        return []
    found = [_read_parameter(str(name), block, faults) for name, block in blocks.items()]
    return [parameter for parameter in found if parameter is not None]


def is_int(value: object) -> bool:
    """Tell whether a value from YAML is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Tell whether a value from YAML is a number."""
    return is_int(value) or isinstance(value, float)


def _read_parameter(name: str, block: Any, faults: Faults) -> Parameter | None:  # noqa: ANN401
    if not isinstance(block, dict):
        faults.append(f"{name} is {block!r}; give {{value: {block}}} or {{values: [...]}}")
        return None
    if "parameters" in block:
        inner = block["parameters"]
        flat = [f"{name}.{key}" for key in inner] if isinstance(inner, dict) else [f"{name}.option"]
        faults.append(f"{name} is a nested block; write flat dotted names: {', '.join(flat)}")
        return None
    unknown = [str(key) for key in block if key not in _PARAMETER]
    for key in unknown:
        hint = nearest(key, _PARAMETER)
        faults.append(f"{name} has an unknown key {key!r}{hint} (keys: {', '.join(_PARAMETER)})")
    kind = _distribution_of(block)
    wrong = _faults_of(name, kind, block)
    faults += [] if unknown and kind is None else wrong
    if unknown or wrong or kind is None:
        return None
    return Parameter(
        name,
        kind,
        values=tuple([block["value"]] if kind == "constant" else block.get("values", ())),
        weights=tuple(block.get("probabilities") or ()),
        low=block.get("min", 0.0),
        high=block.get("max", 1.0),
        mu=block.get("mu", 0.0),
        sigma=block.get("sigma", 1.0),
        q=block.get("q"),
    )


def _distribution_of(block: dict[str, Any]) -> str | None:
    """Return the distribution that is named, or which wandb takes where none is."""
    if "distribution" in block:
        return str(block["distribution"])
    if "value" in block:
        return "constant"
    if "values" in block:
        return "categorical"
    if "min" in block and "max" in block:
        return "int_uniform" if is_int(block["min"]) and is_int(block["max"]) else "uniform"
    return "normal" if "mu" in block or "sigma" in block else None


def _faults_of(name: str, kind: str | None, block: dict[str, Any]) -> Faults:
    if kind is None:
        return [f"{name} says nothing of its values; give value, values, or min and max"]
    if kind in ONLY_WANDB:
        return [f"{name} is {kind}, which only wandb's server can draw; use uniform or normal"]
    if kind not in KINDS:
        known = ", ".join(KINDS)
        return [f"{name} has distribution {kind!r}{nearest(kind, KINDS)} (known: {known})"]
    needed = [key for key in KINDS[kind].keys if key not in block]
    if needed:
        return [f"{name} is {kind} and needs {' and '.join(needed)}"]
    allowed = (*KINDS[kind].keys, *KINDS[kind].optional, "distribution")
    extra = [f"{name} is {kind}, which has no {key}" for key in block if key not in allowed]
    return extra or _value_faults(name, block) or _number_faults(name, kind, block)


def _value_faults(name: str, block: dict[str, Any]) -> Faults:
    values, weights = block.get("values"), block.get("probabilities")
    if "values" in block and (not isinstance(values, list) or not values):
        return [f"{name} has values {values!r}; give a list with one or more"]
    if weights is None:
        return []
    is_list = isinstance(weights, list) and all(is_number(one) and one >= 0 for one in weights)
    if not is_list or len(weights) != len(values or ()) or abs(sum(weights) - 1) > 1e-6:
        return [f"{name} has probabilities {weights!r}; give one for each value, with the sum 1"]
    return []


def _number_faults(name: str, kind: str, block: dict[str, Any]) -> Faults:
    numbers = {key: block[key] for key in ("min", "max", "mu", "sigma", "q") if key in block}
    for key, number in numbers.items():
        if not is_number(number):
            # YAML takes 1e-5 for a word: it wants a dot, 1.0e-5.
            hint = " (YAML reads 1e-5 as a word; write 1.0e-5)" if isinstance(number, str) else ""
            return [f"{name}.{key} is {number!r}, which is no number{hint}"]
    faults: Faults = []
    if kind == "int_uniform" and not (is_int(block["min"]) and is_int(block["max"])):
        faults.append(f"{name} is int_uniform; min and max must be whole numbers")
    if "min" in numbers and not numbers["min"] < numbers["max"]:
        faults.append(f"{name} has min {numbers['min']} and max {numbers['max']}; min must be less")
    if kind.endswith("_values") and not numbers["min"] > 0:
        faults.append(f"{name} is {kind}; min must be above 0, it is {numbers['min']}")
    if kind.endswith("log_uniform") and max(abs(numbers["min"]), abs(numbers["max"])) > 700:
        faults.append(f"{name} is {kind}, whose min and max are exponents; use {kind}_values")
    faults += [
        f"{name}.{key} is {numbers[key]}; it must be above 0"
        for key in ("sigma", "q")
        if key in numbers and not numbers[key] > 0
    ]
    return faults
