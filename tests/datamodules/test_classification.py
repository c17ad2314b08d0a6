"""Studies are resized and cropped alike, and their classes counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainmvp_lightning.batches import LabelledBatch
from brainmvp_lightning.datamodules.classification import ClassificationDataModule
from brainmvp_lightning.inference.geometry import resize
from brainmvp_lightning.volumes.cache import Clip
from tests.datamodules.labelled_cohort import COHORT, Patient, damage, image_of, write_cohort

PATIENTS = {patient.name: patient for patient in COHORT}

pytestmark = pytest.mark.filterwarnings("ignore:.*studies are left out.*")


def module(cache: Path, **options: Any) -> ClassificationDataModule:
    defaults: dict[str, Any] = {
        "classes": ["HGG", "LGG"],
        "resized_to": (12, 12, 8),
        "crop_size": (8, 8, 8),
        "batch_size": 2,
        "num_workers": 0,
    }
    return ClassificationDataModule(str(cache), **{**defaults, **options})


def epoch(data: ClassificationDataModule, number: int = 0) -> list[LabelledBatch]:
    loader = data.train_dataloader()
    loader.study_sampler.set_epoch(number)
    return list(loader)


def test_resizing_keeps_ramps_and_edges() -> None:
    # Halving averages neighbours: 0.5, 2.5, ...; the outer edges of the volume stay in place.
    ramp = np.arange(8, dtype=np.float32).reshape(1, 1, 8, 1, 1)
    assert resize(ramp, (4, 1, 1)).ravel().tolist() == [0.5, 2.5, 4.5, 6.5]


def test_crops_are_cut_from_the_resized_study(labelled: Path) -> None:
    data = module(labelled, clip=Clip(0.0, 100.0, "volume"))
    seen = set()
    for batch in epoch(data):
        for row, name in enumerate(batch["study"]):
            channel = data.modalities.index(PATIENTS[name].modalities.split()[0])
            image = image_of(PATIENTS[name], data.modalities[channel]).astype(np.float32)
            unit = (image - image.min()) / np.ptp(image)
            whole = resize(unit[None, None], (12, 12, 8))[0, 0]
            x, y, z = batch["start"][row].tolist()
            assert z == 0
            expected = whole[x : x + 8, y : y + 8]
            assert batch["image"][row, channel].numpy() == pytest.approx(expected, abs=1e-4)
            assert batch["origin"][row].tolist() == [x - 6, y - 6, -4]
            seen.add(name)
    assert seen == {"a", "b", "c", "f"}


def test_classes_are_numbered_in_the_order_given(labelled: Path) -> None:
    ids = {"HGG": 0, "LGG": 1}
    for batch in epoch(module(labelled)):
        expected = [ids[PATIENTS[name].target_class or ""] for name in batch["study"]]
        assert batch["target_class"].tolist() == expected
    turned = epoch(module(labelled, classes=["LGG", "HGG"], batch_size=4))[0]
    assert turned["target_class"][turned["study"].index("b")] == 0


def test_classes_are_found_and_sorted_by_default(labelled: Path) -> None:
    assert module(labelled, classes=None).class_names == ("HGG", "LGG", "MET")


def test_rare_classes_weigh_more(labelled: Path) -> None:
    data = module(labelled)
    # Three of HGG and one of LGG train: 4 / (2 * 3) and 4 / (2 * 1).
    assert data.class_weights == pytest.approx((2 / 3, 2.0))
    assert data.describe().class_weights == data.class_weights
    assert data.describe().class_names == ("HGG", "LGG")
    assert data.describe().num_outputs == 2
    assert data.describe().resized_to == (12, 12, 8)


def test_what_has_no_class_is_left_out_and_counted(labelled: Path) -> None:
    with pytest.warns(UserWarning, match="left out") as caught:
        module(labelled).studies("train")
    sentences = sorted(str(warning.message) for warning in caught)
    assert [sentence.partition(", because they have ")[::2] for sentence in sentences] == [
        (
            "1 of 7 train studies are left out",
            "class 'MET', which is none of HGG, LGG (such as h)",
        ),
        ("2 of 7 train studies are left out", "no class (such as g)"),
    ]


def test_workers_and_restarts_change_nothing(labelled: Path) -> None:
    def images(data: ClassificationDataModule, number: int = 1, first: int = 0) -> list[Any]:
        loader = data.train_dataloader()
        loader.study_sampler.start_at(number, first)
        return [batch["image"] for batch in loader]

    alone = images(module(labelled))
    assert len(alone) == 2
    helped = images(module(labelled, num_workers=2))
    assert all(torch.equal(first, second) for first, second in zip(alone, helped, strict=True))
    (last,) = images(module(labelled), first=2)
    assert torch.equal(last, alone[1])
    assert not torch.equal(images(module(labelled), 2)[0], alone[0])


def test_evaluation_takes_the_centre(labelled: Path) -> None:
    (batch,) = list(module(labelled, batch_size=1).val_dataloader())
    assert batch["study"] == ["d"]
    assert batch["start"].tolist() == [[2, 2, 0]]
    assert batch["origin"].tolist() == [[-4, -4, -4]]
    assert batch["geometry"][0]["scans"][0]["modality"] == "flair"
    assert "label" not in batch


def test_missing_and_damaged_modalities_are_absent(labelled_copy: Path) -> None:
    damage(labelled_copy, "a", "t2")
    damage(labelled_copy, "c", "t2")
    (batch,) = epoch(module(labelled_copy, batch_size=4))
    row = batch["study"].index("a")
    assert batch["present"][row].tolist() == [True, True, True, False]
    assert batch["weight"][row] == 0.25
    row = batch["study"].index("c")  # its only scan
    assert batch["weight"][row] == 0
    assert batch["present"][row].tolist() == [False, False, False, True]
    assert len(batch["faults"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["HGG"]}, "needs two or more different classes"),
        ({"classes": ["HGG", "HGG"]}, "needs two or more different classes"),
        ({"classes": ["HGG", "LGGG"]}, r"class LGGG is left \(found: HGG, LGG, MET\)"),
        ({"datasets": ["stroke"], "classes": None}, "can be used: they have no class"),
        ({"crop_size": (8, 16, 8)}, "must fit into data.resized_to"),
        ({"min_modalities": 3}, "class LGG is left"),
    ],
)
def test_options_that_cannot_be_met_are_named(
    labelled: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        module(labelled, **options).setup("fit")


def test_a_cache_to_test_on_needs_no_training_studies(tmp_path: Path) -> None:
    cache = write_cohort(tmp_path, [Patient("x", "t1", "test", target_class="HGG")])
    data = module(cache, batch_size=1)
    data.setup("test")
    assert data.describe().class_weights == (1.0, 1.0)
    assert [batch["target_class"].tolist() for batch in data.test_dataloader()] == [[0]]
