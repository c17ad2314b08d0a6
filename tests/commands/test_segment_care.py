"""What ``brainmvp segment`` refuses, sets aside and tells rather than getting it wrong."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import brainmvp_lightning.commands.segment as command
from brainmvp_lightning.preprocessing.recipe import Recipe
from tests.inference.tiny_networks import (
    Brighter,
    affine_of,
    describe,
    make_model,
    save_checkpoint,
    save_lesion,
)

SHAPE = (24, 24, 24)
AFFINE = affine_of("RAS", (1, 1, 1), SHAPE)
TUMOUR: dict[str, Any] = {
    "num_outputs": 4,
    "region_names": ("ET", "TC", "WT"),
    "label_names": ("background", "ED/SNFH", "NCR", "ET"),
    "label_regions": ((), ("WT",), ("TC", "WT"), ("ET", "TC", "WT")),
}


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_checkpoint(make_model(describe(("t1",))), tmp_path / "best.ckpt"))


def image(tmp_path: Path, name: str) -> str:
    save_lesion(tmp_path / name, AFFINE, SHAPE)
    return str(tmp_path / name)


def facts_of(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def test_a_brain_mask_is_of_one_study_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(foreground="nonzero", brain_mask="file").to_json()
    model = save_checkpoint(make_model(describe(("t1",), recipe=recipe)), tmp_path / "best.ckpt")
    for case in "ab":
        image(tmp_path, f"{case}/{case}_t1.nii.gz")
    mask = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), mask)
    words = [str(model), str(tmp_path / "a"), "-o", str(tmp_path / "out"), "--brain_mask"]
    both = [str(model), str(tmp_path / "a"), str(tmp_path / "b"), *words[2:]]
    assert command.main([*both, str(mask)]) == 2
    assert "is the brain mask of one study, not of 2" in capsys.readouterr().err
    assert command.main([*words, str(tmp_path / "none.nii")]) == 2
    assert "there is no mask" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert command.main([*words, str(mask)]) == 0
    inputs = facts_of(tmp_path / "out" / "a_seg.json")["inputs"]
    digest = hashlib.sha256(mask.read_bytes()).hexdigest()
    assert inputs["brain_mask"] == {"path": str(mask), "sha256": digest}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("DefaultCPUAllocator:\ncan't allocate memory"), "too little memory"),
        (MemoryError(), "too little memory (MemoryError)"),
        (torch.OutOfMemoryError("CUDA"), "use --batch 1"),
        (RuntimeError("of another\nkind"), "of another kind"),
    ],
)
def test_a_study_that_is_too_much_is_set_aside_and_the_others_are_done(
    error: Exception,
    sentence: str,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [str(Path(image(tmp_path, f"{case}/{case}_t1.nii")).parent) for case in "ab"]
    answer, calls = Brighter.forward, []

    def once_too_much(self: Brighter, *args: object, **options: object) -> list[torch.Tensor]:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return answer(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Brighter, "forward", once_too_much)
    assert command.main([model, *folders, "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "study 'a' is set aside" in said[0]
    assert sentence in said[0]
    assert "1 of 2 studies" in said[1]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"b_seg.json", "b_seg.nii.gz"}


def test_a_folder_that_cannot_be_written_ends_the_call_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    # The model is not even looked for.
    for out in ("file", "file/new/out", "link"):
        assert command.main(["none.ckpt", "t1.nii", "-o", str(tmp_path / out)]) == 2
        assert f"{tmp_path / out.partition('/')[0]} is no folder" in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert command.main(["none.ckpt", "t1.nii", "-o", str(tmp_path / "out")]) == 2
    assert "may not be written to" in capsys.readouterr().err


def test_templates_that_a_model_has_not_cannot_be_asked_for(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [model, image(tmp_path, "a_t1.nii"), "-o", str(tmp_path / "out")]
    assert command.main([*words, "--missing", "templates"]) == 2
    assert "the model has no templates" in capsys.readouterr().err
    assert command.main([*words, "--missing", "zeros"]) == 0


def test_values_that_are_none_of_a_data_set_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = (0.0, 0.5, 0.6, 0.7)
    tumour = make_model(describe(("t1",), **TUMOUR), levels=levels)
    model = str(save_checkpoint(tumour, tmp_path / "best.ckpt"))
    folders = [str(Path(image(tmp_path, f"{case}/{case}_t1.nii")).parent) for case in "ab"]
    words = [model, *folders, "-o", str(tmp_path / "out")]
    assert command.main(words) == 0
    said = capsys.readouterr().err
    assert said.count("have no one value for each") == 1
    assert "1 ED/SNFH, 2 NCR, 3 ET" in said
    assert "brats2021, brats2023" in said
    assert command.main([*words, "--label_scheme", "brats2023"]) == 0
    assert capsys.readouterr().err == ""
    labels = facts_of(tmp_path / "out" / "a_seg.json")["labels"]
    assert labels == {"0": "background", "2": "ED/SNFH", "1": "NCR", "3": "ET"}
    agreed = make_model(describe(("t1",), **TUMOUR, label_values=(0, 2, 1, 4)), levels=levels)
    words[0] = str(save_checkpoint(agreed, tmp_path / "agreed.ckpt"))
    assert command.main(words) == 0
    assert capsys.readouterr().err == ""


def test_scans_that_only_share_in_the_grid_are_recorded(model: str, tmp_path: Path) -> None:
    image(tmp_path, "a/a_t1.nii")
    image(tmp_path, "a/a_flair.nii")
    assert command.main([model, str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
    facts = facts_of(tmp_path / "out" / "a_seg.json")
    assert set(facts["inputs"]) == {"t1"}
    assert set(facts["others"]) == {"flair"}
    assert "does not take flair" in " ".join(facts["warnings"])


def test_probabilities_of_names_in_other_scripts_are_files_of_their_own(tmp_path: Path) -> None:
    names: dict[str, Any] = {
        "num_outputs": 3,
        "region_names": ("肿瘤", "水肿"),
        "label_names": ("background", "肿瘤", "水肿"),
        "label_regions": ((), ("肿瘤",), ("水肿",)),
    }
    described = describe(("t1",), **names)
    model = save_checkpoint(make_model(described, levels=(0.0, 0.5, 0.6)), tmp_path / "m.ckpt")
    words = [str(model), image(tmp_path, "a_t1.nii"), "-o", str(tmp_path / "out")]
    assert command.main([*words, "--probabilities"]) == 0
    written = facts_of(tmp_path / "out" / "a_seg.json")["probabilities"]
    assert set(written) == set(names["label_names"])
    assert len({path for path in written.values() if (tmp_path / "out" / path).is_file()}) == 3


def test_two_people_whose_names_are_not_latin_do_not_share_a_file(
    model: str, tmp_path: Path
) -> None:
    for name in ("张三", "李四"):
        assert command.main([model, image(tmp_path, f"{name}_t1.nii"), "-o", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*_seg.nii.gz"))) == 2
