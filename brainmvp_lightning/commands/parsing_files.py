"""Configuration files as their writer sees them: what is wrong with one, and in which line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from brainmvp_lightning.commands.parsing_nearest import either, nearest

CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
"""Keys that may stand beside ``class_path``."""

_MERGE = "<<"


class ConfigError(ValueError):
    """A configuration file that cannot be read; one sentence with file, line and remedy."""


@dataclass(frozen=True)
class Written:
    """An option that somebody wrote.

    Attributes:
        path: With dots and without ``init_args``, such as ``data.batch_size``.
        value: As it was written; empty for a mapping.
        place: File and line; empty for the command line.
    """

    path: str
    value: str
    place: str = ""

    def within(self, key: str) -> str:
        """Return the part of the path that ends with `key`; empty if it does not have it."""
        text = f".{self.path}."
        found = text.rfind(f".{key}.")
        return "" if found < 0 else text[1 : found + 1 + len(key)]


def plain(path: str) -> str:
    """Return the path of an option without ``init_args`` and ``class_path``."""
    return ".".join(part for part in path.split(".") if part not in CLASS_KEYS)


def read_config(path: Path) -> list[Written]:
    """Return what a file sets.

    Raises:
        ConfigError: If it is no configuration.
    """
    if path.is_dir():
        inside = sorted(str(file) for file in path.glob("**/*.yaml"))
        hint = f", such as {inside[0]}" if inside else ""
        raise ConfigError(f"{path} is a folder; name a YAML file{hint}")
    if not path.is_file():
        raise ConfigError(f"there is no configuration file {path}{_others(path)}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text; a configuration is a YAML file in UTF-8") from error
    return read_text(text, str(path))


def read_text(text: str, name: str) -> list[Written]:
    """Return what the text of a configuration sets.

    Args:
        text: YAML or JSON.
        name: Of the file; empty for the command line.

    Raises:
        ConfigError: If it is no configuration.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(_syntax(error, text, name)) from error
    if root is None:
        raise ConfigError(
            f"{name} is empty; write options as 'name: value' lines, or leave the file out"
        )
    if not isinstance(root, MappingNode):
        kind = "a list" if isinstance(root, SequenceNode) else "a single value"
        raise ConfigError(f"{name} holds {kind}; options are 'name: value' lines")
    return list(_written(root, "", name))


def _others(path: Path) -> str:
    beside = [str(other) for other in path.parent.glob("*.yaml")]
    shipped = [str(other) for other in Path("configs").glob("**/*.yaml")]
    close = nearest(str(path), beside) or nearest(path.name, [Path(name).name for name in shipped])
    full = [next((s for s in shipped if Path(s).name == name), name) for name in close]
    return f"; did you mean {either(full)}?" if full else ""


def _syntax(error: yaml.YAMLError, text: str, name: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    if mark is None:
        return f"{name or 'the configuration'} is no valid YAML ({problem})"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    where = f"{name}, line {mark.line + 1}" if name else "the configuration"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{where}: a tab indents this line; YAML takes spaces only"
    return (
        f"{where}: this is no valid YAML ({problem}); options of one level begin in the same "
        "column, and a colon is followed by a space"
    )


def _written(node: MappingNode, path: str, name: str) -> Iterator[Written]:
    """Yield what a mapping sets, the outer options first."""
    lines: dict[str, int] = {}
    for merged in _merged(node):
        yield from _written(merged, path, name)
    for key_node, value in node.value:
        if key_node.value == _MERGE:
            continue
        key, line = str(key_node.value), key_node.start_mark.line + 1
        where = f"{name}, line {line}" if name else ""
        if key in lines:
            raise ConfigError(
                f"{where}: {key!r} is written twice (first in line {lines[key]}); keep one of them"
            )
        lines[key] = line
        below = f"{path}.{key}".strip(".") if key not in CLASS_KEYS else path
        yield from _values(value, below, name, where, is_class_key=key == "init_args")
    _check_dotted(node, lines, name)
    beside = [key for key in lines if key not in CLASS_KEYS]
    if "class_path" in lines and beside:
        raise ConfigError(
            f"{name}, line {lines[beside[0]]}: {beside[0]!r} stands beside class_path; put it "
            "under init_args"
        )


def _merged(node: MappingNode) -> Iterator[MappingNode]:
    """Yield the mappings that ``<<`` puts into one, those that win last."""
    for key_node, value in node.value:
        if key_node.value == _MERGE:
            found = value.value[::-1] if isinstance(value, SequenceNode) else [value]
            yield from (one for one in found if isinstance(one, MappingNode))


def _check_dotted(node: MappingNode, lines: dict[str, int], name: str) -> None:
    """Raise a `ConfigError` for a class whose dotted options would make the parser forget it."""
    for key_node, value in node.value:
        key = str(key_node.value)
        is_class = isinstance(value, ScalarNode) and value.tag == "tag:yaml.org,2002:str"
        options = [other for other in lines if other.startswith(f"{key}.")]
        if is_class and options:
            where = f"{name}, line {lines[key]}: " if name else ""
            raise ConfigError(
                f"{where}{key!r} names a class, and {options[0]!r} sets an option of it; in one "
                f"file write {key}.class_path, or {key} as a mapping"
            )


def _values(
    node: Node, path: str, name: str, where: str, *, is_class_key: bool
) -> Iterator[Written]:
    if isinstance(node, MappingNode):
        if not is_class_key and path:
            yield Written(path, "", where)
        yield from _written(node, path, name)
    elif isinstance(node, SequenceNode):
        yield Written(path, shown(node), where)
        for item in node.value:
            if isinstance(item, MappingNode):
                yield from _written(item, path, name)
    elif path:
        yield Written(path, shown(node), where)


def shown(node: Node) -> str:
    """Return a value in the notation of YAML."""
    if isinstance(node, ScalarNode):
        return str(node.value)
    if isinstance(node, SequenceNode):
        return f"[{', '.join(shown(item) for item in node.value)}]"
    return "{...}"
