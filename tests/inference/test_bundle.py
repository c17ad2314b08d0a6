import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, load, verify_net_in_out

from brainmvp_lightning.inference.bundle import (
    ScaleToUnit,
    find_studies,
    save_bundle,
)
from brainmvp_lightning.inference.bundle_config import inference_config
from brainmvp_lightning.inference.model import ModelTask
from brainmvp_lightning.inference.sliding_window import WindowOptions
from brainmvp_lightning.weights.errors import WeightsError
from tests.inference.fine_tuned import fine_tuned, images

# Of MONAI's schema of 2024-07-25.
REQUIRED = {
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}
REQUIRED_OF_TENSORS = {
    "type",
    "format",
    "num_channels",
    "spatial_shape",
    "dtype",
    "value_range",
}


def parser(bundle: Path, **changes: Any) -> ConfigParser:
    """The bundle as MONAI reads it."""
    config = ConfigParser()
    config.read_config(bundle / "configs" / "inference.json")
    config.read_meta(bundle / "configs" / "metadata.json")
    config["bundle_root"] = str(bundle)
    for name, value in changes.items():
        config[name] = value
    return config


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_monai_builds_and_fills_our_network(task: ModelTask, tmp_path: Path) -> None:
    model = fine_tuned(task, templates=True)
    save_bundle(model, tmp_path / "bundle")
    network = filled(parser(tmp_path / "bundle"))
    with torch.no_grad():
        ours = model.probabilities(model(images()).logits[0])
        assert torch.equal(network(images()), ours)


@pytest.mark.filterwarnings("ignore:parsing config_file")  # only bundles that one trusts
def test_monai_loads_the_bundle_from_anywhere(tmp_path: Path) -> None:
    model = fine_tuned()
    save_bundle(model, tmp_path / "tumours")
    network = load("tumours", bundle_dir=tmp_path, workflow_type="inference", device="cpu")
    with torch.no_grad():
        assert torch.equal(network(images()), model.probabilities(model(images()).logits[0]))


def filled(config: ConfigParser) -> torch.nn.Module:
    """The network with the weights that MONAI's CheckpointLoader would read."""
    network: torch.nn.Module = config.get_parsed_content("network_def")
    path = config.get_parsed_content("handlers#0#load_path")
    assert config["handlers"][0]["load_dict"] == {"model": "@network"}
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_monai_finds_the_network_to_be_as_described(task: ModelTask, tmp_path: Path) -> None:
    save_bundle(fine_tuned(task), tmp_path / "bundle")
    configs = tmp_path / "bundle" / "configs"

    def verify() -> None:
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / "inference.json"),
            device="cpu",
            bundle_root=str(tmp_path / "bundle"),
        )

    verify()
    metadata = json.loads((configs / "metadata.json").read_text())
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] += 1
    (configs / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="channel"):  # so the first time it did look
        verify()


def test_names_that_look_like_code_are_not_run(tmp_path: Path) -> None:
    model = fine_tuned()
    names = ("$print(1)", "@device", "%bundle_root")
    model.description = dataclasses.replace(model.description, label_names=names)
    save_bundle(model, tmp_path / "bundle")
    network = parser(tmp_path / "bundle").get_parsed_content("network_def")
    assert network.model.output_names == names


def test_the_metadata_have_all_that_the_schema_asks_for(tmp_path: Path) -> None:
    save_bundle(fine_tuned(), tmp_path / "bundle", {"metrics": {"dice": 0.5}, "version": "1.2.0"})
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    assert metadata.keys() >= REQUIRED
    formats = metadata["network_data_format"]
    image, prediction = formats["inputs"]["image"], formats["outputs"]["pred"]
    assert min(image.keys(), prediction.keys()) >= REQUIRED_OF_TENSORS
    assert image["channel_def"] == {"0": "t1", "1": "flair"}
    assert prediction["channel_def"] == {"0": "background", "1": "oedema", "2": "core"}
    assert metadata["eval_metrics"] == {"dice": 0.5}
    assert metadata["version"] == "1.2.0"


def test_notes_lie_where_a_bundle_has_them(tmp_path: Path) -> None:
    save_bundle(fine_tuned(), tmp_path / "tumours", {"licence_note": "research only"})
    assert (tmp_path / "tumours" / "LICENSE").read_text() == "research only\n"
    assert "# tumours" in (tmp_path / "tumours" / "docs" / "README.md").read_text()


def test_a_failure_leaves_no_half_bundle(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        save_bundle(fine_tuned(), tmp_path / "bundle", {"metrics": {"dice": float("inf")}})
    assert not list(tmp_path.iterdir())


HEAD = (slice(2, 12), slice(6, 15), slice(0, 9))  # off-centre in 16 x 18 x 20 voxels


def write_study(folder: Path) -> dict[str, np.ndarray]:
    """Two aligned images of 16 x 18 x 20 voxels of 1 mm, mostly background, left to right."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    written = {}
    for name in ("t1", "flair"):
        array = np.zeros((16, 18, 20), np.float32)
        array[HEAD] = generator.uniform(10, 200, (10, 9, 9)).astype(np.float32)
        affine = np.diag([-1.0, 1.0, 1.0, 1.0])
        nib.save(nib.Nifti1Image(array, affine), folder / f"case_{name}.nii.gz")
        written[name] = array
    return written


@pytest.mark.parametrize("over", ["foreground", "volume"])
@pytest.mark.parametrize("overlapping", [False, True])
def test_the_bundle_segments_files_as_we_do_and_on_their_own_grid(
    overlapping: bool, over: str, tmp_path: Path
) -> None:
    model = fine_tuned(overlapping=overlapping)
    clip = {"lower": 5.0, "upper": 95.0, "over": over}
    model.description = dataclasses.replace(model.description, clip=clip)
    save_bundle(model, tmp_path / "bundle")
    arrays = write_study(tmp_path / "studies" / "case")
    config = parser(
        tmp_path / "bundle", dataset_dir=str(tmp_path / "studies"), output_dir=str(tmp_path / "out")
    )
    (item,) = config.get_parsed_content("dataset")
    network = filled(config)
    with torch.no_grad():
        item["pred"] = config.get_parsed_content("inferer")(item["image"][None], network)[0]
    found = config.get_parsed_content("postprocessing")(item)["pred"]

    head = np.stack([arrays["t1"][HEAD], arrays["flair"][HEAD]])[:, ::-1].copy()
    image = ScaleToUnit(5, 95, over)(torch.from_numpy(head))[None]
    assert torch.allclose(item["image"].as_tensor(), image[0], atol=1e-5)
    present, origin = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.int64)
    ours = model.predict_volume(image, present, origin, WindowOptions())[0]
    inside = (ours > 0.5).float() if overlapping else ours.argmax(0, keepdim=True).float()
    assert inside.any()
    expected = torch.zeros(len(inside), 16, 18, 20)
    expected[(slice(None), *HEAD)] = inside.flip(1)  # onto the grid of the files
    agreement = (found.as_tensor() == expected).float().mean()
    assert agreement > 0.999
    (path,) = (tmp_path / "out").rglob("*.nii.gz")
    assert nib.load(path).shape[:3] == (16, 18, 20)
    assert nib.load(path).affine[0, 0] == -1


def test_the_box_of_a_bundle_has_the_margin_of_the_recipe() -> None:
    model = fine_tuned()
    recipe = {"margin_mm": 4.0}
    model.description = dataclasses.replace(
        model.description, recipe=recipe, spacing_mm=(1.0, 2.0, 4.0)
    )
    steps = {one["_target_"]: one for one in inference_config(model)["preprocessing"]["transforms"]}
    assert steps["CropForegroundd"]["margin"] == [4, 2, 1]


def test_percentiles_of_the_foreground_become_0_and_1() -> None:
    values = torch.cat([torch.zeros(50), torch.arange(1.0, 102.0)]).view(1, -1, 1, 1)
    scaled = ScaleToUnit(5, 95)(values).flatten()
    assert scaled[:56].max() == 0
    assert scaled[56] == pytest.approx(1 / 90)  # 6 and 96 are the percentiles of 1 ... 101
    assert scaled[145:].min() == 1
    everywhere = ScaleToUnit(0, 100, "volume")(values).flatten()
    assert everywhere[-1] == 1
    assert everywhere[75] == pytest.approx(26 / 101)
    assert not ScaleToUnit(5, 95)(torch.ones(2, 3, 3, 3)).any()


def test_studies_are_folders_with_a_file_for_each_channel(tmp_path: Path) -> None:
    write_study(tmp_path / "a")
    (tmp_path / "a" / "case_seg.nii.gz").touch()
    (study,) = find_studies(tmp_path, ("flair", "t1"))
    assert [Path(path).name for path in study["image"]] == [
        "case_flair.nii.gz",
        "case_t1.nii.gz",
    ]
    with pytest.raises(FileNotFoundError, match="has no adc; a bundle takes complete studies"):
        find_studies(tmp_path, ("t1", "adc"))
    with pytest.raises(FileNotFoundError, match="has no folders of studies"):
        find_studies(tmp_path / "a", ("t1",))
