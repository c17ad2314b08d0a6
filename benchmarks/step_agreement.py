"""Whether two ways to run a step give the same results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from step_memory import free_memory
from step_rivals import Ours, Published, Rival, run_step
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """How far results may be apart, as a part of the published ones.

    Attributes:
        loss: Each term of the loss.
        gradient: Gradient of a stage, of the decoder or of the templates.
        update: What the first step of AdamW adds to the templates. Where a gradient is nearly 0 its
            sign is chance, and the first step of AdamW is hardly more than the sign.
    """

    loss: float
    gradient: float
    update: float


TOLERANCES = {
    "fp32": Tolerance(loss=1e-5, gradient=2e-4, update=1e-2),
    "bf16": Tolerance(loss=2e-2, gradient=1e-1, update=3e-1),
}
ROUNDINGS = 2.0
"""How many times farther than the published step in bfloat16 ours may be from full precision, where
that is beyond the tolerance. Both round as often, in another order: once each would be the same
distance. A wrong term that hides in rounding is found in full precision."""
VIEW_TOLERANCE = 1e-6  # of grey levels from 0 to 1


class DisagreementError(AssertionError):
    """Two ways to run a step whose results differ; times of them are not to be compared."""


@dataclass(frozen=True)
class Agreement:
    """How far the results of a first step are apart, as a part of the published ones.

    Attributes:
        losses: Of each term.
        gradients: Of each group of parameters.
        update: Of what templates gain.
        rounding: The same of the published step in bfloat16, where ours is in bfloat16.
    """

    losses: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, float] = field(default_factory=dict)
    update: float = 0.0
    rounding: Agreement | None = None

    def compared(self, tolerance: Tolerance) -> list[tuple[str, float, float]]:
        """Return name, distance and tolerance of each result."""
        floor = {} if self.rounding is None else self.rounding._named()
        limits = {
            "loss": tolerance.loss,
            "gradient": tolerance.gradient,
            "update": tolerance.update,
        }
        return [
            (name, value, max(limits[name.split(",")[0]], ROUNDINGS * floor.get(name, 0.0)))
            for name, value in self._named().items()
        ]

    def _named(self) -> dict[str, float]:
        return {
            **{f"loss, {term}": value for term, value in self.losses.items()},
            **{f"gradient, {group}": value for group, value in self.gradients.items()},
            "update, templates": self.update,
        }

    def check(self, tolerance: Tolerance) -> None:
        """Compare with what is tolerated.

        Raises:
            DisagreementError: With each result beyond its tolerance.
        """
        beyond = [
            f"{name}: {value:.1e} > {limit:.0e}"
            for name, value, limit in self.compared(tolerance)
            if not value <= limit  # also if it is not a number
        ]
        if beyond:
            raise DisagreementError(f"both steps must agree, but {'; '.join(beyond)}")


@dataclass(frozen=True)
class _Results:
    """What a step leaves behind."""

    losses: dict[str, float]
    gradients: dict[str, list[Tensor]]
    gain: Tensor


def agreement_of(ours: Ours, published: Published) -> Agreement:
    """Give both the same weights, do one step with each, and compare.

    Where ours is in bfloat16, the published step is done once more in bfloat16, to see what its
    rounding alone does.
    """
    published.load(ours)
    before = ours.learned()
    rounded = None
    if ours.precision == "bf16":
        half = Published(published.case, precision="bf16")
        half.load(ours)
        rounded = _results(half, before)
    full = _results(published, before)
    found = _distances(_results(ours, before), full)
    if rounded is None:
        return found
    rounding = _distances(rounded, full)
    del half, rounded
    free_memory()
    return Agreement(found.losses, found.gradients, found.update, rounding)


def check_views(ours: Ours, published: Published) -> None:
    """Compare both views, and what a gradient of theirs does to the templates in a first step.

    Raises:
        DisagreementError: If they differ.
    """
    published.load(ours)
    before = ours.learned()
    gradient = torch.randn_like(ours.batch["image"])
    gains: list[Tensor] = []
    views: list[tuple[Tensor, Tensor]] = []
    for rival in (ours, published):
        rival.optimizer.zero_grad()
        images = rival.view_images()
        images[1].backward(gradient)
        rival.optimizer.step()  # only templates have gradients
        views.append((images[0], images[1].detach()))
        gains.append(_gain(rival, before))
    for name, mine, theirs in zip(("cross-modal", "template"), *views, strict=True):
        largest = float((mine - theirs).abs().max())
        if not largest <= VIEW_TOLERANCE:
            raise DisagreementError(
                f"both must see the same, but {name} views differ by {largest:.1e}"
            )
    if _takes_extremes_for_constants(ours):
        is_extreme = _is_extreme(before)
        gains = [gain.masked_fill(is_extreme, 0) for gain in gains]
    Agreement(update=relative_distance(*([gain] for gain in gains))).check(TOLERANCES["fp32"])
    published.load(ours)  # neither is ahead of the other


def relative_distance(ours: list[Tensor], published: list[Tensor]) -> float:
    """Return the length of the difference over that of the published tensors."""
    pairs = list(zip(ours, published, strict=True))
    difference = sum(float((a.double() - b).square().sum()) for a, b in pairs)
    length = sum(float(b.double().square().sum()) for _, b in pairs)
    return float((difference / length) ** 0.5)


def _results(rival: Rival, before: Tensor) -> _Results:
    """Do one step, with float32 products in full."""
    with _full_products():
        terms = run_step(rival)
    losses = {name: float(term) for name, term in terms.items()}
    return _Results(losses, _gradients(rival), _gain(rival, before))


@contextmanager
def _full_products() -> Iterator[None]:
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def _distances(found: _Results, full: _Results) -> Agreement:
    """Compare; losses to their largest term, for the contrast of a single sample is 0."""
    if found.gradients.keys() - {"templates"} != full.gradients.keys() - {"templates"}:
        raise DisagreementError(
            f"both networks must have the same parts, not {sorted(found.gradients)} and "
            f"{sorted(full.gradients)}"
        )
    scale = max(abs(term) for term in full.losses.values())
    return Agreement(
        {name: abs(found.losses[name] - term) / scale for name, term in full.losses.items()},
        {
            group: relative_distance(gradients, full.gradients[group])
            for group, gradients in found.gradients.items()
        },
        relative_distance([found.gain], [full.gain]),
    )


def _gain(rival: Rival, before: Tensor) -> Tensor:
    return rival.learned() - before


def _takes_extremes_for_constants(ours: Ours) -> bool:
    return ours.case.rescale == "minmax" and ours.templates.windows is not None


def _is_extreme(volumes: Tensor) -> Tensor:
    """Return which voxels of ``s x y z`` are the least or the greatest of their volume, bool."""
    low, high = (limit(volumes, dim=(1, 2, 3), keepdim=True) for limit in (torch.amin, torch.amax))
    return (volumes == low) | (volumes == high)


def _gradients(rival: Rival) -> dict[str, list[Tensor]]:
    """Return the gradients of each stage, the last norm, the decoder and the templates."""
    groups: dict[str, list[Tensor]] = {}
    for name, parameter in sorted(rival.parameters()):
        if parameter.grad is None:
            raise DisagreementError(f"{type(rival).__name__}: {name} got no gradient")
        parts = name.split(".")
        group = f"stage {int(parts[2]) + 1}" if parts[1] == "stages" else parts[0]
        groups.setdefault("last norm" if group == "encoder" else group, []).append(parameter.grad)
    gradient = rival.template_gradient()
    return groups if gradient is None else groups | {"templates": [gradient]}
