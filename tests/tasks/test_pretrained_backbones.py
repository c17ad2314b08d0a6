"""From a pre-training to a fine-tuning: every backbone, through the file between them."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.callbacks.encoder_export import EncoderExport
from brainmvp_lightning.datamodules.segmentation import SegmentationDataModule
from brainmvp_lightning.heads.contrastive import InfoNCEHead
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.pretrain import PretrainTask
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from brainmvp_lightning.weights.export import read_weights
from brainmvp_lightning.weights.transfer import TransferReport
from tests.datamodules.labelled_cohort import write_cohort
from tests.tasks.fine_tuning import QUIET, segmentation_data, trainer
from tests.training import TEMPLATES, small_data

pytestmark = QUIET
CROP = (16, 16, 16)
EACH_COUNT = pytest.mark.parametrize("modalities", [("t1",), ("t1", "t2", "flair")], ids=len)


@dataclass(frozen=True)
class Network:
    """A backbone by name, and crops that are not one voxel at its coarsest level."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    crop_size: tuple[int, int, int] = CROP

    def factory(self) -> Any:
        return partial(BACKBONES.get(self.name), **self.options)


NETWORKS = (
    Network("uniformer_tiny", {"widths": (8, 8, 16, 16), "depths": (1,) * 4, "head_width": 8}),
    Network("unet3d", {"widths": (8, 16), "depths": (1, 1)}),
    Network(
        "unetr",
        {
            "image_size": (32, 16, 16),
            "hidden_width": 12,
            "num_layers": 4,
            "num_heads": 2,
            "mlp_width": 16,
            "fine_width": 2,
        },
        (32, 16, 16),
    ),
    Network(
        "swin_unetr",
        {"width": 6, "depths": (1,) * 4, "num_heads": (1, 2, 2, 2), "window_size": 2},
        (64, 32, 32),
    ),
)


@dataclass(frozen=True)
class Pretrained:
    """A network, and the file that its pre-training wrote."""

    network: Network
    start: dict[str, Tensor]
    """The encoder before the first step."""
    path: Path

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of ``"encoder"`` or ``"decoder"``, by name in it."""
        tensors, prefix = read_weights(self.path)[0], f"{name}."
        return {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.name)
def pretrained(
    request: pytest.FixtureRequest, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Pretrained:
    """One step of pre-training."""
    network: Network = request.param
    folder = tmp_path_factory.mktemp(network.name)
    task = pretraining_task(network)
    start = clone(task.backbone.state_dict())
    runner = trainer(folder, EncoderExport(), steps=1, limit_val_batches=0)
    runner.fit(task, small_data(cache_folder, crop_size=network.crop_size))
    return Pretrained(network, start, folder / "encoder.safetensors")


def pretraining_task(network: Network) -> PretrainTask:
    """All three losses of BrainMVP."""
    pl.seed_everything(5, verbose=False)
    method = partial(
        BrainMVP,
        masking=GridBlocks(block_size=4, ratio=0.75),
        templates=TEMPLATES,
        contrast=partial(InfoNCEHead, temperature=0.5, projector_width=4),
    )
    return PretrainTask(network.factory(), method, AdamWOptions(learning_rate=1e-2))


def clone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def fine_tuning(
    pretrained: Pretrained, cohort: Path, modalities: tuple[str, ...]
) -> tuple[SegmentationTask, SegmentationDataModule]:
    """A task that has taken the file over, with the default head, and its data."""
    network = pretrained.network
    task = SegmentationTask(
        network.factory(),
        weights=str(pretrained.path),
        optimizer=AdamWOptions(learning_rate=1e-2),
    )
    data = segmentation_data(
        cohort, modalities=list(modalities), crop_size=network.crop_size, batch_size=1
    )
    task.check(data, validates=False)
    return task, data


def outcome(task: SegmentationTask) -> tuple[FineTunedModel, TransferReport]:
    assert task.model is not None
    assert task.report is not None
    return task.model, task.report


def test_the_file_holds_every_tensor_of_the_encoder_as_the_step_left_it(
    pretrained: Pretrained,
) -> None:
    encoder = pretrained.part("encoder")
    assert encoder.keys() == pretrained.start.keys()
    parameters = {name for name, _ in pretrained.network.factory()(1).named_parameters()}
    assert parameters <= changed(pretrained.start, encoder)


@EACH_COUNT
def test_the_whole_encoder_arrives_and_its_stem_answers_equal_channels_as_before(
    pretrained: Pretrained, cohort: Path, modalities: tuple[str, ...]
) -> None:
    model, report = outcome(fine_tuning(pretrained, cohort, modalities)[0])
    encoder, stems = pretrained.part("encoder"), set(model.backbone.stems)
    assert report.coverage == report.usage == 1.0
    assert not report.notes
    is_inflated = len(modalities) > 1
    assert {fate.name: fate.is_filled for fate in report.of("backbone")} == dict.fromkeys(
        encoder, True
    )
    adapted = {fate.name for fate in report.of("backbone") if fate.is_adapted}
    arrived = model.backbone.state_dict()
    assert adapted == changed(encoder, arrived) == (stems if is_inflated else set())
    for name in stems:
        each = encoder[name] / len(modalities)  # o 1 ..., of each channel
        torch.testing.assert_close(arrived[name], each.expand_as(arrived[name]))


@EACH_COUNT
def test_the_head_a_backbone_is_paired_with_starts_from_the_reconstruction_decoder(
    pretrained: Pretrained, cohort: Path, modalities: tuple[str, ...]
) -> None:
    model, report = outcome(fine_tuning(pretrained, cohort, modalities)[0])
    assert isinstance(model.head, HEADS.implementation(model.backbone.segmentation_head))
    names = model.head.pretrained_names()
    assert names
    assert {fate.name for fate in report.of("head") if fate.is_filled} == names.keys()
    decoder, head = pretrained.part("decoder"), model.head.state_dict()
    assert all(torch.equal(head[own], decoder[name]) for own, name in names.items())


@EACH_COUNT
def test_one_step_moves_every_parameter_that_is_to_be_trained(
    pretrained: Pretrained, cohort: Path, tmp_path: Path, modalities: tuple[str, ...]
) -> None:
    task, data = fine_tuning(pretrained, cohort, modalities)
    model = outcome(task)[0]
    before = clone(model.state_dict())
    trainer(tmp_path, steps=1, limit_val_batches=0).fit(task, datamodule=data)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {name for name, _ in model.backbone.named_parameters("backbone")} <= trained
    assert trained <= changed(before, model.state_dict())
