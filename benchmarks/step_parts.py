"""Parts of a step, each run by both rivals on inputs of the same size, for the benchmark of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from published_network import PlainDecoder, PlainUniFormer, Sizes
from published_step import contrast
from roofline import Work, work_of
from step_case import Case, Precision
from step_rivals import Ours, Published, Rival
from torch import Tensor, nn
from torch.nn import functional

from brainmvp_lightning.heads.reconstruction import ReconstructionHead

Run = Callable[[], object]
FLOAT = 4  # bytes of a number in float32


@dataclass(frozen=True)
class Part:
    """A part of a step.

    Attributes:
        name: What it is.
        rivals: How each rival runs it, by name.
        works: What any implementation has to do, with numbers as wide as those of each rival.
        prepare: What to run before each turn of a rival, by name, without counting its time.
    """

    name: str
    rivals: Mapping[str, Run]
    works: Mapping[str, Work]
    prepare: Mapping[str, Run] = field(default_factory=dict)


def network_works(
    case: Case, sizes: Sizes, precision: Precision
) -> dict[str, tuple[tuple[int, ...], Work]]:
    """Return for each stage, and the decoder, the shape of its input and its work in a step."""
    with torch.device("meta"):
        encoder, decoder = PlainUniFormer(sizes), PlainDecoder(sizes)
    num_bytes = 2 if precision == "bf16" else FLOAT
    works: dict[str, tuple[tuple[int, ...], Work]] = {}
    side, channels = case.size, 1
    for level, stage in enumerate([*encoder.stages, decoder]):
        shape = (2 * case.batch, channels, side, side, side)
        name = "decoder" if stage is decoder else f"stage {level + 1}"
        works[name] = shape, work_of(stage, shape, num_bytes)
        if stage is not decoder:
            side, channels = side // sizes.strides[level], sizes.widths[level]
    return works


def parts_of(case: Case, ours: Ours, published: Published) -> Iterator[Part]:
    """Yield the parts of a step in their order, each with its backward pass."""
    yield _views(case, ours, published)
    sizes = published.module.sizes
    rivals: dict[str, Rival] = {"ours": ours, "published": published}
    counted = {n: network_works(case, sizes, rival.precision) for n, rival in rivals.items()}
    shapes = {layers: shape for layers, (shape, _) in counted["ours"].items()}

    def works(layers: str) -> dict[str, Work]:
        return {name: of_rival[layers][1] for name, of_rival in counted.items()}

    for level, plain in enumerate(published.module.encoder.stages):
        name = f"stage {level + 1}"
        stage = ours.task.backbone.get_submodule(f"stages.{level}")
        stages: dict[str, tuple[nn.Module, Rival]] = {
            "ours": (stage, ours),
            "published": (plain, published),
        }
        yield _network(name, stages, shapes[name], works(name))
    decoders: dict[str, tuple[nn.Module, Rival]] = {
        "ours": (_Halves(_OfLast(ours.decoder)), ours),
        "published": (_Halves(published.module.decoder), published),
    }
    yield _network("decoder", decoders, shapes["decoder"], works("decoder"))
    yield _loss(case, ours, published, shapes["decoder"])
    yield _optimizer(case, ours, published)


def _network(
    name: str,
    modules: Mapping[str, tuple[nn.Module, Rival]],
    shape: tuple[int, ...],
    works: Mapping[str, Work],
) -> Part:
    """Run layers and their backward pass on random maps, each in its own layout."""
    rivals: dict[str, Run] = {}
    prepare: dict[str, Run] = {}
    for rival, (module, owner) in modules.items():
        given = torch.randn(shape, device=owner.case.device)
        if isinstance(owner, Ours):
            given = given.contiguous(memory_format=torch.channels_last_3d)
        rivals[rival] = _forward_and_backward(module, owner, given.requires_grad_())
        prepare[rival] = _forget(module, given)
    return Part(name, rivals, works, prepare)


def _forward_and_backward(module: nn.Module, owner: Rival, given: Tensor) -> Run:
    def run() -> None:
        with owner.autocast():
            output = module(given)
        output.backward(torch.ones_like(output))  # in the layout of the output

    return run


def _forget(module: nn.Module, *given: Tensor) -> Run:
    def run() -> None:
        module.zero_grad()
        for tensor in given:
            tensor.grad = None

    return run


class _OfLast(nn.Module):
    """A decoder of pyramids that is given the last level."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: Tensor) -> Tensor:
        image: Tensor = self.decoder([features])
        return image


class _Halves(nn.Module):
    """A decoder that is given one view after the other, as in a step."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.decoder(half) for half in features.chunk(2)])


def _views(case: Case, ours: Ours, published: Published) -> Part:
    """Mask and fill both views, and make the gradient of the templates."""
    gradient = torch.randn_like(ours.batch["image"])
    rivals: dict[str, Rival] = {"ours": ours, "published": published}
    return Part(
        "masking + templates",
        {
            name: lambda rival=rival: rival.view_images()[1].backward(gradient)  # type: ignore[misc]
            for name, rival in rivals.items()
        },
        # Each view reads an image and what fills it, and is written; the gradient is read, and
        # written where the crop was.
        _same(Work(0, FLOAT * 8 * case.num_crop_voxels)),
        {name: rival.optimizer.zero_grad for name, rival in rivals.items()},
    )


def _loss(case: Case, ours: Ours, published: Published, shape: tuple[int, ...]) -> Part:
    """Score two reconstructions and contrast two maps, with the gradients of both."""
    image, share = ours.batch["image"], ours.batch["weight"]
    predictions = [torch.randn_like(image).requires_grad_() for _ in range(2)]
    features = torch.randn(shape, device=case.device, requires_grad=True)
    cross_modal, distillation, head = (
        ours.method.cross_modal,
        ours.method.distillation,
        ours.method.contrast,
    )
    assert isinstance(cross_modal, ReconstructionHead)
    assert isinstance(distillation, ReconstructionHead)
    assert head is not None

    def run_ours() -> None:
        first, second = head([features]).chunk(2)
        total = cross_modal.loss(predictions[0], image, share)
        total = total + distillation.loss(predictions[1], image, share)
        (total + head.loss(first, second, share)).backward()

    def run_published() -> None:
        first, second = features.chunk(2)
        total = functional.mse_loss(predictions[0], image)
        total = total + functional.mse_loss(predictions[1], image)
        (total + contrast(first, second, published.module.temperature)).backward()

    forget = _forget(nn.Identity(), *predictions, features)
    # Predictions, their target and maps are read, gradients written.
    num_values = 6 * case.num_crop_voxels + 2 * features.numel()
    return Part(
        "loss",
        {"ours": run_ours, "published": run_published},
        _same(Work(0, FLOAT * num_values)),
        {"ours": forget, "published": forget},
    )


def _optimizer(case: Case, ours: Ours, published: Published) -> Part:
    """Update network and templates."""
    gradient = torch.randn_like(ours.batch["image"])

    def prepare(rival: Rival) -> None:
        rival.optimizer.zero_grad()
        rival.view_images()[1].backward(gradient)
        for _, parameter in rival.parameters():
            parameter.grad = torch.ones_like(parameter)

    num_values = sum(parameter.numel() for _, parameter in ours.parameters())
    # Values, gradients and two moments are read, all but the gradients written.
    work = Work(0, FLOAT * 7 * (num_values + case.num_crop_voxels))
    return Part(
        "optimizer",
        {"ours": ours.optimizer.step, "published": published.optimizer.step},
        _same(work),
        {"ours": lambda: prepare(ours), "published": lambda: prepare(published)},
    )


def view_parts(ours: Ours, published: Published) -> Iterator[Part]:
    """Yield three stretches of the views: forward, with backward, with the templates' update."""
    gradient = torch.randn_like(ours.batch["image"])
    rivals: dict[str, Rival] = {"ours": ours, "published": published}

    def backward(rival: Rival) -> None:
        rival.view_images()[1].backward(gradient)

    def update(rival: Rival) -> None:
        backward(rival)
        rival.optimizer.step()  # only templates have gradients

    def forward(rival: Rival) -> None:
        rival.view_images()

    prepare: dict[str, Run] = {name: rival.optimizer.zero_grad for name, rival in rivals.items()}
    for stretch, run in (
        ("forward", forward),
        ("forward + backward", backward),
        ("forward + backward + update", update),
    ):
        runs: dict[str, Run] = {
            name: lambda run=run, rival=rival: run(rival)  # type: ignore[misc]
            for name, rival in rivals.items()
        }
        yield Part(stretch, runs, _same(Work()), prepare)


def _same(work: Work) -> dict[str, Work]:
    """Return what both do in float32."""
    return {"ours": work, "published": work}
