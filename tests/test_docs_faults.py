"""The page on fine-tuning quotes the messages that wrong input really gets."""

import csv
import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.cli import main
from brainmvp_lightning.commands.segment_inputs import find_inputs
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from tests.conftest import blob
from tests.datamodules.labelled_cohort import write_cohort
from tests.tasks.fine_tuning import (
    MODALITIES,
    classification_data,
    classification_task,
    segmentation_data,
    segmentation_task,
    write_encoder,
)

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / ".github" / "docs" / "fine_tuning.md").read_text()
CONFIG = ROOT / "configs" / "finetune" / "segmentation" / "brats2023_ped.yaml"
OTHER = partial(UNET3D, widths=(8, 24), depths=(1, 1))


def documented() -> dict[str, str]:
    """Return the quoted message of each kind of wrong input."""
    section = PAGE[PAGE.index("## 5. What can go wrong") :]
    rows = re.findall(r"^\| ([^|`]+) \| `([^`]+)` \|", section, re.MULTILINE)
    return dict(rows)


def pattern(quoted: str) -> str:
    """Return what a quoted message looks like; dots stand for anything."""
    return ".+".join(re.escape(part) for part in quoted.split("..."))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def raised(call: Callable[[], Any]) -> str:
    with pytest.raises(ValueError, match=r".") as error:  # which one, the caller looks at
        call()
    return str(error.value)


def refused(*words: str) -> Callable[[pytest.CaptureFixture[str]], str]:
    """Return what calls the program with a shipped configuration and reads what it says."""

    def call(capsys: pytest.CaptureFixture[str]) -> str:
        with pytest.raises(SystemExit) as stop:
            main(["fit", "-c", str(CONFIG), *words])
        assert stop.value.code == 2
        return capsys.readouterr().err

    return call


def write_study(
    folder: Path, name: str, image: np.ndarray, label: np.ndarray, shift: int
) -> list[str]:
    """Write a scan and its annotation, which lies `shift` mm to the right."""
    affine = np.eye(4)
    nib.save(nib.Nifti1Image(image, affine), folder / f"{name}.nii.gz")
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(label, affine), folder / f"{name}_seg.nii.gz")
    return ["toy", name, "t1", f"{name}.nii.gz", f"{name}_seg.nii.gz", "brats2023"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cohort with a fault in each study but one, prepared; and what the command said."""
    folder = tmp_path_factory.mktemp("files")
    image, label = blob("t1", 0), np.zeros((28, 30, 26), np.uint8)
    label[10:14, 10:14, 10:14] = 3
    rows = [
        write_study(folder, "fine", image, label, 0),
        write_study(folder, "values", image, 3 * label, 0),
        write_study(folder, "elsewhere", image, label, 500),
        write_study(folder, "empty", 0 * image, label, 0),
        write_study(folder, "cut", image, label, 0),
    ]
    cut = folder / "cut.nii.gz"
    cut.write_bytes(cut.read_bytes()[:2000])
    with (folder / "scans.csv").open("w", newline="") as file:
        header = ("dataset", "patient", "modality", "path", "label", "label_scheme")
        csv.writer(file).writerows([header, *rows])
    words = ["--source", "table", "--source.path", str(folder / "scans.csv"), "--workers", "1"]
    assert main(["prepare", *words, "--cache", str(folder / "cache")]) == 0
    tables = folder.glob("cache/*.csv")
    return folder / "cache", "\n".join(table.read_text() for table in tables)


def test_prepare_names_the_files_that_cannot_be_used(prepared: tuple[Path, str]) -> None:
    for kind in (
        "value that the label scheme does not know",
        "annotation that lies elsewhere",
        "scan without any signal",
        "broken NIfTI file",
    ):
        assert re.search(pattern(documented()[kind]), prepared[1]), (kind, prepared[1])


def test_studies_without_usable_annotation_are_counted(prepared: tuple[Path, str]) -> None:
    data = segmentation_data(prepared[0], datasets=None, modalities=["t1"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = data.studies("all")
    assert [study.patient for study in chosen] == ["fine"]
    said = " ".join(str(warning.message) for warning in caught)
    for kind in ("such a study in a fine-tuning", "study without annotation"):
        assert re.search(pattern(documented()[kind]), said), (kind, said)


def messages_of_data(cohort: Path) -> dict[str, str]:
    missing = segmentation_data(cohort, modalities=["adc"])
    unknown = segmentation_data(cohort, modalities=["t3"])
    unheard = classification_data(cohort, classes=["LGG", "NC"])
    task, data = classification_task(), classification_data(cohort)
    segmented = segmentation_data(cohort)
    return {
        "class missing from validation": raised(lambda: task.check(data, validates=True)),
        "class missing from training": raised(lambda: task.check(unheard, validates=False)),
        "no study has any of the modalities": raised(lambda: missing.studies("train")),
        "modality that the cache lacks": raised(unknown.describe),
        "data of another task": raised(lambda: task.check(segmented, validates=False)),
    }


def messages_of_weights(cohort: Path, folder: Path) -> dict[str, str]:
    data = segmentation_data(cohort)

    def check(task: SegmentationTask) -> str:
        return raised(lambda: task.check(data, validates=False))

    encoder = str(write_encoder(folder / "encoder.safetensors"))
    few = str(write_encoder(folder / "few.safetensors", ("t1", "t2")))
    told = segmentation_task()
    told.check(data, validates=False)
    assert told.model is not None
    checkpoint = {"model_spec": told.model.spec()}
    other = SegmentationTask(OTHER, loss=told.loss_options)
    found = {
        "weights of another network": check(
            SegmentationTask(OTHER, weights=encoder, loss=told.loss_options)
        ),
        "modality without template": check(segmentation_task(weights=few)),
        "no templates at all": check(segmentation_task(missing="templates")),
    }
    other.check(data, validates=False)
    found["checkpoint of another network"] = raised(lambda: other.on_load_checkpoint(checkpoint))
    return found


@pytest.mark.filterwarnings("ignore:.*studies are left out.*")
@pytest.mark.filterwarnings("ignore:.*no test study is of class.*")
def test_data_and_weights_that_do_not_suit_are_refused_before_training(
    cohort: Path, tmp_path: Path
) -> None:
    quoted = documented()
    messages = messages_of_data(cohort) | messages_of_weights(cohort, tmp_path)
    for kind, message in messages.items():
        assert re.search(pattern(quoted[kind]), message), (kind, message)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("misspelt key", refused("--model.layer_decai", "0.7")),
        ("wrong name of a backbone", refused("--model.backbone", "unet3e")),
        ("value of the wrong kind", refused("--model.ema", "often")),
    ],
)
def test_words_that_are_wrong_are_refused_before_any_work(
    kind: str, call: Callable[[pytest.CaptureFixture[str]], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(pattern(documented()[kind]), " ".join(call(capsys).split()))


def test_a_misspelt_key_in_a_file_gets_the_same_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(CONFIG.read_text().replace("layer_decay:", "layer_decai:"))
    with pytest.raises(SystemExit):
        main(["fit", "-c", str(file)])
    assert re.search(pattern(documented()["misspelt key"]), capsys.readouterr().err)


def test_segment_sets_a_study_without_any_modality_aside(tmp_path: Path) -> None:
    folder = tmp_path / "patient"
    folder.mkdir()
    nib.save(nib.Nifti1Image(blob("adc", 0), np.eye(4)), folder / "patient_adc.nii.gz")
    (inputs,) = find_inputs([str(folder)], MODALITIES)
    assert re.search(pattern(documented()["raw study without any modality"]), inputs.fault)


def test_each_row_of_the_page_is_tested() -> None:
    text = Path(__file__).read_text()
    assert len(documented()) >= 15
    assert [kind for kind in documented() if f'"{kind}"' not in text] == []
