"""``brainmvp schema``: what configuration files may hold, for editors that complete and check."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from brainmvp_lightning.commands.parsing import TeachingParser
from brainmvp_lightning.commands.schema_documents import KINDS, Schemas
from brainmvp_lightning.commands.schema_types import Schema

SUMMARY = "write the JSON Schema of a kind of configuration file, for editors"
ALL = "all"


def main(argv: list[str]) -> int:
    """Run the command.

    Returns:
        0 if the schema is written, 2 if the kind is not known or the file cannot be written.
    """
    options = build_parser().parse_args(argv)
    kind: str = options.kind
    if kind == ALL and options.output is None:
        return _fail("all kinds need a folder; give one with -o")
    schemas = Schemas(with_plugins=not options.shipped)
    try:
        for name in KINDS if kind == ALL else (kind,):
            file = options.output / f"{name}.json" if kind == ALL else options.output
            _write(as_text(schemas.of(name)), file)
    except OSError as error:
        return _fail(f"the schema cannot be written ({error})")
    return 0


def build_parser() -> TeachingParser:
    """Return the parser of the command."""
    parser = TeachingParser(
        prog="brainmvp schema", description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}."
    )
    parser.add_argument(
        "kind",
        nargs="?",
        default="fit",
        choices=[*KINDS, ALL],
        help=f"kind of file; {ALL}: one schema for each",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file, or folder for all; else the screen"
    )
    parser.add_argument(
        "--shipped",
        action="store_true",
        help="without the classes of plugins, as in configs/schema",
    )
    return parser


def as_text(schema: Schema) -> str:
    """Return a schema as the text of a file, which changes in few lines if an option does."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _write(text: str, file: Path | None) -> None:
    if file is None:
        sys.stdout.write(text)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{file}\n")


def _fail(text: str) -> int:
    sys.stderr.write(f"brainmvp schema: error: {text}\n")
    return 2
