"""What the contracts of all kinds of parts have in common."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class ContractError(AssertionError):
    """A part breaks a promise; one sentence with what it did and what is expected."""


def expect(condition: bool | Tensor, sentence: str) -> None:
    """Raise a `ContractError` with this sentence unless the condition holds."""
    if not condition:
        raise ContractError(sentence)


@contextmanager
def no_error(what: str, expected: str) -> Iterator[None]:
    """Turn an error inside into a `ContractError` that says what was done."""
    try:
        yield
    except ContractError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        raise ContractError(f"{what} raised {type(error).__name__}: {words}; {expected}") from error


def error_of(call: Callable[[], object]) -> Exception | None:
    """Return what a call raises, None if it does not."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - judged by the caller
        return error
    return None


def class_of(build: Callable[..., Any]) -> type | None:
    """Return the class behind a class or a `functools.partial` of one, None for other functions."""
    inner = build.func if isinstance(build, functools.partial) else build
    return inner if isinstance(inner, type) else None


def check_options(build: Callable[..., Any], base: type, *given: str) -> None:
    """See that a command line can build a class: YAML holds its options, code hands over the rest.

    Args:
        build: Nothing is checked for a function, whose options no YAML names.
        base: What the class derives from.
        given: What each of the first positional arguments is, in words.
    """
    cls = class_of(build)
    if cls is None:
        return
    name = cls.__name__
    expect(
        issubclass(cls, base),
        f"{name} does not derive from {base.__module__}.{base.__qualname__}; make that its base",
    )
    expect(bool(cls.__doc__), f"{name} has no docstring; `brainmvp list` shows its first line")
    parameters = list(inspect.signature(cls).parameters.values())
    first, options = parameters[: len(given)], parameters[len(given) :]
    expect(
        len(first) == len(given) and all(p.default is p.empty for p in first),
        f"{name} takes {_listed(parameters)}; its first arguments, without defaults, must be "
        f"{' and '.join(given) or 'none'}",
    )
    with no_error(f"reading the types of {name}.__init__", "import them where the module runs"):
        hints = typing.get_type_hints(cls.__init__)  # type: ignore[misc]
    untyped = [p.name for p in options if p.name not in hints and p.kind is not p.VAR_KEYWORD]
    expect(
        not untyped,
        f"option {', '.join(untyped)} of {name} has no type; the command line needs one to read it",
    )


def check_gradients(module: nn.Module, name: str, reached: str) -> None:
    """See that each trainable parameter has a gradient, finite and laid out like it."""
    for path, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        gradient = parameter.grad
        expect(
            gradient is not None,
            f"parameter {path} of {name} gets no gradient from {reached}; distributed training "
            "needs one for each: remove the parameter, or use it",
        )
        assert gradient is not None
        expect(
            gradient.isfinite().all(),
            f"parameter {path} of {name} gets a gradient that is not finite from {reached}",
        )
        expect(
            _layout(gradient) == _layout(parameter),
            f"the gradient of {path} of {name} has strides {gradient.stride()}, it has "
            f"{parameter.stride()}; distributed training would copy it: hand on contiguous maps",
        )


def _layout(tensor: Tensor) -> list[int]:
    """Return the strides of axes longer than 1; the others have no meaning."""
    return [s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1]


def check_state(first: nn.Module, second: nn.Module, name: str) -> None:
    """Load the state of one module into another that was built alike."""
    with no_error(f"loading the state of one {name} into another", "names must not depend on use"):
        second.load_state_dict(first.state_dict())


def check_equal(one: Iterable[Tensor], other: Iterable[Tensor], sentence: str) -> None:
    """See that tensors are pairwise the same to the bit."""
    expect(all(map(torch.equal, one, other)), sentence)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return uniform noise that is the same in each call."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def image_size(stride: int) -> tuple[int, int, int]:
    """Return a small size that is no cube and suits a network of this last stride.

    No map is 2 voxels long on its first axis: in torch 2.13 on a CPU, the bfloat16 gradient of a
    3^3 convolution of such a map is not fully written, whatever the network.
    """
    unit = stride * -(-16 // stride)
    return 3 * unit, (2 if unit <= 16 else 1) * unit, unit


def _listed(parameters: Iterable[inspect.Parameter]) -> str:
    return ", ".join(parameter.name for parameter in parameters) or "nothing"
