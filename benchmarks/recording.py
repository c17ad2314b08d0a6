"""Results of benchmarks as files, with what they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "numpy", "scipy", "monai", "torchio", "blosc2", "nibabel")


def record(name: str, command: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> Path:  # noqa: ANN401 - any JSON value
    """Write a results file.

    Args:
        name: Name of the benchmark; the file is ``results/<name>.json``.
        command: What to run to get these figures again.
        rows: One mapping for each measured thing: plain values under names with units, such as
            ``{"name": "ours", "cpu_ms": 1.5}``.
        facts: More plain values, such as sizes, the number of rounds, ratios.

    Returns:
        The file.
    """
    RESULTS.mkdir(exist_ok=True)
    content = {
        "name": name,
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine_facts(),
        **facts,
        "rows": [dict(row) for row in rows],
    }
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file


def machine_facts() -> dict[str, Any]:
    """Return processor, memory, system and versions as plain values; nothing that names a host."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
