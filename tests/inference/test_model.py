"""A fine-tuned model knows what it needs, fills what is missing, and can be written down."""

import json

import pytest
import torch

from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.inference.sliding_window import WindowOptions
from brainmvp_lightning.methods.frozen_templates import FrozenTemplates
from tests.inference.tiny_networks import describe, make_classifier, make_model


def ramp_templates() -> FrozenTemplates:
    """Template of t1 rises along x, that of t2 is 0.75; voxel (4, 4, 4) is the reference."""
    volumes = torch.full((2, 8, 8, 8), 0.75)
    volumes[0] = (torch.arange(8) / 8)[:, None, None]
    return FrozenTemplates(("t1", "t2"), volumes, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def test_missing_modalities_become_the_templates_at_their_place() -> None:
    model = make_model(templates=ramp_templates())
    image = torch.full((2, 2, 4, 4, 4), 0.5)
    present = torch.tensor([[True, False], [False, True]])
    origin = torch.tensor([[0, 0, 0], [-3, -3, -3]])
    filled = model.fill(image, present, origin)
    assert filled[0].flatten(1).mean(dim=1).tolist() == [0.5, 0.75]
    assert filled[1, 0, :, 0, 0].tolist() == [1 / 8, 2 / 8, 3 / 8, 4 / 8]  # voxels 1 to 4
    assert filled[1, 1].unique().tolist() == [0.5]


def test_zeros_stand_in_where_asked_for_or_without_templates() -> None:
    with_templates = make_model(templates=ramp_templates())
    with_templates.missing = "zeros"
    for model in (with_templates, make_model()):
        assert model.fills_with == "zeros"
        filled = model.fill(
            torch.ones(1, 2, 4, 4, 4), torch.tensor([[False, True]]), torch.zeros(1, 3).long()
        )
        assert filled.flatten(2).mean(dim=2).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("missing", ["templates", "zeros"])
@pytest.mark.parametrize("has_templates", [True, False])
def test_what_fills_a_gap_is_what_is_said_to(missing: str, has_templates: bool) -> None:
    model = make_model(templates=ramp_templates() if has_templates else None)
    model.missing = missing  # type: ignore[assignment]
    filled = model.fill(
        torch.ones(1, 2, 4, 4, 4), torch.tensor([[True, False]]), torch.zeros(1, 3).long()
    )
    expected = {"templates": 0.75, "zeros": 0.0}[model.fills_with]
    assert filled[0, 1].unique().tolist() == [expected]
    assert model.fills_with == ("templates" if has_templates and missing != "zeros" else "zeros")


def test_an_image_without_any_modality_is_refused() -> None:
    present = torch.tensor([[True, True], [False, False]])
    with pytest.raises(ValueError, match="at least one of t1, t2"):
        make_model().fill(torch.zeros(2, 2, 4, 4, 4), present, torch.zeros(2, 3).long())


def test_a_model_is_rebuilt_from_its_spec_and_tensors() -> None:
    model = make_model(templates=ramp_templates(), gain=3.0)
    spec = json.loads(json.dumps(model.spec()))
    assert spec["format"] == 1
    again = FineTunedModel.from_spec(spec)
    assert again.templates is not None
    assert again.templates.volumes.abs().sum() == 0
    again.load_state_dict(model.state_dict())
    assert again.spec() == model.spec()
    image = torch.rand(1, 2, 8, 8, 8)
    torch.testing.assert_close(again(image).logits[0], model(image).logits[0])


def test_probabilities_are_shares_of_classes_or_chances_of_regions() -> None:
    logits = torch.zeros(1, 2, 1, 1, 1, dtype=torch.bfloat16)
    assert make_model().probabilities(logits).flatten().tolist() == [0.5, 0.5]
    assert make_model().probabilities(logits).dtype == torch.float32
    regions = describe(
        overlapping=True, region_names=("TC", "WT"), label_regions=((), ("WT",), ("TC", "WT"))
    )
    likely = make_model(regions, levels=(0.25, 0.5)).probabilities(
        torch.full((1, 2, 1, 1, 1), 50.0)
    )
    assert likely.flatten().tolist() == [1.0, 1.0]


def test_a_volume_is_predicted_with_its_gaps_filled() -> None:
    model = make_model(templates=ramp_templates(), gain=1000.0)
    image = torch.zeros(1, 2, 20, 18, 16)
    image[:, 0, :10] = 0.75
    answer = model.predict_volume(
        image, torch.tensor([[True, False]]), torch.tensor([[-4, -4, -4]]), WindowOptions()
    )
    assert answer.shape == (1, 2, 20, 18, 16)
    assert answer.requires_grad is False
    lesion = answer[0, 1] > 0.5
    assert lesion[:8, :8, :8].all()  # bright, and the template of t2 is there: mean 0.75
    assert not lesion[10:].any()
    assert not lesion[:, 8:].any()  # beyond the template


def test_a_classifier_answers_once_for_the_whole_image() -> None:
    model = make_classifier(modalities=("t1",))
    answer = model.predict_volume(
        torch.full((2, 1, 5, 6, 7), 0.5),
        torch.ones(2, 1).bool(),
        torch.zeros(2, 3).long(),
        WindowOptions(flips=True),
    )
    expected = torch.softmax(torch.tensor([0.0, 0.5]), dim=0)
    torch.testing.assert_close(answer, expected.expand(2, 2))
    assert model.output_names == ("dark", "bright")


def test_an_answer_that_is_not_finite_is_no_answer() -> None:
    model = make_model(gain=float("nan"))
    with pytest.raises(FloatingPointError, match="not finite"):
        model.predict_volume(
            torch.rand(1, 2, 8, 8, 8),
            torch.ones(1, 2).bool(),
            torch.zeros(1, 3).long(),
            WindowOptions(),
        )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"format": None}, "format None"),
        ({"task": "regression"}, "task is 'regression'"),
        ({"head": {"class_path": "uniunett"}}, "unknown head"),
        ({"missing": "noise"}, "missing: 'noise'; it is templates or zeros"),
    ],
)
def test_a_spec_that_cannot_be_built_says_why(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FineTunedModel.from_spec({**make_model().spec(), **changes})


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        make_model(describe(num_outputs=0))
    with pytest.raises(ValueError, match="bring them to the data with for_data"):
        make_model(describe(("t2", "t1")), ramp_templates())
    spec = make_model().spec()
    del spec["head"]
    with pytest.raises(ValueError, match="lacks head"):
        FineTunedModel.from_spec(spec)
