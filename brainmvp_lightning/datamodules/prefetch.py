"""The next batch on its way to the device while a step runs.

A copy on the stream that computes waits for the steps before it, and they for it. Here it is made
on a stream of its own, with the scaling of integers to intensities, one batch ahead. Whether a
batch counts as used is not decided here: whoever takes it says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Protocol

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from brainmvp_lightning.datamodules.packing import PackedBatch


class Streams(Protocol):
    """A stream for copies, beside the one that computes."""

    def aside(self) -> AbstractContextManager[Any]:
        """Run what is inside on the stream for copies."""

    def mark(self) -> Any:  # noqa: ANN401 - whatever `wait_for` takes
        """Mark what was given to the stream for copies so far."""

    def wait_for(self, mark: Any) -> None:  # noqa: ANN401
        """Let the stream that computes wait for a mark; the processor goes on."""

    def hold(self, tensor: Tensor) -> None:
        """Keep memory of the stream for copies until the one that computes is done with it."""


class CudaStreams:
    """The streams of a GPU.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.side = torch.cuda.Stream(device)

    def aside(self) -> AbstractContextManager[Any]:
        """Run what is inside on the side stream."""
        return torch.cuda.stream(self.side)

    def mark(self) -> torch.cuda.Event:
        """Record an event on the side stream."""
        event: torch.cuda.Event = self.side.record_event()
        return event

    def wait_for(self, mark: torch.cuda.Event) -> None:
        """Let the current stream wait for an event."""
        torch.cuda.current_stream(self.device).wait_event(mark)

    def hold(self, tensor: Tensor) -> None:
        """Tell the allocator, which knows the side stream only, that the current one reads too."""
        tensor.record_stream(torch.cuda.current_stream(self.device))


@cache
def streams_of(device: torch.device) -> Streams:
    """Return the streams of a GPU; always the same ones, for each keeps memory of its own."""
    return CudaStreams(device)


def prefetch(batches: Iterator[Any], device: torch.device, streams: Streams) -> Iterator[Any]:
    """Yield batches that are on the device and unpacked; the one after is on its way.

    Args:
        batches: As a loader gives them, best in page-locked memory.
        device: Where to.
        streams: Of the device.
    """
    sent: deque[tuple[Any, Any]] = deque()
    for batch in batches:
        sent.append(_send(batch, device, streams))
        if len(sent) > 1:
            yield _receive(*sent.popleft(), streams)
    while sent:
        yield _receive(*sent.popleft(), streams)


def _send(batch: Any, device: torch.device, streams: Streams) -> tuple[Any, Any]:  # noqa: ANN401
    with streams.aside():
        moved = move_data_to_device(batch, device)
        if isinstance(moved, PackedBatch):
            moved = moved.unpack()
        return moved, streams.mark()


def _receive(batch: Any, mark: Any, streams: Streams) -> Any:  # noqa: ANN401
    streams.wait_for(mark)
    for value in batch.values():
        if isinstance(value, Tensor):
            streams.hold(value)
    return batch
