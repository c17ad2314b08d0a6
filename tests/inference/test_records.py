"""A record says what a prediction means and what made it, whichever command wrote it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainmvp_lightning.inference.decisions import Labelling
from brainmvp_lightning.inference.loading import WEIGHTS_FILE
from brainmvp_lightning.inference.records import (
    Maker,
    classification_facts,
    segmentation_facts,
    source_of,
    write_study,
)
from brainmvp_lightning.inference.sliding_window import WindowOptions
from brainmvp_lightning.inference.writing import StudyPrediction, Target
from tests.inference.test_writing import file_of, geometry_of
from tests.inference.tiny_networks import make_classifier, make_model

FILE = file_of(np.eye(4), (4, 4, 4))
SOURCE = {"name": "best.ckpt", "sha256": "00"}


def segmented(**changes: Any) -> StudyPrediction:
    options: dict[str, Any] = {"missing": ("t2",), "warnings": ("t2 is damaged",), **changes}
    return StudyPrediction("a", geometry_of((4, 4, 4), FILE), torch.zeros(2, 4, 4, 4), **options)


def test_facts_name_values_regions_gaps_and_maker() -> None:
    labelling = Labelling(("background", "lesion"), (0, 4))
    windows = WindowOptions(overlap=0.25, batch=2, flips="x")
    maker = Maker(make_model(), SOURCE, windows, labelling, notes=("of all",))
    facts = segmentation_facts(segmented(), maker, labelling, Target(FILE, relative_to="cache"))
    assert facts["labels"] == {"0": "background", "4": "lesion"}
    assert facts["regions"] == {"lesion": [4]}
    assert facts["missing"] == {"t2": "zeros"}
    assert facts["recipe"] == maker.model.description.recipe
    assert facts["reference"] == {"modality": "t1", "path": "t1.nii.gz", "relative_to": "cache"}
    assert facts["model"] == SOURCE
    assert facts["warnings"] == ["t2 is damaged", "of all"]
    assert (facts["task"], facts["device"]) == ("segmentation", "cpu")
    assert facts["windows"] == {
        "overlap": 0.25,
        "blend": "gaussian",
        "batch": 2,
        "flips": "x",
        "accumulate": "auto",
    }


@pytest.mark.parametrize(
    ("flips", "axes"), [(False, ""), ("", ""), (True, "xyz"), ("zx", "xz"), ("xyz", "xyz")]
)
def test_flips_are_recorded_as_axes_however_they_were_asked_for(
    flips: bool | str, axes: str
) -> None:
    maker = Maker(make_classifier(), SOURCE, WindowOptions(flips=flips))
    prediction = StudyPrediction("a", geometry_of((4, 4, 4)), torch.tensor([0.25, 0.75]))
    assert classification_facts(prediction, maker)["windows"]["flips"] == axes


def test_facts_of_a_classification_are_the_chances_of_classes() -> None:
    prediction = StudyPrediction("a", geometry_of((4, 4, 4)), torch.tensor([0.25, 0.75]))
    facts = classification_facts(prediction, Maker(make_classifier(), SOURCE, None))
    assert facts["class"] == "bright"
    assert facts["probabilities"] == {"dark": 0.25, "bright": 0.75}
    assert (facts["model"], facts["windows"], facts["warnings"]) == (SOURCE, None, [])


def test_weights_are_named_with_the_digest_of_their_file(tmp_path: Path) -> None:
    checkpoint, weights = tmp_path / "best.ckpt", tmp_path / "exported" / WEIGHTS_FILE
    weights.parent.mkdir()
    for path in (checkpoint, weights):
        path.write_bytes(path.name.encode())
    for named, path in ((checkpoint, checkpoint), (weights.parent, weights)):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert source_of(str(named)) == {"name": str(named), "sha256": digest}
    assert source_of("owner/name") == {"name": "owner/name"}  # on the hub
    assert source_of(None) == {"name": None}


def test_a_record_lies_beside_what_it_is_of(tmp_path: Path) -> None:
    maker = Maker(
        make_model(), SOURCE, WindowOptions(), Labelling(("background", "lesion"), (0, 1))
    )
    chances = replace(maker, probabilities=True)
    written = write_study(segmented(), chances, Target(FILE), tmp_path, {"inputs": {"t1": "x"}})
    assert [path.name for path in written] == [
        "a_seg.nii.gz",
        "a_prob-background.nii.gz",
        "a_prob-lesion.nii.gz",
        "a_seg.json",
    ]
    facts = json.loads(written[-1].read_text())
    assert facts["inputs"] == {"t1": "x"}
    assert facts["probabilities"] == {
        "background": "a_prob-background.nii.gz",
        "lesion": "a_prob-lesion.nii.gz",
    }
    plain = write_study(segmented(), maker, Target(FILE), tmp_path / "plain")
    assert "probabilities" not in json.loads(plain[-1].read_text())
    with pytest.raises(ValueError, match="labels of a need a grid"):
        write_study(segmented(), maker, None, tmp_path)
