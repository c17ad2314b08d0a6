"""What a fine-tuning starts from: every kind of weights file, and where its templates are from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainmvp_lightning.methods.substitution import SubstitutionOptions
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from brainmvp_lightning.tasks.starting import Start
from brainmvp_lightning.volumes.nifti import write_nifti
from brainmvp_lightning.weights.export import read_weights, write_weights
from brainmvp_lightning.weights.transfer import TransferOptions
from tests.tasks.fine_tuning import write_encoder
from tests.tasks.starts import DATA, KINDS, SMALL, Written
from tests.weights.files import write_pretraining

WEIGHTLESS = "there are no weights"


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


def start(**options: Any) -> Start:
    defaults: dict[str, Any] = {
        "backbone": SMALL,
        "head": None,
        "weights": None,
        "transfer": TransferOptions(),
        "templates": None,
        "missing": None,
        "substitution": None,
    }
    return Start(**{**defaults, **options})


def greys(templates: Any) -> list[float]:
    """The highest value of each template."""
    values: list[float] = templates.volumes.amax(dim=(1, 2, 3)).tolist()
    return values


def test_encoder_tensors_arrive_and_the_stem_is_made_for_the_modalities(written: Written) -> None:
    model, report = start(backbone=written.backbone, weights=str(written.path)).build(
        DATA, "segmentation"
    )
    assert report is not None
    assert report.coverage == report.usage == 1.0
    own = model.backbone.state_dict()
    for name, expected in written.encoder.items():
        torch.testing.assert_close(own[name], expected, msg=name)


def test_templates_reach_the_task_and_stand_in_at_the_reference_point(written: Written) -> None:
    task = SegmentationTask(written.backbone, weights=str(written.path))
    task.build(DATA, seed=0)
    model = task.scored
    assert model.templates is not None
    assert model.templates.modalities == DATA.modalities
    torch.testing.assert_close(model.templates.volumes, written.templates)
    image = torch.full((1, 3, 4, 4, 4), 9.0)
    present, origin = torch.tensor([[True, False, False]]), torch.tensor([[0, -1, 2]])
    filled = model.fill(image, present, origin)[0]
    x, y, z = (a + b for a, b in zip(written.reference_voxel, (0, -1, 2), strict=True))
    assert filled[0].eq(9).all()
    expected = written.templates[1:, x : x + 4, y : y + 4, z : z + 4]
    torch.testing.assert_close(filled[1:], expected)
    assert expected.gt(0).any()


def nameless(path: Path) -> str:
    """A checkpoint whose run was built in Python, so that it says nothing of its options."""
    write_pretraining(path, hyper_parameters={})
    return str(path)


@pytest.mark.parametrize("missing", [None, "templates"])
def test_templates_that_are_not_named_are_asked_for(tmp_path: Path, missing: Any) -> None:
    weights = nameless(tmp_path / "last.ckpt")
    with pytest.raises(SetupError) as caught:
        start(weights=weights, missing=missing).build(DATA, "segmentation")
    assert str(caught.value) == (
        f"{weights} does not say which modalities its templates have and where they are; name "
        "them with model.templates, such as the encoder.safetensors or the folder templates of "
        "the run"
    )


@pytest.mark.parametrize(
    "entry", [{"modalities": ["t2", "t1", "flair", "pd"]}, {"affine": np.eye(4).tolist()}, 3]
)
def test_an_encoder_file_must_say_what_its_templates_are_and_where(
    tmp_path: Path, entry: Any
) -> None:
    path = write_encoder(tmp_path / "encoder.safetensors", ("t1", "t2", "flair", "pd"))
    tensors, manifest = read_weights(path)
    write_weights(path, tensors, {**manifest, "templates": entry})
    with pytest.raises(SetupError, match=r"does not say which modalities .* and where they are"):
        start(weights=str(path)).build(DATA, "segmentation")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_templates_that_are_given_come_before_those_of_the_weights(
    tmp_path: Path, kind: str
) -> None:
    if kind == "file":
        given = write_encoder(tmp_path / "other.safetensors", ("flair", "t1", "t2"))  # 0.1 to 0.3
    else:
        given = tmp_path / "templates"
        given.mkdir()
        for name, grey in (("flair", 0.1), ("t1", 0.2), ("t2", 0.3)):
            write_nifti(given / f"{name}.nii.gz", np.full((8, 8, 8), grey, np.float32), np.eye(4))
    named = write_encoder(tmp_path / "encoder.safetensors", ("t1", "t2", "flair"))
    for weights in (str(named), nameless(tmp_path / "last.ckpt"), None):
        model, _ = start(weights=weights, templates=str(given)).build(DATA, "segmentation")
        assert greys(model.templates) == pytest.approx([0.3, 0.2, 0.1])  # t2, t1, flair


def test_zeros_need_no_templates_unless_there_is_a_substitution(tmp_path: Path) -> None:
    weights = nameless(tmp_path / "last.ckpt")
    model, report = start(weights=weights, missing="zeros").build(DATA, "segmentation")
    assert report is not None
    assert model.templates is None
    assert model.fills_with == "zeros"
    both = start(weights=weights, missing="zeros", substitution=SubstitutionOptions())
    with pytest.raises(SetupError, match="does not say which modalities"):
        both.build(DATA, "segmentation")


@pytest.mark.parametrize("has_weights", [False, True])
@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"missing": "templates"}, "model.missing: templates"),
        ({"substitution": SubstitutionOptions()}, "model.substitution"),
    ],
)
def test_who_asks_for_templates_is_told_that_there_are_none(
    tmp_path: Path, has_weights: bool, options: dict[str, Any], asked: str
) -> None:
    weights = without_templates(tmp_path / "encoder.safetensors") if has_weights else None
    where = WEIGHTLESS if weights is None else f"{weights} holds none"
    with pytest.raises(SetupError) as caught:
        start(weights=weights, **options).build(DATA, "segmentation")
    assert str(caught.value) == (
        f"{asked} needs modality templates, but {where}; give a file with model.templates, or set "
        "model.substitution to null and model.missing to zeros"
    )


def test_without_templates_and_without_a_word_missing_modalities_are_zeros(tmp_path: Path) -> None:
    for weights in (None, without_templates(tmp_path / "encoder.safetensors")):
        model, report = start(weights=weights).build(DATA, "segmentation")
        assert (report is None) == (weights is None)
        assert model.templates is None
        assert model.fills_with == "zeros"


def without_templates(path: Path) -> str:
    """An encoder file of weights alone."""
    tensors, manifest = read_weights(write_encoder(path))
    del tensors["templates"], manifest["templates"]
    write_weights(path, tensors, manifest)
    return str(path)
