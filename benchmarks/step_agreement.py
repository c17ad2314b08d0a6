"""Whether two ways to run a step give the same results."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
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


@dataclass(frozen=True)
class Agreement:
    """How far the results of a first step are apart, as a part of the published ones."""

    losses: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, float] = field(default_factory=dict)
    update: float = 0.0

    def compared(self, tolerance: Tolerance) -> list[tuple[str, float, float]]:
        """Return name, distance and tolerance of each result."""
        return [
            *((f"loss, {term}", value, tolerance.loss) for term, value in self.losses.items()),
            *(
                (f"gradient, {group}", value, tolerance.gradient)
                for group, value in self.gradients.items()
            ),
            ("update, templates", self.update, tolerance.update),
        ]

    def check(self, tolerance: Tolerance) -> None:
        """Raise an `AssertionError` that names each result beyond its tolerance."""
        beyond = [
            f"{name}: {value:.1e} > {limit:.0e}"
            for name, value, limit in self.compared(tolerance)
            if not value <= limit  # also if it is not a number
        ]
        if beyond:
            raise AssertionError(f"both steps must agree, but {'; '.join(beyond)}")


def agreement_of(ours: Ours, published: Published) -> Agreement:
    """Give both the same weights, do one step with each, and compare.

    Losses are compared to their largest term, for the contrast of a single sample is 0.
    """
    published.load(ours)
    before = ours.volumes()
    full_precision = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        our_terms, terms = run_step(ours), run_step(published)
    finally:
        torch.set_float32_matmul_precision(full_precision[0])
        torch.backends.cudnn.allow_tf32 = full_precision[1]
    scale = max(abs(float(term)) for term in terms.values())
    losses = {name: abs(float(our_terms[name] - term)) / scale for name, term in terms.items()}
    our_gradients, gradients = _gradients(ours), _gradients(published)
    if our_gradients.keys() - {"templates"} != gradients.keys() - {"templates"}:
        raise AssertionError(
            f"both networks must have the same parts, not {sorted(our_gradients)} and "
            f"{sorted(gradients)}"
        )
    return Agreement(
        losses,
        {group: relative_distance(ours, gradients[group]) for group, ours in our_gradients.items()},
        relative_distance([ours.volumes() - before], [published.volumes() - before]),
    )


def relative_distance(ours: list[Tensor], published: list[Tensor]) -> float:
    """Return the length of the difference over that of the published tensors."""
    pairs = list(zip(ours, published, strict=True))
    difference = sum(float((a.double() - b).square().sum()) for a, b in pairs)
    length = sum(float(b.double().square().sum()) for _, b in pairs)
    return float((difference / length) ** 0.5)


def _gradients(rival: Rival) -> dict[str, list[Tensor]]:
    """Return the gradients of each stage, the last norm, the decoder and the templates."""
    groups: dict[str, list[Tensor]] = {}
    for name, parameter in sorted(rival.parameters()):
        if parameter.grad is None:
            raise AssertionError(f"{type(rival).__name__}: {name} got no gradient")
        parts = name.split(".")
        group = f"stage {int(parts[2]) + 1}" if parts[1] == "stages" else parts[0]
        groups.setdefault("last norm" if group == "encoder" else group, []).append(parameter.grad)
    gradient = rival.template_gradient()
    return groups if gradient is None else groups | {"templates": [gradient]}
