"""Raw files become the very tensors that a data module makes of a prepared cache."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainmvp_lightning.batches import LabelledDescription
from brainmvp_lightning.datamodules.whole_volume import WholeVolumeDataModule
from brainmvp_lightning.inference.raw_study import (
    StudyError,
    read_raw_study,
    recorded_recipe,
)
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.volumes.cache import Cache
from tests.conftest import GROUPING
from tests.inference.tiny_networks import affine_of, describe, save_lesion


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def batches(cache_folder: Path, **options: Any) -> tuple[LabelledDescription, list[Any]]:
    data = WholeVolumeDataModule(str(cache_folder), split="all", num_workers=0, **options)
    data.setup("predict")
    return data.describe(), list(data.predict_dataloader())


@pytest.mark.parametrize(
    "options",
    [
        {"crop_size": (16, 16, 16)},
        {"crop_size": (16, 48, 32), "placement": "world"},
        {"crop_size": (12, 12, 8), "resized_to": (16, 20, 12)},
    ],
    ids=["centre", "padded world", "resized"],
)
def test_tensors_are_those_of_a_prepared_cache(
    options: dict[str, Any], cache: Cache, cache_folder: Path
) -> None:
    description, expected = batches(cache_folder, modalities=["t1", "t2", "flair"], **options)
    recipe = recorded_recipe(description)
    assert recipe.hash() == cache.recipe_hash
    count = 0
    for batch in expected:
        study = batch["study"][0].removeprefix("toy_").removeprefix("scans_")
        files = {
            name: cache_folder.parent / study / f"{study}_{name}.nii.gz"
            for name, there in zip(description.modalities, batch["present"][0], strict=True)
            if there
        }
        others = {
            name: cache_folder.parent / study / f"{study}_{name}.nii.gz"
            for name in GROUPING[study][0].split()
            if name not in files
        }
        raw = read_raw_study(study, files, description, recipe, others=others)
        for key in ("image", "present", "start", "origin"):
            torch.testing.assert_close(getattr(raw, key), batch[key], rtol=0, atol=0)
        geometry = batch["geometry"][0]
        for key in ("affine", "shape", "box_start", "full_shape"):
            assert raw.geometry[key] == geometry[key]  # type: ignore[literal-required]
        for scan, stored in zip(raw.geometry["scans"], geometry["scans"], strict=True):
            assert {**scan, "path": ""} == {**stored, "path": ""}
        count += 1
    assert count == len(GROUPING)


def test_a_scan_that_only_shares_in_the_grid_is_the_reference_and_may_be_broken(
    tmp_path: Path,
) -> None:
    shape = (30, 30, 30)
    for name, spacing in (("t1", 1.0), ("t2", 2.0)):
        affine = affine_of("RAS", (spacing, spacing, spacing), shape)
        affine[:3, 3] += 0.25 if name == "t1" else 0
        save_lesion(tmp_path / f"{name}.nii.gz", affine, shape)
    (tmp_path / "pd.nii.gz").write_bytes(b"broken")
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("t1", "t2", "pd")}
    description = describe(("t2",))
    others = {name: files[name] for name in ("t1", "pd")}
    recipe = recorded_recipe(description)
    raw = read_raw_study("a", {"t2": files["t2"]}, description, recipe, others=others)
    assert raw.present.tolist() == [[True]]
    assert [scan["modality"] for scan in raw.geometry["scans"]] == ["t2"]
    # Voxel centres are those of t1, a quarter beside whole millimetres.
    assert np.asarray(raw.geometry["affine"])[0, 3] % 1 == pytest.approx(0.25)
    assert "pd.nii.gz" in raw.notes[0]
    alone = read_raw_study("a", {"t2": files["t2"]}, description, recipe)
    assert np.asarray(alone.geometry["affine"])[0, 3] % 1 != pytest.approx(0.25)


def test_nothing_temporary_stays_behind(temporary: Path, tmp_path: Path) -> None:
    save_lesion(tmp_path / "t1.nii.gz", affine_of("RAS", (1, 1, 1), (30, 30, 30)), (30, 30, 30))
    (tmp_path / "t2.nii.gz").write_bytes(b"broken")
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("t1", "t2")}
    recipe = recorded_recipe(describe())
    raw = read_raw_study("a", {"t1": files["t1"]}, describe(), recipe)
    assert raw.present.tolist() == [[True, False]]
    assert raw.image[:, 1].abs().sum() == 0
    assert list(temporary.iterdir()) == []
    with pytest.raises(StudyError, match=r"t2\.nii\.gz: it is not a NIfTI file"):
        read_raw_study("a", files, describe(), recipe)
    assert list(temporary.iterdir()) == []


def test_modalities_of_others_and_none_at_all_are_refused() -> None:
    recipe = Recipe()
    with pytest.raises(StudyError, match="takes t1, t2; it knows no pd"):
        read_raw_study("a", {"pd": Path("pd.nii")}, describe(), recipe)
    with pytest.raises(StudyError, match="any of t1, t2"):
        read_raw_study("a", {}, describe(), recipe)


def test_modalities_outside_the_vocabulary_are_read(tmp_path: Path) -> None:
    save_lesion(tmp_path / "a.nii.gz", affine_of("RAS", (1, 1, 1), (30, 30, 30)), (30, 30, 30))
    description = describe(("swi", "t1"))
    raw = read_raw_study("a", {"swi": tmp_path / "a.nii.gz"}, description, Recipe())
    assert raw.present.tolist() == [[True, False]]


def test_another_version_of_the_pipeline_is_told(tmp_path: Path) -> None:
    save_lesion(tmp_path / "a.nii.gz", affine_of("RAS", (1, 1, 1), (30, 30, 30)), (30, 30, 30))
    description = describe()
    old = replace(description, recipe={**description.recipe, "pipeline_version": 1})
    raw = read_raw_study("a", {"t1": tmp_path / "a.nii.gz"}, old, recorded_recipe(old))
    assert "version 1 of the pipeline" in raw.notes[0]


def test_every_recorded_recipe_comes_back(tmp_path: Path) -> None:
    template = tmp_path / "head.nii"
    template.write_bytes(b"a template")
    recipe = Recipe(
        spacing_mm=1.5,
        reference=("t2", "t1"),
        registration="rigid",
        template=str(template),
        template_registration="affine",
        bias_correction="n4",
    )
    description = describe(recipe=recipe.to_json())
    assert recorded_recipe(description, template=str(template)) == recipe
    with pytest.raises(ValueError, match=r"template head\.nii \(sha256 .* name the file"):
        recorded_recipe(description)
    template.write_bytes(b"another one")
    with pytest.raises(ValueError, match=r"is not the template head\.nii"):
        recorded_recipe(description, template=str(template))
    with pytest.raises(ValueError, match="moves studies onto no template"):
        recorded_recipe(describe(), template=str(template))


def test_recipes_of_others_are_refused() -> None:
    with pytest.raises(ValueError, match="does not say how"):
        recorded_recipe(describe(recipe={}))
    with pytest.raises(ValueError, match=r"unknown settings \(colour\)"):
        recorded_recipe(describe(recipe={**Recipe().to_json(), "colour": "red"}))


def test_no_command_runs_because_a_model_says_so() -> None:
    command = "tool {image} {mask}"
    description = describe(recipe=Recipe(brain_mask=command).to_json())
    with pytest.raises(ValueError, match="if you trust it"):
        recorded_recipe(description)
    with pytest.raises(ValueError, match="if you trust it"):
        recorded_recipe(description, brain_mask="other {image} {mask}")
    assert recorded_recipe(description, brain_mask=command).brain_mask == command


def test_a_mask_from_a_file_is_taken_where_the_recipe_needs_one(tmp_path: Path) -> None:
    affine = affine_of("RAS", (1, 1, 1), (30, 30, 30))
    is_lesion = save_lesion(tmp_path / "a.nii.gz", affine, (30, 30, 30))
    import nibabel as nib

    nib.save(nib.Nifti1Image(is_lesion.astype(np.uint8), affine), tmp_path / "mask.nii.gz")
    description = describe(recipe=Recipe(brain_mask="file", foreground="nonzero").to_json())
    with pytest.raises(ValueError, match="give its file"):
        recorded_recipe(description)
    recipe = recorded_recipe(description, brain_mask=str(tmp_path / "mask.nii.gz"))
    raw = read_raw_study(
        "a",
        {"t1": tmp_path / "a.nii.gz"},
        description,
        recipe,
        brain_mask=tmp_path / "mask.nii.gz",
    )
    where = np.argwhere(is_lesion)
    assert raw.geometry["shape"] == (np.ptp(where, axis=0) + 1).tolist()
    with pytest.raises(ValueError, match="takes no brain mask"):
        recorded_recipe(describe(), brain_mask="mask.nii")
