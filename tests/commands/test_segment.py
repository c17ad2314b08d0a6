"""The whole way from NIfTI files to labels on their own grid, without a cache."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from brainmvp_lightning.commands.segment import main
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates
from brainmvp_lightning.preprocessing.recipe import Recipe
from tests.inference.tiny_networks import (
    affine_of,
    describe,
    dice,
    make_classifier,
    make_model,
    rotated,
    save_checkpoint,
    save_lesion,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return save_checkpoint(make_model(describe(("t1",))), folder / "best.ckpt")


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(make_model(), tmp_path_factory.mktemp("two") / "best.ckpt")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, so that a test sees what stays behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("axcodes", ["RAS", "LAS", "LPS", "PIR", "SAL"])
def test_labels_of_isotropic_images_of_any_orientation_are_exact(
    axcodes: str, model: Path, tmp_path: Path
) -> None:
    shape = (30, 32, 28)
    affine = affine_of(axcodes, (1, 1, 1), shape)
    expected = save_lesion(tmp_path / "case_t1.nii.gz", affine, shape)
    assert main([str(model), str(tmp_path / "case_t1.nii.gz"), "-o", str(tmp_path / "out")]) == 0
    label = nib.load(tmp_path / "out" / "case_seg.nii.gz")
    assert label.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(label.affine, affine)
    np.testing.assert_array_equal(np.asarray(label.dataobj), expected)
    assert expected.sum() > 500


@pytest.mark.parametrize(
    ("axcodes", "spacing", "degrees"),
    [("LAS", (0.9, 0.9, 2.5), 0), ("RAS", (1.2, 0.8, 1.0), 17), ("PIR", (1, 2, 1), -30)],
)
def test_labels_of_oblique_and_anisotropic_images_land_where_the_lesion_is(
    axcodes: str, spacing: tuple[float, float, float], degrees: float, model: Path, tmp_path: Path
) -> None:
    shape = (36, 34, 32)
    affine = rotated(affine_of(axcodes, spacing, shape), degrees)
    expected = save_lesion(tmp_path / "case_t1.nii.gz", affine, shape)
    assert main([str(model), str(tmp_path / "case_t1.nii.gz"), "-o", str(tmp_path / "out")]) == 0
    label = nib.load(tmp_path / "out" / "case_seg.nii.gz")
    source = nib.load(tmp_path / "case_t1.nii.gz")
    np.testing.assert_array_equal(label.affine, source.affine)
    np.testing.assert_array_equal(label.get_qform(), source.get_qform())
    assert label.shape == shape
    assert dice(np.asarray(label.dataobj) == 1, expected) > 0.95


def test_the_reference_chooses_the_grid_and_the_json_says_what_was_done(
    two_channels: Path, tmp_path: Path
) -> None:
    affine = affine_of("RAS", (1, 1, 1), (30, 30, 30))
    save_lesion(tmp_path / "a.nii.gz", affine, (30, 30, 30))
    coarse = affine_of("LPS", (2, 2, 2), (15, 16, 17))
    expected = save_lesion(tmp_path / "b.nii.gz", coarse, (15, 16, 17))
    words = [f"T1w={tmp_path / 'a.nii.gz'}", f"t2={tmp_path / 'b.nii.gz'}", "--reference", "t2"]
    out = tmp_path / "out"
    options = ["-o", str(out), "--flips", "x", "--probabilities"]
    assert main([str(two_channels), *words, *options]) == 0
    name = tmp_path.name  # the two files have names of their own
    label = np.asarray(nib.load(out / f"{name}_seg.nii.gz").dataobj)
    assert label.shape == (15, 16, 17)
    assert dice(label == 1, expected) > 0.95
    chances = [
        nib.load(out / f"{name}_prob-{output}.nii.gz").get_fdata(dtype=np.float32)
        for output in ("background", "lesion")
    ]
    np.testing.assert_allclose(chances[0] + chances[1], 1, atol=1e-5)
    np.testing.assert_array_equal(label == 1, chances[1] > chances[0])
    facts = json.loads((out / f"{name}_seg.json").read_text())
    assert facts["labels"] == {"0": "background", "1": "lesion"}
    assert facts["regions"] == {"lesion": [1]}
    assert facts["reference"]["modality"] == "t2"
    assert facts["missing"] == {}
    assert facts["windows"]["flips"] == "x"
    assert set(facts["inputs"]) == {"t1", "t2"}
    for source, path in (
        (facts["model"], two_channels),
        (facts["inputs"]["t1"], tmp_path / "a.nii.gz"),
    ):
        assert source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_missing_modality_is_filled_and_named(two_channels: Path, tmp_path: Path) -> None:
    affine = affine_of("RAS", (1, 1, 1), (30, 30, 30))
    save_lesion(tmp_path / "case" / "case_t2.nii.gz", affine, (30, 30, 30))
    assert main([str(two_channels), str(tmp_path / "case"), "-o", str(tmp_path / "out")]) == 0
    facts = json.loads((tmp_path / "out" / "case_seg.json").read_text())
    assert facts["missing"] == {"t1": "zeros"}
    # The mean with an empty channel is half as bright: only the very centre is above the level.
    label = np.asarray(nib.load(tmp_path / "out" / "case_seg.nii.gz").dataobj)
    assert label.sum() <= 1


def test_templates_of_the_model_stand_in_unless_zeros_are_asked_for(tmp_path: Path) -> None:
    bright = FrozenTemplates(("t1", "t2"), torch.ones(2, 40, 40, 40), (1, 1, 1), (0, 0, 0))
    model = save_checkpoint(make_model(templates=bright), tmp_path / "best.ckpt")
    affine = affine_of("RAS", (1, 1, 1), (30, 30, 30))
    save_lesion(tmp_path / "case_t2.nii.gz", affine, (30, 30, 30))
    words = [str(model), str(tmp_path / "case_t2.nii.gz"), "-o", str(tmp_path)]
    sums = {}
    for missing in ("templates", "zeros"):
        assert main([*words, "--missing", missing]) == 0
        facts = json.loads((tmp_path / "case_seg.json").read_text())
        assert facts["missing"] == {"t1": missing}
        sums[missing] = int(np.asarray(nib.load(tmp_path / "case_seg.nii.gz").dataobj).sum())
    # The mean with 1 is above the level wherever the image is not at its lowest.
    assert sums["templates"] > 1000
    assert sums["zeros"] <= 1


def test_a_broken_study_is_named_and_counted_and_the_others_are_done(
    model: Path, tmp_path: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    affine = affine_of("RAS", (1, 1, 1), (30, 30, 30))
    for case in ("one", "two", "three"):
        save_lesion(tmp_path / case / f"{case}_t1.nii.gz", affine, (30, 30, 30))
    (tmp_path / "two" / "two_t1.nii.gz").write_bytes(b"no image at all")
    (tmp_path / "three" / "three_seg.nii.gz").write_bytes(b"an annotation")
    folders = [str(tmp_path / case) for case in ("one", "two", "three")]
    assert main([str(model), *folders, "-o", str(tmp_path / "out")]) == 1
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [f"{c}_seg.{e}" for c in ("one", "three") for e in ("json", "nii.gz")]
    said = capsys.readouterr().err
    assert "study 'two' is set aside" in said
    assert "1 of 3 studies" in said
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_killed_call_leaves_nothing_temporary(tmp_path: Path, temporary: Path) -> None:
    script = tmp_path / "wait.sh"
    script.write_text(f"touch {tmp_path / 'started'}; sleep 60\n")
    command = f"sh {script} {{image}} {{mask}}"
    description = describe(("t1",), recipe=Recipe(brain_mask=command).to_json())
    model = save_checkpoint(make_model(description), tmp_path / "best.ckpt")
    affine = affine_of("RAS", (1, 1, 1), (30, 30, 30))
    save_lesion(tmp_path / "case_t1.nii.gz", affine, (30, 30, 30))
    words = [str(model), str(tmp_path / "case_t1.nii.gz"), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, tests.inference.tiny_networks; "
            "from brainmvp_lightning.commands.segment import main; "
            "sys.exit(main(sys.argv[1:]))",
            *words,
            "--brain_mask",
            command,
        ],
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert any(temporary.iterdir())
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["case_pd.nii.gz"], "the model takes t1, t2"),
        (["t1=case_pd.nii.gz", "t1=case_pd.nii.gz"], "both t1"),
        (["image.nii.gz"], "the name of image.nii.gz holds no modality"),
        (["t1=nothing.nii.gz"], "there is no file nothing.nii.gz"),
        (["t3=case_pd.nii.gz"], "unknown modality 't3'"),
        (["t1=case_pd.nii.gz", "--reference", "t2"], "no t2 to be the reference"),
        (["t1=case_pd.nii.gz", "--device", "abacus"], "device 'abacus'"),
        (["t1=case_pd.nii.gz", "--overlap", "1"], "overlap is 1.0"),
        (["t1=case_pd.nii.gz", "--flips", "w"], "flips is 'w'"),
        (["t1=case_pd.nii.gz", "--label_scheme", "brats"], "unknown label scheme 'brats'"),
        (["t1=case_pd.nii.gz", "--template", "t.nii"], "leave t.nii out"),
    ],
)
def test_a_wrong_call_ends_in_one_sentence(
    words: list[str],
    sentence: str,
    two_channels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("case_pd.nii.gz", "image.nii.gz"):
        Path(name).touch()
    assert main([str(two_channels), *words, "-o", "out"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not Path("out").exists()


def test_a_model_that_is_not_there_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing.ckpt", "t1.nii.gz", "-o", "out"]) == 2
    assert "there is no model nothing.ckpt" in capsys.readouterr().err


def test_a_classifier_writes_the_chance_of_each_class_only(tmp_path: Path) -> None:
    model = save_checkpoint(make_classifier(modalities=("t1",)), tmp_path / "best.ckpt")
    affine = affine_of("RAS", (1, 1, 1), (30, 30, 30))
    save_lesion(tmp_path / "case_t1.nii.gz", affine, (30, 30, 30))
    assert main([str(model), str(tmp_path / "case_t1.nii.gz"), "-o", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case_class.json"]
    facts = json.loads((tmp_path / "out" / "case_class.json").read_text())
    assert facts["class"] == "bright"
    assert sum(facts["probabilities"].values()) == pytest.approx(1)


def test_folders_of_one_name_give_studies_of_their_own(model: Path, tmp_path: Path) -> None:
    affine = affine_of("RAS", (1, 1, 1), (30, 30, 30))
    for person in ("ann", "bob"):
        save_lesion(tmp_path / person / "anat" / "t1.nii.gz", affine, (30, 30, 30))
    folders = [str(tmp_path / person / "anat") for person in ("ann", "bob")]
    assert main([str(model), *folders, "-o", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").glob("*.nii.gz")}
    assert names == {"ann_anat_seg.nii.gz", "bob_anat_seg.nii.gz"}
