"""A prediction run leaves labels on the grids of its images."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from brainmvp_lightning.callbacks.prediction_writer import PredictionWriter
from brainmvp_lightning.datamodules.whole_volume import WholeVolumeDataModule
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.inference.sliding_window import WindowOptions
from brainmvp_lightning.inference.writing import StudyPrediction
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.volumes.cache import Cache, Clip
from tests.inference.tiny_networks import describe, make_classifier, make_model

CLIP = Clip(0.0, 100.0, "volume")


class Predicting(pl.LightningModule):
    def __init__(self, model: FineTunedModel) -> None:
        super().__init__()
        self.model = model
        self.window = WindowOptions(overlap=0.25, flips="x")

    def predict_step(self, batch: Any) -> list[StudyPrediction]:
        answer = self.model.predict_volume(
            batch["image"], batch["present"], batch["origin"], self.window
        )
        modalities = self.model.description.modalities
        rows = range(len(batch["study"]))
        return [StudyPrediction.of(batch, row, answer, modalities) for row in rows]


def predict(
    model: FineTunedModel, writer: PredictionWriter, cache_folder: Path, run: Path, **data: Any
) -> tuple[Any, pl.Trainer]:
    trainer = pl.Trainer(
        accelerator="cpu",
        default_root_dir=run,
        logger=False,
        callbacks=[writer],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    options = {"split": "val", "num_workers": 0, "crop_size": (16, 16, 16), **data}
    module = WholeVolumeDataModule(str(cache_folder), **options)
    return trainer.predict(Predicting(model), datamodule=module), trainer


def test_labels_and_chances_lie_on_the_files_they_are_of(
    cache: Cache, cache_folder: Path, tmp_path: Path
) -> None:
    model = make_model(describe(("t1", "t2", "flair")), gain=1000.0, levels=(0.0, 0.25))
    writer = PredictionWriter(probabilities=True, grid="flair")
    clip = {"clip": CLIP, "modalities": ["t1", "t2", "flair"]}
    kept, _ = predict(model, writer, cache_folder, tmp_path, **clip)
    assert not kept  # volumes do not pile up in memory
    (study,) = [s for s in cache.studies if s.split == "val" and "flair" in s.modalities]
    raw = cache_folder.parent / "f"
    channels = []
    for name in ("t1", "flair"):
        low, high = study.scan(name).bounds(CLIP)
        image = nib.load(raw / f"f_{name}.nii.gz")
        channels.append(np.clip((image.get_fdata() - low) / (high - low), 0, 1))
    expected = np.sum(channels, axis=0) / 3 > 0.25  # t2 is missing
    label = nib.load(tmp_path / "predictions" / f"{study.id}_seg.nii.gz")
    np.testing.assert_array_equal(label.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(label.dataobj), expected)
    assert expected.sum() > 1000
    facts = json.loads((tmp_path / "predictions" / f"{study.id}_seg.json").read_text())
    assert facts["reference"]["modality"] == "flair"
    path = Path(facts["reference"]["relative_to"]) / facts["reference"]["path"]
    assert path.resolve() == (raw / "f_flair.nii.gz").resolve()
    assert facts["missing"] == {"t2": "zeros"}
    written = [path.name for path in (tmp_path / "predictions").glob(f"{study.id}_prob-*.nii.gz")]
    assert sorted(facts["probabilities"].values()) == sorted(written)
    assert list(facts["probabilities"]) == ["background", "lesion"]


def test_a_study_without_the_asked_file_takes_its_first(cache_folder: Path, tmp_path: Path) -> None:
    model = make_model(describe(("t1", "t2")))
    predict(model, PredictionWriter(grid="label"), cache_folder, tmp_path, modalities=["t1", "t2"])
    facts = {p.name[-10:]: json.loads(p.read_text()) for p in tmp_path.rglob("*.json")}
    assert {f["reference"]["modality"] for f in facts.values()} == {"t1", "t2"}
    assert {tuple(f["missing"].items()) for f in facts.values()} == {
        (("t1", "zeros"),),
        (("t2", "zeros"),),
    }


def test_a_classification_is_one_json_file_for_each_study(
    cache_folder: Path, tmp_path: Path
) -> None:
    model = make_classifier(modalities=("t1", "t2"))
    data = {"modalities": ["t1", "t2"], "resized_to": (16, 16, 16)}
    predict(model, PredictionWriter(), cache_folder, tmp_path, **data)
    files = list((tmp_path / "predictions").iterdir())
    assert len(files) == 2
    for file in files:
        assert file.name.endswith("_class.json")
        chances = json.loads(file.read_text())["probabilities"]
        assert sum(chances.values()) == pytest.approx(1)


def test_studies_that_do_not_count_are_not_written(tmp_path: Path) -> None:
    module = Predicting(make_model())
    trainer = pl.Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False)
    eye = np.eye(4).tolist()
    file = {"modality": "t1", "path": "a", "affine": eye, "shape": [4, 4, 4], "to_study": eye}
    geometry: Any = {"affine": eye, "shape": [4, 4, 4], "scans": [file], "label": None}
    outputs = [
        StudyPrediction(name, geometry, torch.rand(2, 4, 4, 4)) for name in ("a", "b", "a", "c")
    ]
    batch: Any = {
        "study": ["a", "b", "a", "c"],
        "weight": torch.tensor([0.5, 0.0, 0.0, 0.5]),
    }
    writer = PredictionWriter()
    writer.on_predict_start(trainer, module)
    writer.on_predict_batch_end(trainer, module, outputs, batch, 0)
    names = {path.name for path in (tmp_path / "predictions").glob("*.nii.gz")}
    assert names == {"a_seg.nii.gz", "c_seg.nii.gz"}


@pytest.mark.parametrize(
    ("writer", "sentence"),
    [
        (PredictionWriter(grid="pd"), r"no grid 'pd' .*first, label, t1, t2"),
        (PredictionWriter(label_scheme="brats20"), "unknown label scheme 'brats20'"),
        (PredictionWriter(label_scheme="brats2021"), "has none of that name"),
    ],
)
def test_wishes_that_cannot_be_met_end_the_run_before_any_work(
    writer: PredictionWriter, sentence: str, cache_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match=sentence):
        predict(make_model(), writer, cache_folder, tmp_path, modalities=["t1", "t2"])
    assert not (tmp_path / "predictions").exists()


def test_a_task_without_a_model_is_refused(tmp_path: Path) -> None:
    class Bare(pl.LightningModule):
        def forward(self, image: Tensor) -> Tensor:
            return image

    trainer = pl.Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False)
    with pytest.raises(SetupError, match=r"no fine-tuned network in Bare .*--ckpt_path"):
        PredictionWriter().on_predict_start(trainer, Bare())


def test_the_record_names_windows_and_weights_that_no_file_holds(
    cache_folder: Path, tmp_path: Path
) -> None:
    model = make_model(describe(("t1", "t2"), recipe={"spacing_mm": 2.0}))
    predict(model, PredictionWriter(), cache_folder, tmp_path, modalities=["t1", "t2"])
    for path in (tmp_path / "predictions").glob("*_seg.json"):
        facts = json.loads(path.read_text())
        assert facts["model"] == {"name": None}
        assert (facts["windows"]["overlap"], facts["windows"]["flips"]) == (0.25, "x")
        assert (facts["task"], facts["device"]) == ("segmentation", "cpu")
        assert any(
            "recipe.spacing_mm 1.0, those of the training with 2.0" in warning
            for warning in facts["warnings"]
        )
