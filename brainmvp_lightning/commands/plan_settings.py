"""Settings that keep the effective batch, in the order in which they are to be tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from brainmvp_lightning.tasks.rehearsal import MIXED, Setting


@dataclass(frozen=True)
class Choice:
    """What may be chosen from.

    Attributes:
        configured: What the configuration says; its number of processes is that of the machine.
        effective: Studies in a step of the optimiser, to be kept.
        may_checkpoint: Whether the network can compute activations again.
        half: Precision of two bytes that the device is good at; None for none.
        step: What sides of crops are multiples of.
    """

    configured: Setting
    effective: int
    may_checkpoint: bool = True
    half: str | None = None
    step: int = 16

    @property
    def share(self) -> int:
        """Studies of one process in a step of the optimiser."""
        return self.effective // self.configured.processes


def divisors(number: int) -> list[int]:
    """Return all divisors, the smallest first."""
    return [part for part in range(1, number + 1) if number % part == 0]


def num_processes(effective: int, most: int, nodes: int = 1) -> int:
    """Return the most processes, up to `most`, that can share a batch evenly, all nodes alike.

    Raises:
        ValueError: If the batch cannot be shared by the nodes.
    """
    if effective % nodes:
        below = effective // nodes * nodes
        near = [number for number in (below, below + nodes) if number > 0]
        raise ValueError(
            f"{nodes} nodes cannot share {effective} studies evenly; set --effective-batch to "
            f"{' or '.join(map(str, near))}, or trainer.num_nodes to a divisor of {effective}"
        )
    return max(nodes * part for part in divisors(effective // nodes) if nodes * part <= most)


def batches(choice: Choice) -> list[tuple[int, int]]:
    """Return batch and accumulation, the largest batch first.

    No batch is larger, over all processes, than the configured one: norms and contrast see the
    studies of one batch. If there are more processes than it has studies, one study each is left.
    """
    group = choice.effective // choice.configured.accumulation
    pairs = [(choice.share // part, part) for part in divisors(choice.share)]
    kept = [pair for pair in pairs if pair[0] * choice.configured.processes <= group]
    return kept or pairs[-1:]


def proposals(choice: Choice) -> Iterator[Setting]:
    """Yield settings, those nearest to the configuration first.

    Checkpointing comes before smaller batches because it changes no result, half precision after
    them, and smaller crops come last.
    """
    for setting in _with_crops(choice):
        for precision in _precisions(choice):
            for batch_size, accumulation in batches(choice):
                for checkpointing in _checkpointing(choice):
                    yield replace(
                        setting,
                        batch_size=batch_size,
                        accumulation=accumulation,
                        precision=precision,
                        checkpointing=checkpointing,
                    )


def smaller_changes(choice: Choice) -> Iterator[Setting]:
    """Yield settings for a run that was too large: one change first, then those of `proposals`."""
    own = choice.configured
    for batch_size, accumulation in batches(choice):
        if batch_size < own.batch_size:
            yield replace(own, batch_size=batch_size, accumulation=accumulation)
    if choice.may_checkpoint and not own.checkpointing:
        yield replace(own, checkpointing=True)
    for precision in _precisions(choice)[1:]:
        yield replace(own, precision=precision)
    yield from proposals(choice)


def first_that_fits(
    settings: Iterable[Setting], peak_of: Callable[[Setting], int], limit: float
) -> Setting | None:
    """Return the first setting whose peak is within a limit of bytes."""
    return next((setting for setting in settings if peak_of(setting) <= limit), None)


def changes(old: Setting, new: Setting) -> list[str]:
    """Return what differs, as options of ``brainmvp fit`` and their values."""
    pairs = (
        ("data.batch_size", old.batch_size, new.batch_size),
        ("trainer.accumulate_grad_batches", old.accumulation, new.accumulation),
        ("model.checkpointing", old.checkpointing, new.checkpointing),
        ("trainer.precision", old.precision, new.precision),
        ("data.crop_size", list(old.crop_size), list(new.crop_size)),
    )
    return [f"{name} {_word(value)}" for name, before, value in pairs if before != value]


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)


def _checkpointing(choice: Choice) -> list[bool]:
    if choice.configured.checkpointing:
        return [True]
    return [False, True] if choice.may_checkpoint else [False]


def _precisions(choice: Choice) -> list[str]:
    own = choice.configured.precision
    return [own] if choice.half is None or own in MIXED else [own, choice.half]


def _with_crops(choice: Choice) -> Iterator[Setting]:
    """Yield the configuration, then with ever smaller cubes, down to two steps a side."""
    own = choice.configured
    yield own
    side = (min(own.crop_size) - 1) // choice.step * choice.step
    while side >= 2 * choice.step:
        yield replace(own, crop_size=(side, side, side))
        side -= choice.step
