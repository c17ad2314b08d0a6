"""A trainer goes on in the middle of an epoch with the crops that would have come next."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from brainmvp_lightning.batches import LabelledBatch, VolumeBatch
from brainmvp_lightning.datamodules.classification import ClassificationDataModule
from brainmvp_lightning.datamodules.labelled import LabelledDataModule
from brainmvp_lightning.datamodules.segmentation import SegmentationDataModule
from brainmvp_lightning.datamodules.whole_volume import WholeVolumeDataModule
from tests.training import small_trainer

Seen = list[tuple[Any, ...]]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*studies are left out.*"),
    pytest.mark.filterwarnings("ignore:.*no last checkpoint available.*"),
]


class Listener(pl.LightningModule):
    """Learns one number and notes what it was given."""

    def __init__(self, cut_at: int = -1) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.cut_at = cut_at
        self.seen: dict[int, Seen] = {}
        self.validated: list[list[str]] = []
        self.predicted: list[VolumeBatch] = []

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> Tensor:
        if self.global_step == self.cut_at:
            raise RuntimeError("cut")
        keys, starts = batch["key"].tolist(), batch["start"].tolist()
        self.seen[self.global_step] = [*zip(batch["study"], keys, map(tuple, starts), strict=True)]
        return (batch["image"].mean() - self.level) ** 2

    def validation_step(self, batch: VolumeBatch, batch_idx: int) -> None:
        self.validated.append(batch["study"])

    def predict_step(self, batch: VolumeBatch, batch_idx: int) -> Tensor:
        self.predicted.append(batch)
        return batch["weight"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def segmentation(cache: Path, **options: Any) -> LabelledDataModule:
    return SegmentationDataModule(
        str(cache), datasets=["tumour"], crop_size=(8, 8, 8), batch_size=1, **options
    )


def classification(cache: Path, **options: Any) -> LabelledDataModule:
    return ClassificationDataModule(
        str(cache), resized_to=(8, 8, 8), crop_size=(6, 6, 6), batch_size=2, **options
    )


@pytest.mark.parametrize("make", [segmentation, classification])
def test_an_interrupted_run_sees_what_an_uninterrupted_one_sees(
    labelled: Path, tmp_path: Path, make: Any
) -> None:
    whole, cut, rest = Listener(), Listener(cut_at=4), Listener()
    small_trainer(tmp_path / "whole").fit(whole, make(labelled, num_workers=0))
    with pytest.raises(RuntimeError, match="cut"):
        small_trainer(tmp_path / "cut").fit(cut, make(labelled, num_workers=0))
    trainer = small_trainer(tmp_path / "cut")
    trainer.fit(rest, make(labelled, num_workers=2), ckpt_path="last")
    assert sorted(whole.seen) == list(range(9))  # three steps in each of three epochs
    assert sorted(rest.seen) == list(range(4, 9))
    assert {**cut.seen, **rest.seen} == whole.seen
    assert len({key for step in whole.seen.values() for _, key, _ in step}) >= 9
    assert ["d"] in whole.validated or ["d", "d"] in whole.validated


def test_a_trainer_hands_whole_volumes_on_with_their_geometry(
    labelled: Path, tmp_path: Path
) -> None:
    listener = Listener()
    data = WholeVolumeDataModule(str(labelled), split="val", crop_size=(8, 8, 8), num_workers=2)
    small_trainer(tmp_path).predict(listener, data)
    assert [batch["study"] for batch in listener.predicted] == [["d"], ["small"]]
    geometry = listener.predicted[0]["geometry"][0]
    assert geometry["box_start"] == [3, 2, 1]
    assert [file["modality"] for file in geometry["scans"]] == ["flair", "t1", "t2"]
