"""What the paper and its published code use, option by option; no torch, no Lightning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OPEN = "not given"
"""Value of an option that the paper says nothing of."""


@dataclass(frozen=True)
class PaperFact:
    """The value of an option.

    Attributes:
        option: As on the command line, such as ``data.crop_size``.
        paper: The paper's value; `OPEN` if it gives none.
        place: Where it stands.
        published: The published code's value, if that is another one.
        ours: What we use where the paper gives none.
        also: Other values that come to the same.
    """

    option: str
    paper: Any
    place: str
    published: Any = None
    ours: Any = None
    also: tuple[Any, ...] = ()

    @property
    def expected(self) -> Any:  # noqa: ANN401 - of any option
        """The value that is no departure."""
        return self.ours if self.paper == OPEN else self.paper


@dataclass(frozen=True)
class Departure:
    """An option that differs from the paper.

    Attributes:
        fact: What the paper says.
        here: The value of the configuration.
    """

    fact: PaperFact
    here: Any

    @property
    def is_published(self) -> bool:
        """Whether it is what the published code does."""
        return self.fact.published is not None and same(self.here, self.fact.published)


F = PaperFact


def _optimiser(place: str) -> tuple[PaperFact, ...]:
    return (
        F("model.optimizer.learning_rate", 3e-4, place),
        F("model.optimizer.betas", [0.9, 0.999], "AdamW's own; the paper names no others"),
        F("model.optimizer.warmup_epochs", 0.0, "published script"),
        F("model.optimizer.final_fraction", 0.0, f"{place}, cosine decay"),
    )


PRECISION = F(
    "trainer.precision", OPEN, "published code, without autocast", "32-true", "bf16-mixed"
)

LENGTH = (
    F("trainer.max_steps", -1, "the paper counts epochs", also=(None,)),
    F("trainer.limit_train_batches", None, "every study in each epoch"),
    F("trainer.overfit_batches", 0.0, "every study in each epoch"),
    F("trainer.fast_dev_run", False, "the whole run", also=(0,)),
    F("trainer.gradient_clip_val", None, "the paper names no clipping", also=(0, 0.0)),
)
"""What makes a training another one without a word in the paper."""

PRETRAINING = (
    F("trainer.max_epochs", 1500, "section 4.1"),
    *LENGTH,
    F("trainer.accumulate_grad_batches", 1, "section 4.1: 8 GPUs x 3", published=2),
    PRECISION,
    F("model.backbone", "uniformer_small", "networks of the paper", also=("unet3d",)),
    F("model.method", "brainmvp", "section 3"),
    F("model.method.masking", "random_cubes", "Algorithm 1", published="grid_blocks"),
    F("model.method.masking.block_size", 8, "Algorithm 1"),
    F("model.method.masking.ratio", 0.875, "Algorithm 1", published=0.8),
    F(
        "model.method.masking.rounding",
        OPEN,
        "whole blocks of a share",
        published="floor_visible",
        ours="nearest",
    ),
    F("model.method.templates.shape", [240, 240, 155], "published templates"),
    F("model.method.templates.rescale", "raw", "section 3.2", published="minmax"),
    F("model.method.templates.start", 0.0, "section 3.2"),
    F("model.method.templates.smooth_gradient", 0.0, "section 3.2"),
    F("model.method.templates.lr_scale", 1.0, "the paper names no rate of their own"),
    F("model.method.templates.weight_decay", OPEN, "our choice", ours=0.0),
    F("model.method.partner_start_epoch", 0, "equation 2", published=301, also=(1,)),
    F("model.method.share_decoder", True, "equations 2 and 3"),
    F("model.method.same_mask", False, "Algorithm 1"),
    F("model.method.cross_modal", "reconstruction", "equation 2"),
    F("model.method.cross_modal.weight", 1.0, "equation 6"),
    F("model.method.cross_modal.start_epoch", 0, "equation 6"),
    F("model.method.distillation", "reconstruction", "equation 3"),
    F("model.method.distillation.weight", 1.0, "equation 6, lambda_MD", published=10.0),
    F("model.method.distillation.start_epoch", 0, "equation 6"),
    F("model.method.contrast", "info_nce", "equations 4 and 5"),
    F("model.method.contrast.weight", 1.0, "equation 6, lambda_CL"),
    F("model.method.contrast.start_epoch", 1000, "section 4.1"),
    F("model.method.contrast.temperature", OPEN, "equations 4 and 5", published=1.0, ours=0.1),
    F(
        "model.method.contrast.embedding",
        OPEN,
        "equations 4 and 5",
        published="flattened",
        ours="pooled",
    ),
    F("model.method.contrast.projector_width", OPEN, "equations 4 and 5", ours=None),
    F("model.method.contrast.gather", True, "equations 4 and 5, the whole batch", published=False),
    *_optimiser("section 4.1"),
    F("model.optimizer.weight_decay", 1e-5, "section 4.1"),
    F("data.crop_size", [96, 96, 96], "supplement B.1"),
    F("data.batch_size", 3, "section 4.1, on each of 8 GPUs"),
    F("data.clip.lower", 1.0, "supplement B.1", published=5.0),
    F("data.clip.upper", 99.0, "supplement B.1", published=95.0),
    F("data.clip.over", OPEN, "supplement B.1", published="volume", ours="foreground"),
    F("data.placement", "centre", "published code"),
    F("data.crop_centre", 0.5, "supplement B.1", published="box"),
    F("data.modalities_per_step", "1", "equation 6, as an estimate", also=(1, "all")),
    F("data.min_modalities", 1, "equation 6", published=2),
    F("data.shared_modality", False, "equation 6", published=True),
    F("data.series_per_study", None, "equation 6", published=4),
    F("data.modalities", None, "equation 6, all"),
    F("data.dataset_temperature", 1.0, "equation 6"),
    F("data.dataset_weights", None, "equation 6"),
    F("data.modality_balance", 0.0, "equation 6"),
    F("data.crops_per_visit", 1, "equation 6"),
    F("data.visits_per_epoch", 1, "section 4.1"),
)

FINE_TUNING = (
    PRECISION,
    *LENGTH,
    *_optimiser("supplement B.2 and B.3"),
    F(
        "model.backbone",
        "uniformer_small",
        "networks of the paper",
        also=("unet3d", "unetr", "swin_unetr"),
    ),
    # There only where it is null.
    F("model.substitution", "two copies", "supplement A, equations 7 and 8"),
    F("model.substitution.weight", 0.1, "supplement A, lambda_cons"),
    F(
        "model.substitution.consistency",
        "features",
        "supplement A, equation 8",
        published="outputs",
    ),
    F("model.substitution.levels", "last", "supplement A, equation 8"),
    F("model.substitution.least_replaced", 0, "supplement A, a random number"),
    F("model.augmentation.flip", 0.5, "supplement B.2"),
    F("model.augmentation.shift", 0.1, "supplement B.2"),
    F("model.augmentation.scale", 0.1, "supplement B.2"),
    F("model.window.flips", False, "supplement B.2, none"),
    F("model.freeze", "none", "supplement B, all weights learn"),
    F("model.layer_decay", 1.0, "supplement B, one learning rate"),
    F("model.ema", None, "supplement B, none"),
    F("data.clip.lower", 5.0, "supplement B.2"),
    F("data.clip.upper", 95.0, "supplement B.2"),
    F("data.clip.over", "volume", "supplement B.2"),
    F("data.min_modalities", 1, "supplement A"),
    F("data.label_fraction", 1.0, "label efficiency: 0.2 to 0.8"),
    F("data.visits_per_epoch", 1, "supplement B.2"),
)

SEGMENTATION = (
    F("trainer.max_epochs", 500, "supplement B.2"),
    F("trainer.accumulate_grad_batches", 1, "supplement B.2"),
    *FINE_TUNING,
    F("model.window.overlap", 0.5, "supplement B.2"),
    F("model.window.blend", OPEN, "supplement B.2", published="constant", ours="gaussian"),
    F("model.loss.dice", 1.0, "supplement A, a Dice-type loss"),
    F("model.loss.cross_entropy", OPEN, "supplement A", ours=1.0),
    F("data.crop_size", [96, 96, 96], "supplement B.2"),
    F("data.batch_size", 3, "supplement B.2"),
    F("data.label_share", 0.0, "supplement B.2, crops may lie anywhere"),
    F("data.crops_per_visit", 1, "supplement B.2"),
    F("data.placement", "centre", "published code"),
)

CLASSIFICATION = (
    F("trainer.max_epochs", 200, "supplement B.3"),
    *FINE_TUNING,
    F("model.class_weights", False, "supplement A, plain cross entropy"),
    F("model.label_smoothing", 0.0, "supplement A, plain cross entropy"),
    F("data.resized_to", [128, 128, 64], "supplement B.3"),
    F("data.crop_size", [96, 96, 64], "supplement B.3"),
)

FACTS: Mapping[str, Sequence[PaperFact]] = {
    "PretrainTask": PRETRAINING,
    "SegmentationTask": SEGMENTATION,
    "ClassificationTask": CLASSIFICATION,
}
"""What the paper says of each task."""

WEIGHT_DECAY = {"unetr": 1e-3, "unet3d": 1e-5}
"""Of fine-tunings, by backbone; 1e-4 for UniFormer and Swin-UNETR. Source: supplement B.2."""

EFFECTIVE_BATCH = {"PretrainTask": 24, "SegmentationTask": 3, "ClassificationTask": 64}
"""Studies a step. Source: section 4.1 (8 x 3), supplement B.2 and B.3."""


def departures(task: str, options: Mapping[str, Any]) -> list[Departure]:
    """Return the options that differ from the paper.

    Args:
        task: Name of the task.
        options: All options by dotted path, classes by their name; one that a chosen class does not
            have is left out.
    """
    found = []
    for fact in (*FACTS.get(task, ()), *_of_backbone(task, options)):
        if fact.option not in options:
            continue
        here = options[fact.option]
        if not any(same(here, value) for value in (fact.expected, *fact.also)):
            found.append(Departure(fact, here))
    return found


def _of_backbone(task: str, options: Mapping[str, Any]) -> list[PaperFact]:
    backbone, found = str(options.get("model.backbone")), []
    if backbone.startswith("uniformer"):  # it has batch norms
        place = "statistics of each process or of all"
        found.append(PaperFact("trainer.sync_batchnorm", OPEN, place, published=False, ours=True))
    if task in ("SegmentationTask", "ClassificationTask"):
        decay = WEIGHT_DECAY.get(backbone, 1e-4)
        found.append(PaperFact("model.optimizer.weight_decay", decay, "supplement B.2"))
    return found


def same(here: Any, there: Any) -> bool:  # noqa: ANN401 - values of options
    """Tell whether two values are the same; lists and tuples, 1 and 1.0 are, 1 and true are not."""
    if isinstance(here, (list, tuple)) and isinstance(there, (list, tuple)):
        return len(here) == len(there) and all(map(same, here, there))
    return bool(here == there) and isinstance(here, bool) == isinstance(there, bool)
