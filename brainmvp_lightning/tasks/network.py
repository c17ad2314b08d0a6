"""A task that has a fine-tuned network: its checkpoints, average, test and prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from brainmvp_lightning.batches import LabelledBatch, VolumeBatch
from brainmvp_lightning.evaluation.headline import headline
from brainmvp_lightning.inference.model import FineTunedModel, ModelTask
from brainmvp_lightning.inference.sliding_window import WindowOptions
from brainmvp_lightning.inference.writing import StudyPrediction, without_padding
from brainmvp_lightning.tasks.agreement import (
    centre_shift,
    check_same_data,
    check_same_network,
    recipe_differences,
)
from brainmvp_lightning.tasks.averaging import average_of
from brainmvp_lightning.tasks.base import SetupError, Task
from brainmvp_lightning.tasks.gathering import gather_rows
from brainmvp_lightning.tasks.rows import modality_subsets, scored_rows
from brainmvp_lightning.volumes.records import CachedStudy


class NetworkTask(Task):
    """Keeps a network, which it builds again from its own checkpoints, scores and predicts with.

    Args:
        window: How whole volumes are predicted.
        freezes_encoder: Whether the backbone stays as it is.
        ema: Decay of an exponential moving average of the weights, which then is what is scored.
        subsets: Whether the test repeats each study with every subset of its modalities.
    """

    kind: ClassVar[ModelTask]
    monitor: ClassVar[str]
    """Metric by which the best checkpoint is chosen; higher is better."""

    def __init__(
        self, *, window: WindowOptions, freezes_encoder: bool, ema: float | None, subsets: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.freezes_encoder = freezes_encoder
        self.ema_decay = ema
        self.subsets = subsets
        self.model: FineTunedModel | None = None
        self.ema: AveragedModel | None = None
        self._shift = (0, 0, 0)
        self.cases: list[Any] = []
        """Rows of the table of the latest test; of all processes once it has ended."""

    @property
    def scored(self) -> FineTunedModel:
        """The network that is validated, tested and predicted with.

        Raises:
            SetupError: If there is none yet.
        """
        if self.model is None:
            raise SetupError(
                f"{type(self).__name__} has no network yet; give a checkpoint with --ckpt_path, or "
                "fit first"
            )
        averaged: Any = self.ema.module if self.ema is not None else self.model
        network: FineTunedModel = averaged
        return network

    def take_model(self, model: FineTunedModel, *, averages: bool) -> None:
        """Make a network the one of this task, and begin its average if there is to be one."""
        self.model = model
        model.head.limit_auxiliary(self.num_auxiliary)
        if self.freezes_encoder:
            model.backbone.requires_grad_(False)
        ignored = [f"model.{name}" for name, _ in model.named_buffers() if "templates." in name]
        if averages:
            self.ema = average_of(self.model, self.ema_decay or 0.0)
            ignored += [f"ema.{name}" for name in self.ema.state_dict()]
        # Else all processes would send these, which are the same everywhere, in each step.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, ignored)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to build the network again."""
        super().on_save_checkpoint(checkpoint)
        assert self.model is not None
        checkpoint["model_spec"] = self.model.spec()
        checkpoint["ema"] = self.ema is not None
        checkpoint["freezes_encoder"] = self.freezes_encoder

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network of a checkpoint, or see that it is the one we have.

        Raises:
            SetupError: If it is another one.
        """
        spec = checkpoint.get("model_spec")
        if not isinstance(spec, Mapping) or spec.get("task") != self.kind:
            raise SetupError(
                f"the checkpoint holds no network for {self.kind}; give one that "
                f"{type(self).__name__} wrote, and start from weights with --model.weights"
            )
        if self.model is None:
            if self.resumes:
                self._check_resumed(checkpoint)
                self.check_configured(spec)
            try:
                model = FineTunedModel.from_spec(spec)
            except (ValueError, TypeError) as error:
                raise SetupError(
                    f"the network of the checkpoint cannot be built: {error}"
                ) from error
            self.take_model(model, averages=bool(checkpoint.get("ema")))
        else:
            check_same_network(self.model.spec(), spec)

    def _check_resumed(self, checkpoint: Mapping[str, Any]) -> None:
        averages, freezes = self.ema_decay is not None, self.freezes_encoder
        for option, asked, found in (
            ("model.ema", averages, bool(checkpoint.get("ema"))),
            ("model.freeze: encoder", freezes, bool(checkpoint.get("freezes_encoder", freezes))),
        ):
            if asked != found:
                raise SetupError(
                    f"the run that is to go on was started {'with' if found else 'without'} "
                    f"{option}; keep that, or start a new run with --model.weights"
                )

    def check_configured(self, spec: Mapping[str, Any]) -> None:
        """Raise a `SetupError` if a run goes on from a checkpoint of another network."""

    def train(self, mode: bool = True) -> NetworkTask:
        """Switch to training; a frozen encoder stays as it is, and so does the average."""
        super().train(mode)
        if self.freezes_encoder and self.model is not None:
            self.model.backbone.eval()
        if self.ema is not None:
            self.ema.eval()
        return self

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Lightning's
        """Move the average after each step, before a checkpoint can be written."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update_parameters(self.model)  # type: ignore[arg-type]

    # --- scoring

    @property
    def num_auxiliary(self) -> int:
        """Auxiliary answers that are scored in training."""
        return 0

    def check_data(self, *, has_annotations: bool = True) -> None:
        """See that the data are those of the network, and find templates in their space.

        Raises:
            SetupError: If they are others.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        network, found = self.scored.description, data.describe()
        check_same_data(network, found, has_annotations)
        for difference in recipe_differences(network, found):
            self.report_fault(difference)
        self._shift = centre_shift(network, found)

    def on_validation_start(self) -> None:
        """See that the data are those of the network."""
        self.check_data()

    def on_test_start(self) -> None:
        """See that the data are those of the network."""
        self.check_data()

    def on_predict_start(self) -> None:
        """See that the modalities are those of the network."""
        self.check_data(has_annotations=False)

    def origins(self, batch: LabelledBatch) -> Tensor:
        """Return origins, ``b 3``, counted from the point that the network's templates are."""
        origin = batch["origin"]
        if not any(self._shift):
            return origin
        return origin + torch.tensor(self._shift, device=origin.device)

    def predict_row(self, batch: VolumeBatch, row: int, present: Tensor) -> Tensor:
        """Return the probabilities of one study of a batch: ``k x y z`` of its box, or ``k``.

        Args:
            batch: Whole volumes.
            row: Which of them.
            present: Modalities that the network may see, ``c``.
        """
        image, origin = batch["image"][row : row + 1], self.origins(batch)[row : row + 1]
        answer = self.scored.predict_volume(image, present[None], origin, self.window)[0]
        return without_padding(answer, batch["start"][row], batch["geometry"][row])

    def test_step(self, batch: VolumeBatch, batch_idx: int) -> None:
        """Score each study, with every subset of its modalities if asked."""
        del batch_idx
        self.report_faults(batch)
        for row in scored_rows(batch):
            for present in modality_subsets(batch["present"][row], every=self.subsets):
                self.cases += self.score(batch, row, present)

    @abstractmethod
    def score(self, batch: VolumeBatch, row: int, present: Tensor) -> list[Any]:
        """Return rows of the table of a test for one study and some of its modalities."""

    def on_test_epoch_start(self) -> None:
        """Forget the rows of an earlier test."""
        self.cases = []

    def on_test_epoch_end(self) -> None:
        """Bring the rows of all processes together, and log the means over them."""
        self.cases = gather_rows(self.cases)
        if self.cases:
            values = headline(self.cases)
            self.log_dict({f"test/{name}": value for name, value in values.items()})

    @abstractmethod
    def summarise(self) -> dict[str, Any]:
        """Return the summary of the latest test."""

    def predict_step(self, batch: VolumeBatch, batch_idx: int) -> list[StudyPrediction]:
        """Return the answers for the studies of a batch."""
        del batch_idx
        self.report_faults(batch)
        model = self.scored
        probabilities = model.predict_volume(
            batch["image"], batch["present"], self.origins(batch), self.window
        )
        return [
            StudyPrediction.of(batch, row, probabilities, model.description.modalities)
            for row in scored_rows(batch)
        ]

    def record_of(self, batch: VolumeBatch, row: int) -> CachedStudy:
        """Return what the cache knows of a study in a batch."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        record: CachedStudy = data.record(batch["study"][row])
        return record

    def names_of(self, present: Tensor) -> list[str]:
        """Return the names of modalities, ``c``."""
        names = zip(self.scored.description.modalities, present.tolist(), strict=True)
        return [name for name, is_there in names if is_there]
