"""Reads what an offline run of wandb wrote; wandb has no reader in Python any more."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER = 7  # ":W&B", magic, version
BLOCK = 32768
FULL, LAST = 1, 4


@dataclass
class OfflineRun:
    """Metrics by row, and the configuration."""

    id: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    config_updates: int = 0
    axes: dict[str, str] = field(default_factory=dict)


def read_run(path: Path) -> OfflineRun:
    """Read a ``run-<id>.wandb`` file."""
    from wandb.proto import wandb_internal_pb2

    run = OfflineRun()
    for content in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id = record.run.run_id
            run.config |= _items(record.run.config.update)
        elif kind == "config":
            run.config |= _items(record.config.update)
            run.config_updates += any(_key(item) != "_wandb" for item in record.config.update)
        elif kind == "history":
            run.rows.append(_items(record.history.item))
        elif kind == "metric":
            run.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
    return run


def _items(items: Any) -> dict[str, Any]:
    return {_key(item): json.loads(item.value_json) for item in items}


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _records(content: bytes) -> Iterator[bytes]:
    place, parts = HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:  # the end of a block is filled up
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
