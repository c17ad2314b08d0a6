"""The contract of a self-supervised learning method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import DataDescription, Size, StepInfo, StudyBatch
from brainmvp_lightning.methods.base import DataNeeds, LossTerms, SSLMethod
from brainmvp_lightning.methods.templates import ModalityTemplates
from brainmvp_lightning.testing.contracts import (
    check_gradients,
    check_options,
    check_state,
    expect,
    no_error,
    noise,
)
from brainmvp_lightning.testing.heads import SMALL_BACKBONE

MODALITIES = ("t2", "t1", "adc")
TRAINING = StepInfo(step=0, max_steps=10, epoch=0, max_epochs=10, is_training=True)
VALIDATION = StepInfo(step=0, max_steps=10, epoch=0, max_epochs=10, is_training=False)


def check_method(
    build: Callable[[Backbone], SSLMethod],
    *,
    backbone: Callable[[int], Backbone] = SMALL_BACKBONE,
    crop_size: Size = (16, 16, 16),
) -> None:
    """See that a method keeps what `SSLMethod` promises.

    Args:
        build: A `functools.partial` of the class with its options, or a function.
        backbone: Builds the network that it trains, for a number of input channels.
        crop_size: Voxels of a small crop that suits network and masking.

    Raises:
        ContractError: At the first broken promise.
    """
    check_options(build, SSLMethod, "the backbone")
    check = _Check(build, backbone, crop_size)
    check.description()
    check.terms()
    check.learning()
    check.pictures()
    check.repetition()
    check.shares()
    check.uneven_batches()
    check.state()
    check.half_precision()


def toy_batch(size: Size, *, num_partners: int = 3) -> StudyBatch:
    """Return four targets of which the first few after row 1 have partners: rows 0, 2 and 3."""
    rows = torch.tensor([0, 2, 3])[:num_partners]
    return StudyBatch(
        image=noise(4, 1, *size, seed=1),
        modality=torch.tensor([1, 0, 2, 1]),
        partner=noise(3, 1, *size, seed=2)[:num_partners],
        partner_rows=rows,
        partner_modality=torch.tensor([0, 1, 0])[:num_partners],
        origin=torch.tensor([[-4, -4, -4], [0, 0, 0], [-8, -2, 1], [-3, -5, -4]]),
        key=torch.tensor([11, 22, 33, 44]),
        weight=torch.full((4,), 0.25),
        num_studies=4,
        study=["a", "b", "c", "d"],
        faults=[],
    )


@dataclass(frozen=True)
class _Step:
    terms: LossTerms
    total: Tensor
    backbone: Backbone
    method: SSLMethod


class _Check:
    def __init__(
        self,
        build: Callable[[Backbone], SSLMethod],
        backbone: Callable[[int], Backbone],
        crop_size: Size,
    ) -> None:
        self.build = build
        self.backbone = backbone
        self.size = crop_size
        self.data = DataDescription(MODALITIES, (1.0, 2.0, 1.5), (3.0, -4.0, 5.0), crop_size)
        method = self.made()[1]
        self.name, self.needs = type(method).__name__, method.needs

    def made(self) -> tuple[Backbone, SSLMethod]:
        torch.manual_seed(0)
        network = self.backbone(1)
        with no_error("building the method", "it takes the backbone"):
            method = self.build(network)
        expect(
            isinstance(method, SSLMethod),
            f"the method is a {type(method).__name__}; derive it from "
            "brainmvp_lightning.methods.base.SSLMethod",
        )
        with no_error(f"{type(method).__name__}.prepare", "it takes such data"):
            method.prepare(self.data)
        return network, method

    def batch(self, num_partners: int = 3) -> StudyBatch:
        needs = self.needs
        batch = toy_batch(self.size, num_partners=num_partners if needs.needs_partner else 0)
        if needs.min_modalities > 1:  # then each target has a partner
            return _rows(batch, [0, 2, 3])
        return batch

    def step(self, batch: StudyBatch, info: StepInfo = TRAINING) -> _Step:
        network, method = self.made()
        with no_error(f"a step of {self.name}", "it takes such a batch"):
            terms = method.loss(network, method.views(batch, info), info)
        expect(
            isinstance(terms, LossTerms) and bool(terms.terms),
            f"{self.name}.loss returns {type(terms).__name__} without terms; expected LossTerms "
            "with at least one",
        )
        weights = method.weights(info)
        missing = [name for name in terms.terms if name not in weights]
        expect(
            not missing,
            f"{self.name}.weights has no factor for {', '.join(missing)}, which its loss names",
        )
        total = torch.stack([weights[name] * term for name, term in terms.terms.items()]).sum()
        return _Step(terms, total, network, method)

    def description(self) -> None:
        _, method = self.made()
        expect(
            isinstance(self.needs, DataNeeds),
            f"{self.name}.needs is a {type(self.needs).__name__}; expected a DataNeeds",
        )
        templates = method.learned_templates()
        expect(
            templates is None or isinstance(templates, ModalityTemplates),
            f"{self.name}.learned_templates() is a {type(templates).__name__}; expected a "
            "ModalityTemplates or None",
        )

    def terms(self) -> None:
        batch = self.batch()
        before = {name: v.clone() for name, v in batch.items() if isinstance(v, Tensor)}
        done = self.step(batch)
        changed = [name for name, v in before.items() if not torch.equal(v, batch[name])]  # type: ignore[literal-required]
        expect(
            not changed, f"{self.name} changes {', '.join(changed)} of its batch; work on a copy"
        )
        for name, term in done.terms.terms.items():
            expect(
                term.shape == () and bool(term.isfinite()) and term.requires_grad,
                f"term {name!r} of {self.name} is {term.detach()} (requires_grad="
                f"{term.requires_grad}); expected a finite scalar with a gradient",
            )
        scalars = {**done.terms.metrics, **done.method.step_metrics()}
        for name, metric in scalars.items():
            expect(
                isinstance(metric, Tensor) and metric.numel() == 1 and not metric.requires_grad,
                f"metric {name!r} of {self.name} is {metric!r}; expected a detached scalar tensor",
            )
        own = {id(parameter) for parameter in done.backbone.parameters()}
        expect(
            not own & {id(parameter) for parameter in done.method.parameters()},
            f"{self.name} keeps the backbone as a part of itself; the task owns and optimises it, "
            "and gives it to `loss`",
        )

    def learning(self) -> None:
        done = self.step(self.batch())
        done.total.backward()
        check_gradients(done.backbone, "the backbone", f"the loss of {self.name}")
        check_gradients(done.method, self.name, "its loss")
        groups = list(done.method.parameter_groups(1e-3))
        grouped = [id(parameter) for group in groups for parameter in group["params"]]
        trainable = [id(p) for p in done.method.parameters() if p.requires_grad]
        expect(
            len(grouped) == len(set(grouped)) and set(trainable) <= set(grouped),
            f"{self.name}.parameter_groups has {len(set(grouped) & set(trainable))} of "
            f"{len(trainable)} trainable parameters, in {len(grouped)} places; expected each once",
        )

    def pictures(self) -> None:
        expect(
            not self.step(self.batch()).terms.pictures,
            f"{self.name} makes pictures in training; make them only `if not step.is_training`",
        )
        pictures = self.step(self.batch(), VALIDATION).terms.pictures
        shapes = {name: tuple(volumes.shape) for name, volumes in pictures.items()}
        expect(
            len(set(shapes.values())) <= 1
            and all(len(shape) == 5 and shape[1] == 1 for shape in shapes.values()),
            f"{self.name} makes pictures of shapes {shapes}; expected n 1 x y z, the same for all",
        )
        attached = [name for name, volumes in pictures.items() if volumes.requires_grad]
        expect(not attached, f"picture {', '.join(attached)} of {self.name} is not detached")

    def repetition(self) -> None:
        _, method = self.made()
        method.eval()
        batch, state = self.batch(), torch.get_rng_state()
        with no_error(f"{self.name}.views", "it takes such a batch"):
            method.views(batch, TRAINING)
        expect(
            torch.equal(state, torch.get_rng_state()),
            f"{self.name}.views uses torch's global generator; draw from "
            "CountedRandom(batch['key']), so that a run repeats",
        )
        first, second = (self.step(self.batch()).terms.terms for _ in range(2))
        self.same(first, second, "differ between two steps on the same batch")
        batch = self.batch()
        batch["key"] = batch["key"] + 1000
        other = self.step(batch).terms.terms
        expect(
            any(not torch.equal(first[name], other[name]) for name in first),
            f"{self.name} has the same loss for other keys; draw what it corrupts from "
            "CountedRandom(batch['key'])",
        )

    def same(self, first: dict[str, Tensor], second: dict[str, Tensor], what: str) -> None:
        wrong = [n for n in first if not torch.allclose(first[n], second[n], rtol=1e-4, atol=1e-6)]
        expect(not wrong, f"terms {', '.join(wrong)} of {self.name} {what}")

    def shares(self) -> None:
        def terms(value: float) -> dict[str, Tensor]:
            batch = self.batch()
            batch["weight"] = torch.full_like(batch["weight"], 1 / (len(batch["weight"]) - 1))
            batch["weight"][-1] = 0
            batch["image"][-1] = value
            return self.step(batch).terms.terms

        what = "depend on a row of weight 0, which pads a batch; multiply each sample's loss by "
        self.same(terms(0.25), terms(0.75), f"{what}batch['weight'], and sum")

    def uneven_batches(self) -> None:
        """Take what an epoch has at its end: one row, or no partner at all."""
        batch = self.batch()
        batches = [_rows(batch, [0])]
        if self.needs.min_modalities == 1:
            batches.append(self.batch(num_partners=0))
        for small in batches:
            done = self.step(small)
            for name, term in done.terms.terms.items():
                expect(
                    bool(term.isfinite()),
                    f"term {name!r} of {self.name} is {term.detach()} for a batch of "
                    f"{len(small['image'])} targets with {len(small['partner'])} partners",
                )

    def state(self) -> None:
        first, second = self.made(), self.made()
        with torch.no_grad():
            for parameter in second[1].parameters():
                parameter.add_(1)
        check_state(first[1], second[1], self.name)
        one, other = (
            method.loss(first[0], method.views(self.batch(), TRAINING), TRAINING).terms
            for method in (first[1], second[1])
        )
        self.same(one, other, "differ between two of it with the same state")

    def half_precision(self) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            done = self.step(self.batch())
        for name, term in done.terms.terms.items():
            expect(
                term.dtype == torch.float32 and bool(term.isfinite()),
                f"term {name!r} of {self.name} is {term.detach()} in {term.dtype} under bfloat16 "
                "autocast; expected a finite float32",
            )
        done.total.backward()
        check_gradients(done.method, self.name, "its loss under bfloat16 autocast")


def _rows(batch: StudyBatch, rows: list[int]) -> StudyBatch:
    """Return some targets of a batch with their partners, as equal shares."""
    kept: Any = {
        name: value[rows]
        for name, value in batch.items()
        if isinstance(value, Tensor) and not name.startswith("partner")
    }
    partners = [i for i, row in enumerate(batch["partner_rows"].tolist()) if row in rows]
    places = [rows.index(int(batch["partner_rows"][i])) for i in partners]
    kept["partner"] = batch["partner"][partners]
    kept["partner_modality"] = batch["partner_modality"][partners]
    kept["partner_rows"] = torch.tensor(places, dtype=torch.int64)
    kept["weight"] = torch.full((len(rows),), 1 / len(rows))
    kept |= {"num_studies": len(rows), "study": [batch["study"][r] for r in rows], "faults": []}
    made: StudyBatch = kept
    return made
