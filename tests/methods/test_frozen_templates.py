"""Frozen templates: crops at their true place on the grid of any data, from files of both kinds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from brainmvp_lightning.batches import LabelledDescription, Size
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates, load_templates
from brainmvp_lightning.methods.templates import PUBLISHED_MODALITIES, ModalityTemplates
from brainmvp_lightning.volumes.errors import VolumeError
from brainmvp_lightning.volumes.nifti import write_nifti
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.export import write_weights

SHAPE = (7, 9, 6)
DATA = LabelledDescription(("t2", "t1"), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (4, 4, 4))
NAMES = ("flair", "t1", "t2")


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def templates(shape: Size = SHAPE, centre_mm: Size = (0, 0, 0)) -> FrozenTemplates:
    return FrozenTemplates(NAMES, noise(3, *shape), (1, 1, 1), centre_mm)


def ramp(shape: Size, spacing_mm: tuple[float, float, float]) -> Tensor:
    """Return world coordinates in mm from the reference voxel, ``3 x y z``, one for each axis."""
    axes = [
        (torch.arange(float(side)) - side // 2) * edge
        for side, edge in zip(shape, spacing_mm, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-15, 15)] * 3), min_size=1, max_size=3),
    st.tuples(*[st.integers(1, 12)] * 3),
)
def test_crops_equal_padding_and_slicing(origins: list[Size], size: Size) -> None:
    made = templates()
    pad = 40
    padded = functional.pad(made.volumes, (pad,) * 6)
    expected = []
    for origin in origins:
        first = [pad + side // 2 + step for side, step in zip(SHAPE, origin, strict=True)]
        x, y, z = (slice(a, a + side) for a, side in zip(first, size, strict=True))
        expected.append(padded[:, x, y, z])
    assert torch.equal(made.crop(torch.tensor(origins), size), torch.stack(expected))


def test_crops_are_those_that_the_templates_were_learned_with() -> None:
    learned = ModalityTemplates(NAMES, SHAPE)
    learned.values.data = noise(3, *SHAPE)
    frozen = FrozenTemplates(NAMES, learned.volumes(), (1, 1, 1), (0, 0, 0))
    origins = torch.tensor([[-3, -6, 1], [0, 2, -4]])
    for channel in range(3):
        expected = learned.crop(torch.full((2,), channel), origins, (5, 4, 6))
        assert torch.equal(frozen.crop(origins, (5, 4, 6))[:, channel, None], expected)


def test_cutting_a_crop_leaves_the_templates_alone() -> None:
    made = templates()
    before = made.volumes.clone()
    crop = made.crop(torch.tensor([[-9, -9, -9]]), (20, 20, 20))
    crop.fill_(7)
    assert torch.equal(made.volumes, before)
    assert not list(made.parameters())


def test_cutting_a_crop_reads_no_value_on_the_host() -> None:
    # Tensors of the meta device have shapes and no values: to ask for one is an error.
    origins = torch.empty(2, 3, dtype=torch.int64, device="meta")
    assert templates().to("meta").crop(origins, (4, 5, 6)).shape == (2, 3, 4, 5, 6)


def test_templates_are_found_by_name_in_the_order_of_the_channels() -> None:
    shape = (2, 2, 2)
    level = torch.arange(8.0).view(8, 1, 1, 1).expand(8, *shape) / 10
    made = FrozenTemplates(PUBLISHED_MODALITIES, level, (1, 1, 1), (0, 0, 0))
    modalities = ("adc", "t1ce", "pd", "flair")
    chosen = made.for_data(dataclasses.replace(DATA, modalities=modalities))
    assert chosen.modalities == modalities
    crop = chosen.crop(torch.tensor([[0, 0, 0]]), (1, 1, 1))
    assert crop.flatten().tolist() == pytest.approx([0.7, 0.2, 0.5, 0.0])


def test_a_modality_without_template_is_named_with_the_nearest() -> None:
    data = dataclasses.replace(DATA, modalities=("t1", "t2w", "swi"))
    with pytest.raises(ValueError, match=r"have t2w, swi, .*did you mean t2.*flair, t1, t2"):
        templates().for_data(data)


def test_placement_centre_ignores_the_world() -> None:
    data = dataclasses.replace(DATA, centre_mm=(500.0, 0.0, 0.0))
    origin = torch.tensor([[-1, -2, 0]])
    expected = templates().crop(origin, (3, 3, 3))[:, [2, 1]]
    assert torch.equal(templates().for_data(data).crop(origin, (3, 3, 3)), expected)


def test_placement_world_finds_the_same_millimetres() -> None:
    # A voxel is as bright as its world coordinates: reference voxel (3, 4, 3) is at (10, 20, 30).
    spacing = (2.0, 1.0, 1.0)
    world = ramp(SHAPE, spacing) + torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1, 1)
    made = FrozenTemplates(NAMES, world, spacing, (10, 20, 30))
    # 3.1 mm to the right are 1.55 voxels, hence 2; then 2 voxels back and 0.4 up, hence 0.
    data = LabelledDescription(NAMES, spacing, (13.1, 18.0, 30.4), (1, 1, 1), "world")
    moved = made.for_data(data)
    here = moved.crop(torch.tensor([[0, 0, 0], [1, -2, 2]]), (1, 1, 1))
    assert here[0].flatten().tolist() == [14, 18, 30]
    assert here[1].flatten().tolist() == [14 + 2, 18 - 2, 30 + 2]
    assert moved.centre_mm == (14, 18, 30)
    assert moved.reference_voxel.tolist() == [5, 2, 3]


def test_templates_of_another_world_are_refused() -> None:
    data = dataclasses.replace(DATA, centre_mm=(0.0, 120.0, 0.0), placement="world")
    with pytest.raises(ValueError, match=r"0.0, 120.0, 0.0 mm, outside .* use data.placement c"):
        templates().for_data(data)


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (0.5, 1.0, 0.8), (3.0, 2.0, 0.4)])
@pytest.mark.parametrize("shape", [(7, 9, 6), (8, 8, 8)])
def test_resampling_keeps_the_reference_and_interpolates_linearly(
    spacing: tuple[float, float, float], shape: Size
) -> None:
    made = FrozenTemplates(NAMES, ramp(shape, (1, 1, 1)), (1, 1, 1), (4, 5, 6))
    new = made.for_data(dataclasses.replace(DATA, modalities=NAMES, spacing_mm=spacing))
    assert new.spacing_mm == spacing
    assert new.centre_mm == (4, 5, 6)
    assert new.reference_voxel.tolist() == [side // 2 for side in new.shape]
    expected = ramp(new.shape, spacing)
    low, high = (
        torch.tensor([float(find(-(side // 2), side - 1 - side // 2)) for side in shape])
        for find in (min, max)
    )
    limits = low.view(3, 1, 1, 1), high.view(3, 1, 1, 1)
    is_inside = ((expected >= limits[0] - 1e-6) & (expected <= limits[1] + 1e-6)).all(dim=0)
    assert torch.allclose(new.volumes[:, is_inside], expected[:, is_inside], atol=1e-5)
    # No voxel of the old grid is lost: the new one reaches as far.
    assert (expected.amin(dim=(1, 2, 3)) <= low + 1e-6).all()
    assert (expected.amax(dim=(1, 2, 3)) >= high - 1e-6).all()


def test_resampling_counts_what_is_outside_as_zero() -> None:
    made = FrozenTemplates(("t1",), torch.ones(1, 3, 3, 3), (1, 1, 1), (0, 0, 0))
    data = dataclasses.replace(DATA, modalities=("t1",), spacing_mm=(1.0, 1.0, 0.75))
    new = made.for_data(data)
    # Voxels at -1.5, -0.75, 0, 0.75, 1.5 mm; the outer ones are half a voxel beyond the last.
    assert new.volumes[0, 1, 1].tolist() == pytest.approx([0.5, 1, 1, 1, 0.5])


def test_rounding_adds_no_voxel() -> None:
    made = FrozenTemplates(("t1",), noise(1, 5, 5, 5), (2.1, 2.1, 2.1), (0, 0, 0))
    data = dataclasses.replace(DATA, modalities=("t1",), spacing_mm=(0.7, 0.7, 0.7))
    assert 2.1 / 0.7 > 3
    assert made.for_data(data).shape == (13, 13, 13)  # 2 * 3 on either side of the reference


def test_templates_that_were_moved_can_be_brought_to_other_data() -> None:
    world = ramp((9, 9, 9), (1, 1, 1))
    made = FrozenTemplates(NAMES, world, (1, 1, 1), (0, 0, 0))
    data = LabelledDescription(NAMES, (1.0, 1.0, 1.0), (-3.0, 3.0, 1.0), (1, 1, 1), "world")
    once = made.for_data(data)
    assert torch.equal(once.for_data(data).reference_voxel, once.reference_voxel)
    finer = once.for_data(dataclasses.replace(data, spacing_mm=(0.5, 0.5, 0.5)))
    here = finer.crop(torch.tensor([[0, 0, 0], [1, 1, 1], [-2, 2, 0]]), (1, 1, 1))
    assert here[0].flatten().tolist() == pytest.approx([-3, 3, 1])
    assert here[1].flatten().tolist() == pytest.approx([-2.5, 3.5, 1.5])
    assert here[2].flatten().tolist() == pytest.approx([-4, 4, 1])


def test_world_placement_and_resampling_go_together() -> None:
    made = FrozenTemplates(NAMES, ramp((9, 9, 9), (1, 1, 1)), (1, 1, 1), (0, 0, 0))
    data = LabelledDescription(NAMES, (0.5, 0.5, 0.5), (1.5, -1.0, 0.0), (1, 1, 1), "world")
    here = made.for_data(data).crop(torch.tensor([[0, 0, 0], [1, 1, 1]]), (1, 1, 1))
    assert here[0].flatten().tolist() == pytest.approx([1.5, -1.0, 0.0])
    assert here[1].flatten().tolist() == pytest.approx([2.0, -0.5, 0.5])


def test_the_common_head_fills_the_shape_that_studies_are_resized_to() -> None:
    volumes = torch.zeros(2, 12, 10, 8)
    volumes[0, 2:6, 1:9, 2:6] = ramp((4, 8, 4), (0.1, 0.01, 0.1))[0] + 0.5
    volumes[1, 4:10, 1:9, 2:6] = 0.5  # together x 2 to 10
    made = FrozenTemplates(("t1", "t2"), volumes, (1, 2, 1), (0, 0, 0))
    data = dataclasses.replace(DATA, resized_to=(4, 4, 4), placement="world")
    new = made.for_data(data)
    expected = functional.interpolate(
        volumes[None, [1, 0], 2:10, 1:9, 2:6], size=(4, 4, 4), mode="trilinear"
    )[0]
    assert new.shape == (4, 4, 4)
    assert torch.equal(new.volumes, expected)
    # Origins count from resized_to // 2, as in the data.
    whole = new.crop(torch.tensor([[-2, -2, -2]]), (4, 4, 4))
    assert torch.equal(whole[0], expected)
    assert new.spacing_mm == (2, 4, 1)
    # New voxel 2 along x spans old voxels 6 and 7, whose middle 6.5 is half a voxel from 6.
    assert new.centre_mm == (0.5, 2 * 0.5, 0)


def test_specks_outside_of_the_head_do_not_count() -> None:
    volumes = torch.zeros(1, 20, 20, 20)
    volumes[0, 5:15, 5:15, 5:15] = 0.5
    volumes[0, 0, 0, 0] = 1.0  # one voxel in 400 is a quarter of a percent of a slice
    made = FrozenTemplates(("t1",), volumes, (1, 1, 1), (0, 0, 0))
    data = dataclasses.replace(DATA, modalities=("t1",), resized_to=(10, 10, 10))
    assert torch.equal(made.for_data(data).volumes, torch.full((1, 10, 10, 10), 0.5))


def test_templates_without_a_head_cannot_be_resized() -> None:
    empty = FrozenTemplates.empty(("t1", "t2"), SHAPE, (1, 1, 1), (0, 0, 0))
    with pytest.raises(ValueError, match="the templates show no head"):
        empty.for_data(dataclasses.replace(DATA, resized_to=(4, 4, 4)))


def test_a_state_fills_empty_templates_of_the_same_shape() -> None:
    data = dataclasses.replace(DATA, placement="world", centre_mm=(2.0, 1.0, -2.0))
    made = templates().for_data(data)
    again = FrozenTemplates.empty(made.modalities, made.shape, made.spacing_mm, made.centre_mm)
    again.load_state_dict(made.state_dict())
    origin = torch.tensor([[-1, 0, 1]])
    assert torch.equal(again.crop(origin, (3, 3, 3)), made.crop(origin, (3, 3, 3)))
    assert again.centre_mm == (2, 1, -2)


def learned() -> ModalityTemplates:
    made = ModalityTemplates(NAMES, SHAPE)
    made.values.data = 1.4 * noise(3, *SHAPE) - 0.2
    made.place((1.0, 2.0, 1.5), (3.0, -4.0, 5.0))
    return made


def manifest_of(made: ModalityTemplates) -> dict[str, object]:
    return {"modalities": list(made.modalities), "affine": made.affine().tolist()}


def test_a_file_of_weights_gives_images_in_their_place(tmp_path: Path) -> None:
    made = learned()
    path = tmp_path / "encoder.safetensors"
    tensors = {"templates": made.volumes(), "encoder.stem": torch.zeros(1)}
    write_weights(path, tensors, {"templates": manifest_of(made)})
    loaded = load_templates(path)
    assert loaded.modalities == NAMES
    assert loaded.spacing_mm == (1.0, 2.0, 1.5)
    assert loaded.centre_mm == (3.0, -4.0, 5.0)
    assert torch.equal(loaded.volumes, made.values.detach().clamp(0, 1))


def test_a_file_can_ask_for_each_template_to_be_scaled_by_its_extremes(tmp_path: Path) -> None:
    made = learned()
    path = tmp_path / "published.safetensors"
    manifest = {"templates": {**manifest_of(made), "rescale": "minmax"}}
    write_weights(path, {"templates": made.volumes()}, manifest)
    volumes = load_templates(path).volumes
    assert volumes.amin(dim=(1, 2, 3)).tolist() == [0, 0, 0]
    assert volumes.amax(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1, 1])
    made.rescale = "minmax"
    assert torch.allclose(volumes, made.volumes(), atol=1e-6)


def test_a_folder_of_nifti_files_gives_the_same(tmp_path: Path) -> None:
    made = learned()
    for name, volume in zip(NAMES, made.volumes().numpy(), strict=True):
        write_nifti(tmp_path / f"{name}.nii.gz", volume, made.affine().numpy())
    loaded = load_templates(str(tmp_path))
    assert loaded.modalities == NAMES
    assert loaded.spacing_mm == (1.0, 2.0, 1.5)
    assert loaded.centre_mm == (3.0, -4.0, 5.0)
    assert torch.equal(loaded.volumes, made.values.detach().clamp(0, 1))


def test_files_on_different_grids_are_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "t1.nii.gz", np.ones(SHAPE, np.float32), np.eye(4))
    write_nifti(tmp_path / "t2.nii.gz", np.ones(SHAPE, np.float32), np.diag([1, 1, 2, 1]))
    with pytest.raises(VolumeError, match=r"t2.nii.gz: its grid is not that of t1.nii.gz"):
        load_templates(tmp_path)


@pytest.mark.parametrize("turned", [np.diag([-1.0, 1, 1, 1]), np.eye(4)[[1, 0, 2, 3]]])
def test_turned_templates_are_refused(tmp_path: Path, turned: np.ndarray) -> None:
    write_nifti(tmp_path / "t1.nii.gz", np.ones(SHAPE, np.float32), turned)
    with pytest.raises(WeightsError, match=r"right, front and top \(RAS\+\).*reorient"):
        load_templates(tmp_path)


def test_files_without_templates_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder of templates"):
        load_templates(tmp_path / "nothing.safetensors")
    with pytest.raises(WeightsError, match=r"such as t1.nii.gz"):
        load_templates(tmp_path)
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"neither a .safetensors file nor a folder"):
        load_templates(checkpoint)
    path = tmp_path / "encoder.safetensors"
    write_weights(path, {"encoder.stem": torch.zeros(1)}, {})
    with pytest.raises(WeightsError, match=r"encoder.safetensors has no templates"):
        load_templates(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "does not say which modalities"),
        ({"modalities": ["t1"], "affine": np.eye(4).tolist()}, "does not suit the 1 modalities"),
    ],
)
def test_a_manifest_that_does_not_describe_the_templates_is_refused(
    tmp_path: Path, entry: dict[str, object], message: str
) -> None:
    path = tmp_path / "encoder.safetensors"
    write_weights(path, {"templates": noise(3, *SHAPE)}, {"templates": entry})
    with pytest.raises(WeightsError, match=message):
        load_templates(path)


def test_templates_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    made = learned()
    made.values.data[1, 2, 3, 4] = float("nan")
    path = tmp_path / "encoder.safetensors"
    write_weights(path, {"templates": made.volumes()}, {"templates": manifest_of(made)})
    with pytest.raises(WeightsError, match="not finite"):
        load_templates(path)


@pytest.mark.parametrize(
    ("modalities", "spacing", "message"),
    [
        (("t1", "t1"), (1, 1, 1), "each modality once, got t1, t1"),
        (("t1",), (1, 1, 1), "templates of 1 modalities"),
        (("t1", "t2"), (1, 0, 1), "must be positive"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(
    modalities: tuple[str, ...], spacing: Size, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenTemplates(modalities, torch.zeros(2, *SHAPE), spacing, (0, 0, 0))
