"""Who may import whom, and what must answer without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import brainmvp_lightning

ROOT = Path(brainmvp_lightning.__file__).parent
ROWS = (
    {"registry", "batches", "randomness"},
    {"studies"},
    {"volumes"},
    {"phantom", "backbones", "masking", "losses", "weights", "evaluation"},
    {"heads", "adapters", "preprocessing"},
    {"methods", "doctor", "experiments", "sweeps", "reports"},
    {"inference"},
    {"tasks", "datamodules"},
    {"callbacks", "loggers", "testing"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
TORCH_FREE = (
    "studies",
    "volumes",
    "phantom",
    "adapters",
    "preprocessing",
    "doctor",
    "evaluation",
    "experiments",
    "sweeps",
    "reports",
)


def imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "brainmvp_lightning":
                names = [f"brainmvp_lightning.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "brainmvp_lightning" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1]


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards_only(path: Path) -> None:
    room = room_of(path)
    wrong = [other for other in imported_rooms(path) if other != room and ROW[other] >= ROW[room]]
    assert not wrong, f"{room} (row {ROW[room]}) must not import {wrong}"


def test_every_room_has_a_row() -> None:
    assert {room_of(path) for path in FILES} == set(ROW)


def test_data_rooms_and_help_work_without_torch() -> None:
    modules = [
        ".".join(("brainmvp_lightning", *path.relative_to(ROOT).with_suffix("").parts))
        for path in FILES
        if room_of(path) in TORCH_FREE and path.name != "__init__.py"
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "from brainmvp_lightning.cli import main\n"
        "assert main(['--help']) == 0\n"
        "try: main(['prepare', '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
