"""Messages of the parser turned into one sentence: which option, what is wrong, what is near."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmvp_lightning.commands.parsing_files import Written, plain
from brainmvp_lightning.commands.parsing_nearest import either, nearest, question
from brainmvp_lightning.commands.parsing_types import (
    classes_of,
    describe,
    literal_values,
    name_of_kind,
)
from brainmvp_lightning.registry import Registry

MOST_NAMES = 30
LIGHTNINGS = ", and those of Lightning"


@dataclass(frozen=True)
class Scene:
    """What is known when the parser gives up.

    Attributes:
        options: Type of each option that the parser knows at the place of the mistake, by its path
            from there; None where it has none.
        outer: The same for the whole command, by full path.
        written: What the user wrote, the command line last.
        argv: Words of the command line.
        registries: Kinds of parts with names.
        classes: What may be named beside them.
        homes: Options of classes by full path, for those that the parser does not know by itself.
    """

    options: Mapping[str, Any]
    outer: Mapping[str, Any]
    written: Sequence[Written]
    argv: Sequence[str]
    registries: Sequence[Registry[Any]]
    classes: Sequence[type] = ()
    homes: Sequence[str] = ()

    def find(self, key: str, value: str = "") -> tuple[str, str]:
        """Return the full path of an option as the user wrote it, and where, in brackets."""
        hits = [(entry, path) for entry in self.written if (path := entry.within(plain(key)))]
        same = [hit for hit in hits if value and _bare(hit[0].value) == _bare(value)]
        # The whole option tells more than one inside it.
        exact = [hit for hit in same or hits if hit[0].path == hit[1]]
        if not hits:
            return plain(key), ""
        entry, path = (exact or same or hits)[-1]
        return path, f" ({entry.place})" if entry.place else ""


def translate(message: str, scene: Scene) -> str | None:
    """Return one sentence for a message of the parser; None if it is of no known kind."""
    for pattern, make in _KINDS:
        found = re.search(pattern, message, re.DOTALL)
        if found:
            return make(found, message, scene)
    return None


# --- options that do not exist


def _unknown(found: re.Match[str], message: str, scene: Scene) -> str:
    del message
    return unknown_option(found[1], scene)


def _unrecognised(found: re.Match[str], message: str, scene: Scene) -> str:
    del message
    word = found[1].split()[0]
    if word.startswith("-"):
        return unknown_option(word.lstrip("-").partition("=")[0], scene)
    if "=" in word:
        return f"{word!r} belongs to no option; options begin with two dashes: --{word}"
    return f"{word!r} belongs to no option; an option is written --name value"


def unknown_option(key: str, scene: Scene) -> str:
    """Return what to say of an option that does not exist, given as the parser calls it."""
    path, place = scene.find(key)
    steps = plain(key).split(".")
    wrong, around = _first_unknown(steps, scene.options)
    if wrong == steps[0] and _has(scene.outer, wrong):  # said by the parser of all commands
        wrong, around = _first_unknown(steps, scene.outer)
    if path.split(".")[-2:-1] and path.split(".")[-2] in around:  # those of the level above
        around = _beside(path, [*scene.outer, *scene.homes]) or around
    written = path if path != wrong else ""
    where = f" ({', '.join(part for part in (written, place.strip(' ()')) if part)})"
    where = where if where != " ()" else ""
    hint = question(wrong, around)
    if not hint:
        elsewhere = _elsewhere(wrong, [*scene.outer, *scene.homes])
        if any(f"{path}.".startswith(f"{known}.") for known in elsewhere):
            hint = f"; another class has it, the chosen one has {_listed(around)}"
        elif elsewhere:
            hint = f"; did you mean {either(elsewhere[:2])}?"
    if not hint and around:
        hint = f"; known here: {_listed(around)}"
    return f"unknown option {wrong!r}{hint}{where}"


def _has(options: Iterable[str], group: str) -> bool:
    return any(f"{name}.".startswith(f"{group}.") for name in options)


def _beside(path: str, known: Iterable[str]) -> list[str]:
    """Return the names of the options that stand where an option was written."""
    group = path.rpartition(".")[0]
    names = [name.rpartition(".") for name in known]
    return list(dict.fromkeys(name for parent, _, name in names if parent == group))


def _elsewhere(wrong: str, known: Iterable[str]) -> list[str]:
    """Return the full paths of options that are called so, or nearly so, at another place."""
    paths: dict[str, list[str]] = {}
    for path in dict.fromkeys(known):
        paths.setdefault(path.rpartition(".")[2], []).append(path)
    return [path for name in nearest(wrong, paths, 1, 0.8) for path in paths[name]]


def _first_unknown(steps: list[str], options: Iterable[str]) -> tuple[str, list[str]]:
    """Return the first step of a path that leads nowhere, and those that could stand there."""
    before: list[str] = []
    around: list[str] = []
    for step in steps:
        prefix = ".".join([*before, ""])
        around = list(
            dict.fromkeys(
                name[len(prefix) :].partition(".")[0] for name in options if name.startswith(prefix)
            )
        )
        if step not in around:
            return step, around
        before.append(step)
    return steps[-1], around


# --- values


def _wrong_value(found: re.Match[str], message: str, scene: Scene) -> str:
    key = plain(found[1])
    value = _value(message)
    path, place = scene.find(key, value)
    hint = scene.options.get(key, scene.outer.get(key, scene.outer.get(path)))
    named = classes_of(hint)
    if named and re.search(r"is abstract|Not a valid subclass", message):
        return _no_class(path, place, named, scene)
    foreign = re.search(r"to be a subclass of|No module named|has no attribute", message)
    if named and value and (foreign or "dot import path" in message):
        return _wrong_class(path, place, value, named, scene)
    reason = _own_reason(message)
    if reason:
        return f'option "{path}": {reason}{place}'
    expected = describe(hint) if hint is not None else _expected(message)
    got = value if re.fullmatch(r"-?[\d.]+|\[.*\]|\{.*\}", value) else repr(value)
    values = [str(known) for known in literal_values(hint)]
    return f'option "{path}": expected {expected}, got {got}{question(value, values)}{place}'


def _wrong_class(path: str, place: str, value: str, named: list[type], scene: Scene) -> str:
    kind, ours, others = _candidates(named, scene)
    known = f"known: {_listed(ours or others)}{LIGHTNINGS if ours and others else ''}"
    if "." in value:
        return (
            f'option "{path}": {value!r} is no {kind} that can be imported; check its spelling, '
            f"its package and its base class ({known}){place}"
        )
    hint = question(value, [*ours, *others])
    return f'option "{path}": unknown {kind} {value!r}{hint} ({known}){place}'


def _no_class(path: str, place: str, named: list[type], scene: Scene) -> str:
    kind, ours, others = _candidates(named, scene)
    return (
        f'option "{path}": no {kind} is named; write class_path with one of '
        f"{_listed(ours or others)}, and its options under init_args{place}"
    )


def _candidates(named: list[type], scene: Scene) -> tuple[str, list[str], list[str]]:
    """Return what classes of some kinds are called, our names and Lightning's."""
    found = [
        (registry.kind, name)
        for registry in scene.registries
        for name in registry.names()
        if issubclass(registry.get(name), tuple(named))
    ]
    ours = [name for _, name in found]
    own = [cls.__name__ for cls in scene.classes if issubclass(cls, tuple(named))]
    kinds = {kind for kind, _ in found if not own}
    kind = kinds.pop() if len(kinds) == 1 else name_of_kind(named[0])
    others = [name for cls in named for name in _lightnings(cls)]
    return kind, [*ours, *own], list(dict.fromkeys(others))


def _lightnings(cls: type) -> Iterator[str]:
    """Yield the names of Lightning's classes of a kind."""
    children: list[type] = cls.__subclasses__()
    for child in children:
        is_public = child.__module__.startswith("lightning.") and not child.__name__.startswith("_")
        if is_public and not inspect.isabstract(child):
            yield child.__name__
        yield from _lightnings(child)


def _value(message: str) -> str:
    found = re.findall(r"(?:Got|Given) value: (.*)", message, re.DOTALL)
    if found:
        inside = re.match(r"Namespace\(class_path='([^']+)'", found[-1])
        return inside[1] if inside else " ".join(found[-1].split())
    named = re.search(r"dot import path string: (\S+)|Expected a path but (\S+)", message)
    return (named[1] or named[2]) if named else ""


def _own_reason(message: str) -> str:
    """Return the message of a type that says itself what it wants, such as one of ours."""
    found = re.search(r'Parser key "[^"]+":\s*(.+)', message, re.DOTALL)
    text = " ".join(found[1].split()) if found else ""
    known = ("Expected a", "Does not validate", "- Expected", "Not a valid", "Does not")
    return "" if text.startswith(known) else text


def _expected(message: str) -> str:
    kinds = re.findall(r"Expected an? (.+?)(?:\. Got|\n|$)", message)
    plainer = [re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind) for kind in kinds]
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    words |= {"NoneType": "null"}
    return " or ".join(dict.fromkeys(words.get(kind, kind) for kind in plainer)) or "another value"


# --- values that are not there


def _no_value(found: re.Match[str], message: str, scene: Scene) -> str:
    del message
    option = found[1].split("/")[-1]
    for word, after in zip(scene.argv, [*scene.argv, "--"][1:], strict=True):
        if word.startswith(option) and "=" not in word and after.startswith("--"):
            return f"option {word} has no value; write {word} VALUE"
    return f"option {option} has no value; write {option} VALUE"


def _required(found: re.Match[str], message: str, scene: Scene) -> str:
    del message
    command = f"{scene.argv[0] if scene.argv else ''}."
    missing = [plain(name.strip().removeprefix(command)) for name in found[1].split(",")]
    if {*missing} >= {"model", "data"}:
        return (
            "no configuration is named; give one, such as "
            "-c configs/pretrain/brainmvp_uniformer.yaml"
        )
    paths = [scene.find(name) for name in missing]
    names = ", ".join(path for path, _ in paths)
    noun = "has" if len(paths) == 1 else "have"
    return f"{names} {noun} no value, and needs one{paths[0][1]}"


def _bare(value: str) -> str:
    return re.sub(r"[\s'\"]", "", value)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return f"{shown}, ..." if len(names) > MOST_NAMES else shown


def options_of(classes: Iterable[tuple[str, type]]) -> list[str]:
    """Return the full paths of the options of classes, each with the path of its own."""
    return [f"{home}.{name}" for home, cls in classes for name in inspect.signature(cls).parameters]


def is_config(word: str) -> bool:
    """Tell whether a word of the command line names a configuration file."""
    return Path(word).suffix in (".yaml", ".yml")


_KINDS: tuple[tuple[str, Callable[[re.Match[str], str, Scene], str]], ...] = (
    (r"^Option '([^']+)' is not accepted", _unknown),
    (r"does not accept option '([^']+)'", _unknown),
    (r"^unrecognized arguments: (.+)", _unrecognised),
    (r"^argument (\S+): expected (?:one|at least one) argument", _no_value),
    (r"^the following arguments are required: (.+)", _required),
    (r'^Parser key "([^"]+)":', _wrong_value),
)
