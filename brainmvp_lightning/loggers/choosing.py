"""The loggers of a run: those that were asked for, and the table that every run keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger

from brainmvp_lightning.loggers.csv import CSVTable
from brainmvp_lightning.loggers.place import InRunFolder, RunPlace


def loggers_of(chosen: Any, place: RunPlace) -> list[Logger]:  # noqa: ANN401 - as Lightning takes it
    """Return the loggers of a run, each in its place.

    Args:
        chosen: Value of ``trainer.logger``: loggers, one of them, true or nothing for the table
            alone, false for none at all.
        place: Where they write.
    """
    if chosen is False:
        return []
    loggers = _listed(chosen)
    if not any(isinstance(logger, CSVLogger) for logger in loggers):
        loggers.append(CSVTable())
    for logger in loggers:
        if isinstance(logger, InRunFolder):
            logger.settle(place)
    return loggers


def _listed(chosen: Any) -> list[Logger]:  # noqa: ANN401 - as Lightning takes it
    if isinstance(chosen, Logger):
        return [chosen]
    return list(chosen) if isinstance(chosen, Sequence) else []
