"""The contracts of heads: those that score themselves, and those that answer a task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.heads.base import Head, LossHead, TaskHead
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.testing.contracts import (
    check_equal,
    check_gradients,
    check_options,
    check_state,
    class_of,
    expect,
    image_size,
    no_error,
    noise,
)

NUM_OUTPUTS = 3
SMALL_BACKBONE: Callable[[int], Backbone] = partial(UNET3D, widths=(8, 16, 24), depths=(1, 1, 1))
"""A network that heads are tried on unless another is given."""


def check_head(
    build: Callable[..., Head],
    *,
    backbone: Callable[[int], Backbone] = SMALL_BACKBONE,
    compares_views: bool = False,
) -> None:
    """See that a head keeps what `LossHead` or `TaskHead` promises.

    Args:
        build: The class, or a `functools.partial` of it with options.
        backbone: Builds the network that it reads, for a number of input channels.
        compares_views: Whether its loss compares the predictions for two views, as a contrast does,
            not a prediction with the image.

    Raises:
        ContractError: At the first broken promise.
    """
    cls = class_of(build)
    expect(
        cls is not None and issubclass(cls, (LossHead, TaskHead)),
        f"the head is {cls or build!r}; give a class that derives from LossHead or TaskHead of "
        "brainmvp_lightning.heads.base, or a functools.partial of one",
    )
    assert cls is not None
    if issubclass(cls, TaskHead):
        check_options(build, TaskHead, "the backbone", "the number of outputs")
        _TaskHeadCheck(build, backbone).run()
    else:
        check_options(build, LossHead, "the backbone")
        _LossHeadCheck(build, backbone, compares_views=compares_views).run()


class _Check:
    def __init__(self, build: Callable[..., Any], backbone: Callable[[int], Backbone]) -> None:
        self.build = build
        self.backbone = backbone
        self.name = str(getattr(class_of(build), "__name__", build))

    def made(self, channels: int = 1, **options: Any) -> tuple[Any, Tensor, list[Tensor]]:  # noqa: ANN401
        """Return a head, two images that are no cubes, and their features."""
        torch.manual_seed(0)
        network = self.backbone(channels)
        image = noise(2, channels, *image_size(network.strides[-1]), seed=1)
        outputs = (NUM_OUTPUTS,) if isinstance(self, _TaskHeadCheck) else ()
        with_options = f" with {', '.join(options)}" if options else ""
        remedy = "pass these to super().__init__" if options else "it reads any backbone"
        with no_error(f"building {self.name} on {type(network).__name__}{with_options}", remedy):
            head = self.build(network, *outputs, **options)
        with torch.no_grad():
            return head, image, network(image)

    def outputs(self, head: Any, image: Tensor, features: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
        raise NotImplementedError

    def check_features_stay(self) -> None:
        head, image, features = self.made()
        before = [level.clone() for level in features]
        self.outputs(head, image, features)
        check_equal(features, before, f"{self.name} changes the features in place; work on a copy")

    def check_state(self) -> None:
        head, image, features = self.made()
        other, *_ = self.made()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1)
        check_state(head, other, self.name)
        check_equal(
            self.outputs(head.eval(), image, features),
            self.outputs(other.eval(), image, features),
            f"two {self.name} with the same weights answer differently in eval()",
        )


class _TaskHeadCheck(_Check):
    def run(self) -> None:
        self.check_answers()
        self.check_features_stay()
        self.check_learning()
        self.check_state()
        self.check_half_precision()
        self.check_stems()
        self.check_start()

    def outputs(self, head: TaskHead, image: Tensor, features: list[Tensor]) -> list[Tensor]:
        return head(image, features, auxiliary=True)  # type: ignore[no-any-return]

    def check_answers(self) -> None:
        for channels in (1, 3):
            head, image, features = self.made(channels)
            expect(
                getattr(head, "num_outputs", None) == NUM_OUTPUTS,
                f"{self.name} built for {NUM_OUTPUTS} outputs does not say so in num_outputs",
            )
            answers = head(image, features)
            shapes = [tuple(answer.shape) for answer in answers]
            voxels, classes = (2, NUM_OUTPUTS, *image.shape[2:]), (2, NUM_OUTPUTS)
            expect(
                shapes in ([voxels], [classes]),
                f"{self.name} answers with shapes {shapes} for an image of shape "
                f"{tuple(image.shape)}; expected [{voxels}] or, to classify, [{classes}]",
            )
            head.eval()
            alone, (first, *more) = head(image, features), self.outputs(head, image, features)
            check_equal(alone, [first], f"auxiliary answers change the first answer of {self.name}")
            expect(
                len(more) == head.num_auxiliary and all(a.shape == first.shape for a in more),
                f"{self.name} gives auxiliary answers of shapes {[tuple(a.shape) for a in more]}; "
                f"expected num_auxiliary={head.num_auxiliary} in the shape of the first",
            )

    def check_learning(self) -> None:
        head, image, features = self.made()
        answers = self.outputs(head, image, features)
        torch.stack([answer.square().sum() for answer in answers]).sum().backward()
        check_gradients(head, self.name, "its answers")

    def check_half_precision(self) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            head, image, features = self.made()
            answers = self.outputs(head, image, features)
        expect(
            all(bool(answer.isfinite().all()) for answer in answers),
            f"{self.name} gives answers that are not finite under bfloat16 autocast",
        )
        torch.stack([answer.float().square().mean() for answer in answers]).sum().backward()
        check_gradients(head, self.name, "its answers under bfloat16 autocast")

    def check_stems(self) -> None:
        few, many = (self.made(channels)[0] for channels in (3, 5))
        states = few.state_dict(), many.state_dict()
        changing = sorted(n for n in states[0] if states[0][n].shape != states[1][n].shape)
        expect(
            changing == sorted(few.stems),
            f"{self.name}.stems is {few.stems}, but the tensors that change with the channels of "
            f"the image are {tuple(changing)}; name these",
        )
        wrong = [stem for stem in few.stems if states[0][stem].shape[1] != 3]
        expect(not wrong, f"axis 1 of {', '.join(wrong)} of {self.name} is not the channels")

    def check_start(self) -> None:
        """See that what can start from a decoder is there, in some decoder's shape."""
        head, *_ = self.made()
        own = head.state_dict()
        kinds: Any = ("transposed", "residual")
        decoders = [build_decoder(self.backbone(1), kind).state_dict() for kind in kinds]
        names = head.pretrained_names()
        fits = [
            all(n in own and p in d and own[n].shape == d[p].shape for n, p in names.items())
            for d in decoders
        ]
        expect(
            any(fits),
            f"{self.name}.pretrained_names() is {names}; expected its own names to those of one "
            "decoder, of tensors of one shape",
        )


class _LossHeadCheck(_Check):
    def __init__(
        self,
        build: Callable[..., Any],
        backbone: Callable[[int], Backbone],
        *,
        compares_views: bool,
    ) -> None:
        super().__init__(build, backbone)
        self.compares_views = compares_views

    def run(self) -> None:
        self.check_schedule()
        self.check_features_stay()
        self.check_loss()
        self.check_shares()
        self.check_state()
        self.check_half_precision()

    def outputs(self, head: LossHead, image: Tensor, features: list[Tensor]) -> list[Tensor]:
        del image
        return [head(features)]

    def score(self, head: LossHead, image: Tensor, features: list[Tensor], share: Tensor) -> Tensor:
        prediction = head(features)
        target = head([level.flip(2) for level in features]) if self.compares_views else image
        mask = noise(len(image), 1, *image.shape[2:], seed=2) < 0.5
        with no_error(f"the loss of {self.name}", "it takes prediction, target, share and mask"):
            return head.loss(prediction, target, share, mask, capacity=len(image))

    def check_schedule(self) -> None:
        head, *_ = self.made(weight=2.0, start_epoch=1, ramp_epochs=2)
        found = [head.weight_at(epoch) for epoch in range(4)]
        expect(
            found == [0.0, 1.0, 2.0, 2.0],
            f"{self.name} has the weights {found} in epochs 0 to 3 for weight=2, start_epoch=1 and "
            "ramp_epochs=2; pass the three to super().__init__",
        )

    def check_loss(self) -> None:
        head, image, features = self.made()
        prediction = head(features)
        expect(
            isinstance(prediction, Tensor) and len(prediction) == len(image),
            f"{self.name} predicts {type(prediction).__name__} for {len(image)} images; expected a "
            "tensor with a row for each",
        )
        features = [level.requires_grad_() for level in features]
        loss = self.score(head, image, features, torch.full((2,), 0.5))
        expect(
            loss.shape == () and bool(loss.isfinite()),
            f"the loss of {self.name} is {loss.detach()}; expected a finite scalar",
        )
        expect(loss.requires_grad, f"the loss of {self.name} has no gradient; expected one")
        loss.backward()
        check_gradients(head, self.name, "its loss")
        expect(
            any(level.grad is not None for level in features),
            f"the loss of {self.name} gives the features no gradient; the backbone learns from it",
        )

    @torch.no_grad()
    def check_shares(self) -> None:
        head, image, features = self.made()
        head.eval()
        share = torch.tensor([0.5, 0.5])
        once, twice = (self.score(head, image, features, factor * share) for factor in (1, 2))
        expect(
            torch.allclose(2 * once, twice, rtol=1e-4, atol=1e-6),
            f"the loss of {self.name} is {float(once):.6g}, and {float(twice):.6g} with shares "
            "twice as large; expected the sum of the samples' losses times their shares",
        )
        share = torch.tensor([1.0, 0.0])
        before = self.score(head, image, features, share)
        image[1] = 0.5
        changed = [torch.cat([level[:1], torch.ones_like(level[1:])]) for level in features]
        after = self.score(head, image, changed, share)
        expect(
            torch.allclose(before, after, rtol=1e-4, atol=1e-6),
            f"a sample of share 0 changes the loss of {self.name} from {float(before):.6g} to "
            f"{float(after):.6g}; it pads a batch and must have no influence",
        )

    def check_half_precision(self) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            head, image, features = self.made()
            loss = self.score(head, image, features, torch.full((2,), 0.5))
        expect(
            loss.dtype == torch.float32 and bool(loss.isfinite()),
            f"the loss of {self.name} is {loss.detach()} in {loss.dtype} under bfloat16 autocast; "
            "expected a finite float32: compute it on prediction.float()",
        )
        if loss.requires_grad:  # there are heads without parameters
            loss.backward()
        check_gradients(head, self.name, "its loss under bfloat16 autocast")
