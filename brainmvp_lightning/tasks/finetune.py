"""What fine-tuning has in common, whatever the task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import LabelledBatch, LabelledDescription
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.inference.components import component_spec
from brainmvp_lightning.inference.model import Answer, FineTunedModel, Missing
from brainmvp_lightning.inference.sliding_window import WindowOptions
from brainmvp_lightning.methods.augmentation import AugmentationOptions
from brainmvp_lightning.methods.substitution import SubstitutionOptions, consistency
from brainmvp_lightning.randomness import sample_key
from brainmvp_lightning.tasks.acceleration import accelerate
from brainmvp_lightning.tasks.agreement import check_same_parts
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.tasks.copies import TrainingViews, make_views
from brainmvp_lightning.tasks.network import NetworkTask
from brainmvp_lightning.tasks.optimisation import AdamWOptions, configure_adamw
from brainmvp_lightning.tasks.starting import Start
from brainmvp_lightning.tasks.tuning import layer_groups
from brainmvp_lightning.weights.transfer import TransferOptions, TransferReport


class FineTuneTask(NetworkTask):
    """Fine-tunes a backbone and a head on aligned modalities, with templates for missing ones.

    The network is built when the data are known: channels and outputs come from them. Checkpoints
    hold all that is needed to build it again (``model_spec``), so that prediction needs neither the
    weights it started from nor annotations.

    Args:
        backbone: Builds the network for a number of input channels.
        head: Builds what answers the task for a backbone and a number of outputs; by default the
            head that the authors of the backbone paired it with.
        weights: Where backbone, decoder and templates start from: an encoder file of ours, a
            checkpoint of a pre-training or fine-tuning, or a published one. None: from scratch.
        transfer: How weights for other channels are adapted, and how many must fit.
        templates: Modality templates, as a file of ours or a folder of NIfTI files, if not those of
            the weights.
        missing: What a missing modality is filled with, in training and later: ``"templates"`` or
            ``"zeros"``. By default templates, if there are any.
        substitution: How modalities are replaced by templates in two copies of each study, which
            must lead to the same features (equations 7 and 8). None: plain fine-tuning.
        augmentation: Flips and changes of intensity.
        window: How whole volumes are predicted.
        freeze: ``"encoder"`` trains the head alone: a linear probe, if the head is linear.
        layer_decay: Factor of the learning rate from each group of layers to the next shallower
            one; 1 for none.
        ema: Decay of an exponential moving average of the weights, such as 0.999, which then is
            validated, tested and predicted with; None for none.
        subsets: Whether the test repeats each study with every subset of its modalities.
        optimizer: Options of AdamW and its schedule.
        compile: Whether to compile blocks and parts of decoders with `torch.compile`; the name of
            a backend of it instead of true takes that one. The first steps take minutes longer.
        checkpointing: Whether blocks of the backbone are computed again in the backward pass, which
            takes less memory and more time.

    Raises:
        ValueError: If an option makes no sense.

    Source:
        BrainMVP, supplement A and B.
    """

    def __init__(  # noqa: PLR0913 - what a user may set, each on its own line of YAML
        self,
        backbone: Callable[[int], Backbone],
        head: Callable[[Backbone, int], TaskHead] | None = None,
        weights: str | None = None,
        transfer: TransferOptions = TransferOptions(),  # noqa: B008 - frozen
        templates: str | None = None,
        missing: Missing | None = None,
        substitution: SubstitutionOptions | None = None,
        augmentation: AugmentationOptions = AugmentationOptions(),  # noqa: B008 - frozen
        window: WindowOptions = WindowOptions(),  # noqa: B008 - frozen
        freeze: Literal["none", "encoder"] = "none",
        layer_decay: float = 1.0,
        ema: float | None = None,
        subsets: bool = False,
        optimizer: AdamWOptions = AdamWOptions(),  # noqa: B008 - frozen
        compile: bool | str = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(
            window=window, freezes_encoder=freeze == "encoder", ema=ema, subsets=subsets
        )
        if not 0 < layer_decay <= 1:
            raise ValueError(
                f"model.layer_decay is a factor above 0 and up to 1, got {layer_decay}"
            )
        if ema is not None and not 0 < ema < 1:
            raise ValueError(f"model.ema is a decay between 0 and 1, such as 0.999, got {ema}")
        self.save_hyperparameters()
        self.start = Start(
            backbone=self._part("backbone", backbone),
            head=self._part("head", head),
            weights=weights,
            transfer=transfer,
            templates=templates,
            missing=missing,
            substitution=substitution,
        )
        self.substitution = substitution
        self.augmentation = augmentation
        self.layer_decay = layer_decay
        self.optimizer_options = optimizer
        self.compile_with, self.checkpointing = compile, checkpointing
        self.report: TransferReport | None = None

    def _part(self, name: str, factory: Any) -> Any:  # noqa: ANN401 - a factory or its spec
        """Return what a configuration says of a part, or else the factory itself."""
        written = self.hparams.get(name)
        return written if isinstance(written, Mapping) and factory is not None else factory

    # --- before the first batch

    def check(self, data: Any, *, validates: bool) -> None:  # noqa: ANN401 - any data module
        """Look at data and weights, and build the network.

        Raises:
            ValueError: If they do not suit each other.
        """
        for split in ("train", "val") if validates else ("train",):
            data.studies(split)
        description = self.describe(data)
        if self.freezes_encoder and self.start.weights is None:
            rank_zero_warn(
                "model.freeze keeps an encoder that model.weights did not fill: it stays random"
            )
        if not self.resumes:
            self.build(description, int(getattr(data, "seed", 0)))

    def describe(self, data: Any) -> LabelledDescription:  # noqa: ANN401 - any data module
        """Return what the data are.

        Raises:
            SetupError: If they are not of the kind that this task needs.
        """
        description = data.describe() if data is not None else None
        if not isinstance(description, LabelledDescription):
            raise SetupError(
                f"{type(self).__name__} needs aligned modalities with annotations, which "
                f"{type(data).__name__} does not hand out; use {self.kind.title()}DataModule"
            )
        self.check_description(description)
        return description

    @abstractmethod
    def check_description(self, description: LabelledDescription) -> None:
        """Raise a `SetupError` if the data are for another task."""

    def build(self, description: LabelledDescription, seed: int) -> None:
        """Build the network for some data, with the weights it starts from.

        Raises:
            ValueError: If the weights, templates or crops do not suit.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sample_key(seed, "network"))
            model, self.report = self.start.build(description, self.kind)
        if self.report is not None:
            rank_zero_info(str(self.report))
        self.take_model(model, averages=self.ema_decay is not None)

    def take_model(self, model: FineTunedModel, *, averages: bool) -> None:
        """Make a network the one of this task, and choose how it and its average are run."""
        super().take_model(model, averages=averages)
        accelerate(self, compile=self.compile_with, checkpointing=self.checkpointing)

    def setup(self, stage: str) -> None:
        """Build the network for a new run; one that goes on is built from its checkpoint."""
        if stage == "fit" and self.model is None and not self.resumes:
            data: Any = getattr(self.trainer, "datamodule", None)
            self.build(self.describe(data), int(getattr(data, "seed", 0)))

    def check_configured(self, spec: Mapping[str, Any]) -> None:
        """Compare the network that was asked for with that of the checkpoint a run goes on from.

        Raises:
            SetupError: If they differ.
        """
        asked = {"backbone": component_spec(self.start.backbone), "head": spec["head"]}
        if self.start.head is not None:
            asked["head"] = component_spec(self.start.head)
        check_same_parts(asked, spec)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's union of many types
        """Return AdamW over the groups of layers."""
        assert self.model is not None
        options = self.optimizer_options
        groups = layer_groups(self.model, options.learning_rate, self.layer_decay)
        return configure_adamw(self, groups, options)

    # --- training

    def on_train_start(self) -> None:
        """See that the data are those of the network, which may be that of a checkpoint."""
        super().on_train_start()
        self.check_data()
        if self.freezes_encoder and self.model is not None:
            self.model.backbone.eval()  # Lightning leaves modes alone from here on

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> Tensor:
        """Return the loss of both copies and of their consistency (equations 7 and 8)."""
        del batch_idx
        assert self.model is not None
        views = make_views(
            self.model, batch, self.origins(batch), self.substitution, self.augmentation
        )
        answer = self.model(views.image, auxiliary=self.num_auxiliary > 0)
        share = batch["weight"].repeat(views.num_copies)
        terms = self.supervise(answer, batch, views, share)
        total = terms.pop("total")
        if views.num_copies == 2 and self.substitution is not None and self.substitution.weight > 0:
            terms["consistency"] = self._consistency(answer, batch["weight"])
            total = total + self.substitution.weight * terms["consistency"]
        self.check_finite({**terms, "total": total}, batch)
        self._log_training({**terms, "total": total, **views.metrics}, batch)
        self.report_faults(batch)
        return total

    @abstractmethod
    def supervise(
        self, answer: Answer, batch: LabelledBatch, views: TrainingViews, share: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss terms against the annotation, and their ``total``.

        Args:
            answer: Of all copies, ``n*b ...``.
            batch: Has the annotation of ``b`` samples.
            views: How often, and how flipped, they are in `answer`.
            share: Of each copy in the loss, ``n*b``.
        """

    def _consistency(self, answer: Answer, share: Tensor) -> Tensor:
        assert self.substitution is not None
        levels = (
            answer.features if self.substitution.consistency == "features" else answer.logits[:1]
        )
        halves = [level.chunk(2) for level in levels]
        first, second = [half[0] for half in halves], [half[1] for half in halves]
        return consistency(first, second, share, self.substitution)

    def _log_training(self, scalars: Mapping[str, Tensor], batch: LabelledBatch) -> None:
        values = {f"train/{name}": value.detach().float() for name, value in scalars.items()}
        self.log_dict(values, batch_size=batch["num_studies"], on_step=True, on_epoch=False)
        self.log("train/loss", values["train/total"], prog_bar=True, logger=False, batch_size=1)
