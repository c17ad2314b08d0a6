"""The contract of a backbone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.decoders import DECODERS, build_decoder
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.testing.contracts import (
    check_equal,
    check_gradients,
    check_options,
    check_state,
    error_of,
    expect,
    image_size,
    no_error,
    noise,
)

Build = Callable[[int], Backbone]


def check_backbone(build: Build) -> None:
    """See that a network keeps what `Backbone` promises.

    Args:
        build: The class, or a function that builds a small one, for a number of input channels.

    Raises:
        ContractError: At the first broken promise.
    """
    check_options(build, Backbone, "the number of input channels")
    backbone = _built(build, 1)
    _check_description(backbone)
    for channels in (1, 4):
        _check_shapes(_built(build, channels), channels)
    _check_refusals(backbone)
    _check_learning(build)
    _check_answers(build)
    _check_half_precision(build)
    _check_stems(build)
    _check_depth_groups(backbone)
    _check_partners(backbone)


def _built(build: Build, channels: int) -> Backbone:
    torch.manual_seed(0)
    with no_error(f"building the backbone for {channels} channels", "it takes any number of them"):
        backbone = build(channels)
    expect(
        isinstance(backbone, Backbone),
        f"the backbone is a {type(backbone).__name__}; derive it from "
        "brainmvp_lightning.backbones.base.Backbone",
    )
    return backbone


def _check_description(backbone: Backbone) -> None:
    name = type(backbone).__name__
    for attribute in ("in_channels", "feature_channels", "strides"):
        expect(hasattr(backbone, attribute), f"{name} does not set self.{attribute}")
    expect(
        backbone.in_channels == 1,
        f"{name} built for 1 channel says in_channels={backbone.in_channels!r}",
    )
    for attribute in ("feature_channels", "strides"):
        values = getattr(backbone, attribute)
        is_fine = isinstance(values, tuple) and values
        expect(
            bool(is_fine) and all(isinstance(value, int) and value > 0 for value in values),
            f"{name}.{attribute} is {values!r}; expected a tuple of one positive number a level",
        )
    channels, strides = backbone.feature_channels, backbone.strides
    expect(
        len(channels) == len(strides),
        f"{name} has {len(channels)} feature_channels and {len(strides)} strides; expected one of "
        "each for a level",
    )
    expect(
        all(coarse % fine == 0 for fine, coarse in pairwise(strides)),
        f"{name}.strides is {strides}; expected the finest level first, each a multiple of the "
        "one before",
    )


def _image(backbone: Backbone, num: int = 2, seed: int = 1) -> Tensor:
    return noise(num, backbone.in_channels, *image_size(backbone.strides[-1]), seed=seed)


def _check_shapes(backbone: Backbone, channels: int) -> None:
    name, image = type(backbone).__name__, _image(backbone)
    before = image.clone()
    with no_error(f"{name} on an image of shape {tuple(image.shape)}", "it takes such images"):
        features = backbone(image)
    expect(
        isinstance(features, list) and all(isinstance(level, Tensor) for level in features),
        f"{name} returns a {type(features).__name__}; expected a list of tensors",
    )
    found = [tuple(level.shape) for level in features]
    promised = [
        (2, width, *(side // stride for side in image.shape[2:]))
        for width, stride in zip(backbone.feature_channels, backbone.strides, strict=True)
    ]
    expect(
        found == promised,
        f"{name} returns features of shapes {found} for {channels} channels; expected {promised} "
        "by its feature_channels and strides",
    )
    check_equal([image], [before], f"{name} changes its image in place; work on a copy")


def _check_refusals(backbone: Backbone) -> None:
    name, (x, y, z) = type(backbone).__name__, image_size(backbone.strides[-1])
    wrong = {"another number of channels": noise(1, 2, x, y, z)}
    if backbone.strides[-1] > 1:
        wrong["a side that is no multiple of its last stride"] = noise(1, 1, x, y + 1, z)
    for what, image in wrong.items():
        error = error_of(lambda image=image: backbone(image))  # type: ignore[misc]
        done = f"raises {type(error).__name__} for" if error else "takes"
        expect(
            isinstance(error, ValueError),
            f"{name} {done} an image with {what}; expected a ValueError: call "
            "self.check_image(image) first in forward",
        )


def _check_learning(build: Build) -> None:
    backbone = _built(build, 1)
    backbone(_image(backbone))[-1].square().sum().backward()
    check_gradients(backbone, type(backbone).__name__, "the last level")


@torch.no_grad()
def _check_answers(build: Build) -> None:
    """See that features depend on weights and image alone."""
    first, second = _built(build, 1), build(1)
    name, image = type(first).__name__, _image(first)
    first(image)  # moves running statistics
    check_state(first, second, name)
    plain = first.eval()(image)
    same = second.eval()(image)
    check_equal(plain, same, f"two {name} with the same weights give different features in eval()")
    alone = first(image[:1])
    expect(
        all(_is_close(one, many[:1]) for one, many in zip(alone, plain, strict=True)),
        f"in eval() the features that {name} gives an image depend on the others of the batch",
    )
    first.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    converted = first(image.contiguous(memory_format=torch.channels_last_3d))
    expect(
        all(map(_is_close, plain, converted)),
        f"{name} gives other features when it and the image lie channels last in memory",
    )


def _is_close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def _check_half_precision(build: Build) -> None:
    backbone = _built(build, 1)
    name = type(backbone).__name__
    with torch.autocast("cpu", torch.bfloat16):
        features = backbone(_image(backbone))
    expect(
        all(bool(level.isfinite().all()) for level in features),
        f"{name} gives features that are not finite under bfloat16 autocast",
    )
    features[-1].float().square().mean().backward()
    check_gradients(backbone, name, "the last level under bfloat16 autocast")


def _check_stems(build: Build) -> None:
    few, many = (_built(build, channels) for channels in (3, 5))
    name, states = type(few).__name__, (few.state_dict(), many.state_dict())
    changing = [n for n in states[0] if states[0][n].shape != states[1][n].shape]
    expect(
        sorted(changing) == sorted(few.stems),
        f"{name}.stems is {few.stems}, but the tensors that change with the number of channels are "
        f"{tuple(changing)}; name these, so that weights can be fitted to other channels",
    )
    shapes = [tuple(state[stem].shape) for stem in few.stems for state in states]
    expect(
        [shape[1] for shape in shapes] == [3, 5] * len(few.stems),
        f"the stems of {name} have shapes {shapes} for 3 and 5 channels; expected these on axis 1",
    )


def _check_depth_groups(backbone: Backbone) -> None:
    name, groups = type(backbone).__name__, backbone.depth_groups()
    grouped = [id(parameter) for group in groups for parameter in group]
    expect(
        sorted(grouped) == sorted(map(id, backbone.parameters())),
        f"{name}.depth_groups() has {len(grouped)} parameters of "
        f"{sum(1 for _ in backbone.parameters())}; expected each once",
    )
    deep = [s for s in backbone.stems if id(backbone.get_parameter(s)) not in map(id, groups[0])]
    expect(not deep, f"stem {', '.join(deep)} of {name} is not in the first of its depth_groups()")


@torch.no_grad()
def _check_partners(backbone: Backbone) -> None:
    """See that the decoder and the head it is paired with can read it."""
    name, image = type(backbone).__name__, _image(backbone, num=1)
    features = backbone(image)
    expect(
        backbone.decoder in DECODERS,
        f"{name}.decoder is {backbone.decoder!r}; expected one of {', '.join(DECODERS)}",
    )
    with no_error(f"the {backbone.decoder} decoder of {name}", "its last stride is a power of two"):
        shape = tuple(build_decoder(backbone)(features).shape)
    expect(
        shape == (1, 1, *image.shape[2:]),
        f"the {backbone.decoder} decoder of {name} makes an image of shape {shape} of one of shape "
        f"{tuple(image.shape)}",
    )
    head = backbone.segmentation_head
    expect(
        head in HEADS.names() and issubclass(HEADS.get(head), TaskHead),
        f"{name}.segmentation_head is {head!r}, which answers no task{HEADS.hint(head)}",
    )
    with no_error(f"head {head!r} on {name}", "name another one as segmentation_head"):
        HEADS.get(head)(backbone, 2)(image, features)
