"""Types of options in words."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "values true or false"),
    str: ("text", "words"),
    Path: ("a path", "paths"),
    type(None): ("null", "nulls"),
}
COLLECTIONS = (list, Sequence, Iterable, set, tuple)


def describe(hint: Any) -> str:  # noqa: ANN401 - any annotation
    """Return what a value of a type looks like, such as ``a whole number or null``."""
    parts = list(_flat(hint))
    values = dict.fromkeys(str(v) for part in parts for v in literal_values(part))
    words = [f"one of {', '.join(values)}"] if values else []
    words += [_describe(part) for part in parts if get_origin(part) is not Literal]
    words = list(dict.fromkeys(words))
    if "null" in words:  # last, as what it is: the absence of a value
        words = [word for word in words if word != "null"] + ["null"]
    return " or ".join(words)


def literal_values(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Return the values that a type lists, also inside a union."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if is_union(hint):
        return tuple(value for part in get_args(hint) for value in literal_values(part))
    return ()


def classes_of(hint: Any) -> list[type]:  # noqa: ANN401
    """Return the classes of ours that a value may be an instance of, or may build."""
    if is_union(hint) or get_origin(hint) in COLLECTIONS:
        return [cls for part in get_args(hint) for cls in classes_of(part)]
    if get_origin(hint) in (Callable, typing.Callable, type):
        args = get_args(hint)
        return classes_of(args[-1]) if args else []
    is_class = inspect.isclass(hint) and hint not in WORDS and get_origin(hint) is None
    return [hint] if is_class and hint.__module__ not in ("builtins", "typing") else []


def name_of_kind(cls: type) -> str:
    """Return what a class is in words, such as ``data module`` for ``StudyDataModule``."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", cls.__name__) or [cls.__name__]
    return " ".join(word.lower() for word in words if word != "Study" or len(words) == 1)


def is_union(hint: Any) -> bool:  # noqa: ANN401
    """Tell whether a type is one of several."""
    return get_origin(hint) in (Union, types.UnionType)


def _flat(hint: Any) -> Iterator[Any]:  # noqa: ANN401
    if is_union(hint):
        for part in get_args(hint):
            yield from _flat(part)
    else:
        yield hint


def _describe(hint: Any) -> str:  # noqa: ANN401
    if hint in WORDS:
        return WORDS[hint][0]
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple and args and Ellipsis not in args:
        return f"a list of {len(args)} {_plural(args[0])}"
    if origin in COLLECTIONS or hint in COLLECTIONS:
        return f"a list of {_plural(args[0])}" if args else "a list"
    if origin in (dict, Mapping) or hint is dict:
        return "a mapping of names to values"
    named = classes_of(hint)
    if named:
        return f"the name of a {name_of_kind(named[0])}"
    return str(getattr(hint, "__name__", hint)).replace("_", " ")


def _plural(hint: Any) -> str:  # noqa: ANN401
    if hint in WORDS:
        return WORDS[hint][1]
    named = classes_of(hint)
    return f"{name_of_kind(named[0])}s" if named else "values"
