"""What can be wrong with a file of weights."""

from __future__ import annotations


class WeightsError(ValueError):
    """A file of weights that cannot be used; the message is one sentence with the remedy."""


class UnknownKindError(WeightsError):
    """A file with tensors that belong to nothing we know."""
