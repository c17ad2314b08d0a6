"""What is wrong with data, weights or checkpoints is said in a sentence before any training."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.cli import main
from tests.end_to_end.fine_tuning_runs import CONFIGS, run_header, small_options
from tests.end_to_end.fine_tuning_trees import PED, adni, brats2023, people, save_label

SEGMENT = CONFIGS / "segmentation" / "brats2023_ped.yaml"
CLASSIFY = CONFIGS / "classification" / "adni.yaml"
Refusal = Callable[..., str]


@pytest.fixture(autouse=True)
def place_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_tumours() -> Path:
    """Write the tree of a data set and return it."""
    brats2023("ped")(Path("data/ped"))
    return Path("data/ped")


def prepare(config: Path, root: Path, *options: str) -> None:
    assert run_header(config, "prepare", "--workers", "1", *options, DATA=str(root)) == 0


def fit(config: Path, weights: Path | str, *options: str) -> int:
    small = small_options(config.parent.name)
    return run_header(config, "fit", *small, *options, ENCODER=str(weights))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Fit, see that it ends before it begins, and return what is said."""

    def call(config: Path, weights: Path | str, *options: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            fit(config, weights, *options)
        assert stop.value.code == 2
        said = capsys.readouterr().err
        sentences = [line for line in said.splitlines() if line.startswith("brainmvp fit: error:")]
        assert len(sentences) == 1, said
        assert "Traceback" not in said
        assert not list(Path("runs").rglob("*.ckpt"))
        return sentences[0]

    return call


def label_of(root: Path, patient: str) -> Path:
    return root / f"{patient}-000" / f"{patient}-000-seg.nii.gz"


def tumours(split: str) -> list[str]:
    found = people("brats2023_ped", PED)
    return [patient for patient, own, _ in found if own == split]


def test_annotations_of_another_scheme_are_refused_with_their_values(
    encoder: Path, refused: Refusal
) -> None:
    root = write_tumours()
    for split in ("train", "val", "test"):
        for patient in tumours(split):
            save_label(label_of(root, patient), 1, 2, 4)
    prepare(SEGMENT, root)
    said = refused(SEGMENT, encoder)
    assert "annotation values 4, which label scheme 'brats2023' does not know" in said


@pytest.mark.slow
def test_one_annotation_of_another_scheme_is_left_out_and_counted(encoder: Path) -> None:
    root = write_tumours()
    patient = tumours("train")[0]
    save_label(label_of(root, patient), 1, 2, 7)
    prepare(SEGMENT, root)
    with pytest.warns(
        UserWarning, match=rf"1 of 2 train studies are left out.*values 7.*{patient}"
    ):
        assert fit(SEGMENT, encoder) == 0


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("modalities", "[t1, swi]", "data.modalities names 'swi', but the cache has no such"),
        ("modalities", "[t1, flairs]", "did you mean 'flair'"),
        ("modalities", "[mra, pd]", "fewer than 1 of the modalities mra, pd"),
        ("crop_size", "[36,32,32]", "data.crop_size (36, 32, 32) must be multiples of 8"),
        ("datasets", "[brats2023_pet]", "did you mean 'brats2023_ped'"),
    ],
)
def test_options_that_do_not_suit_the_data_are_refused(
    option: str, value: str, sentence: str, encoder: Path, refused: Refusal
) -> None:
    prepare(SEGMENT, write_tumours())
    assert sentence in refused(SEGMENT, encoder, f"--data.{option}", value)


@pytest.mark.filterwarnings("ignore:.*studies are left out.*")
def test_a_class_that_a_split_lacks_is_named(encoder: Path, refused: Refusal) -> None:
    adni(Path("data/adni"))
    everyone = {person: split for person, split, _ in people("adni", "002_S_{:04d}")}
    # The validation keeps one person, who is of the first class.
    moved = [person for person, split in everyone.items() if split == "val"][1]
    rows = [f"{person},{split}" for person, split in {**everyone, moved: "test"}.items()]
    Path("splits.csv").write_text("\n".join(["patient,split", *rows]))
    prepare(CLASSIFY, Path("data/adni"), "--splits", "splits.csv")
    assert "no validation study is of class MCI" in refused(CLASSIFY, encoder)
    said = refused(CLASSIFY, encoder, "--data.classes", "[NC, AD]")
    assert "no training study of class AD is left" in said


def test_weights_that_cannot_be_used_are_refused(encoder: Path, refused: Refusal) -> None:
    prepare(SEGMENT, write_tumours())
    Path("short.safetensors").write_bytes(encoder.read_bytes()[:-1000])
    Path("text.ckpt").write_text("weights")
    assert "nowhere.safetensors" in refused(SEGMENT, "nowhere.safetensors")
    assert "short.safetensors" in refused(SEGMENT, "short.safetensors")
    assert "text.ckpt" in refused(SEGMENT, "text.ckpt")
    said = refused(SEGMENT, encoder, "--model.backbone", "unet3d")
    assert "encoder.safetensors" in said
    assert "fill" in said


def test_templates_that_a_run_needs_and_has_not_are_named(encoder: Path, refused: Refusal) -> None:
    prepare(SEGMENT, write_tumours())
    Path("templates").mkdir()
    for name in ("t1", "flair", "t2"):
        volume = nib.Nifti1Image(np.ones((16, 16, 16), np.float32), np.eye(4))
        nib.save(volume, Path("templates") / f"{name}.nii.gz")
    assert "t1ce" in refused(SEGMENT, encoder, "--model.templates", "templates")
    assert "nothing" in refused(SEGMENT, encoder, "--model.templates", "nothing")


def fit_without_weights(*options: str) -> int:
    words = ["--model.substitution", "null", *small_options("segmentation"), *options]
    return main(["fit", "-c", str(SEGMENT), *words])


@pytest.mark.slow
def test_substitution_without_templates_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(SEGMENT, write_tumours())
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(SEGMENT), *small_options("segmentation")])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "model.substitution needs modality templates, but there are no weights" in said
    assert fit_without_weights() == 0


@pytest.mark.slow
def test_a_checkpoint_of_another_network_or_of_none_is_refused(
    encoder: Path, refused: Refusal
) -> None:
    prepare(SEGMENT, write_tumours())
    assert fit(SEGMENT, encoder) == 0
    checkpoint = shutil.move("runs/finetune/brats2023_ped/checkpoints/last.ckpt", "last.safe")
    shutil.rmtree("runs")
    words = ("--ckpt_path", str(checkpoint), "--trainer.max_epochs", "2")
    said = refused(SEGMENT, encoder, *words, "--data.modalities", "[t1, t2]")
    assert "the network was trained with modalities t1, t1ce, t2, flair" in said
    assert "none.ckpt" in refused(SEGMENT, encoder, "--ckpt_path", "none.ckpt")
    Path("broken.ckpt").write_bytes(Path(checkpoint).read_bytes()[:5000])
    assert "broken.ckpt" in refused(SEGMENT, encoder, "--ckpt_path", "broken.ckpt")
    head = "{class_path: uniunet, init_args: {num_auxiliary: 1}}"
    said = refused(SEGMENT, encoder, *words, "--model.head", head)
    assert "the checkpoint holds another head" in said


@pytest.mark.slow
def test_options_of_a_test_count_more_than_those_of_its_checkpoint(encoder: Path) -> None:
    prepare(SEGMENT, write_tumours())
    assert fit(SEGMENT, encoder) == 0
    assert run_header(SEGMENT, "test", "--model.subsets", "true") == 0
    with Path("runs/finetune/brats2023_ped/test/cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 15 * 3  # studies, subsets of four modalities, regions


@pytest.mark.slow
def test_an_empty_annotation_goes_on_and_is_counted(encoder: Path) -> None:
    root = write_tumours()
    empty = [tumours("train")[0], tumours("val")[0], tumours("test")[0]]
    for patient in empty:
        save_label(label_of(root, patient))
    prepare(SEGMENT, root)
    assert fit(SEGMENT, encoder) == 0
    run = Path("runs/finetune/brats2023_ped")
    assert run_header(SEGMENT, "test") == 0
    with (run / "test" / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    outcomes = {row["region"]: row["outcome"] for row in rows if empty[2] in row["study"]}
    assert set(outcomes) == {"ET", "TC", "WT"}
    (block,) = json.loads((run / "test" / "summary.json").read_text())["blocks"]
    for region, outcome in outcomes.items():
        counts = block["regions"][region]
        found = {"both_empty": counts["both_empty"], "false_alarm": counts["false_alarms"]}
        assert found == {"both_empty": 0, "false_alarm": 0, outcome: 1}
