"""Crops hold the right modalities and classes, and are the same whoever reads them when."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainmvp_lightning.batches import LabelledBatch
from brainmvp_lightning.datamodules.segmentation import CropPlan, SegmentationDataModule
from brainmvp_lightning.studies.labels import LabelScheme
from brainmvp_lightning.volumes.cache import Clip
from tests.datamodules.labelled_cohort import (
    COHORT,
    OLD,
    Patient,
    damage,
    expected_classes,
    image_of,
    write_cohort,
)

SIZE = (8, 8, 8)
PATIENTS = {patient.name: patient for patient in COHORT}

pytestmark = pytest.mark.filterwarnings("ignore:.*studies are left out.*")


def module(cache: Path, **options: Any) -> SegmentationDataModule:
    defaults: dict[str, Any] = {
        "datasets": ["tumour"],
        "crop_size": SIZE,
        "batch_size": 2,
        "num_workers": 0,
    }
    return SegmentationDataModule(str(cache), **{**defaults, **options})


def epoch(data: SegmentationDataModule, number: int = 0) -> list[LabelledBatch]:
    loader = data.train_dataloader()
    loader.study_sampler.set_epoch(number)
    return list(loader)


def same(first: LabelledBatch, second: LabelledBatch) -> bool:
    assert first.keys() == second.keys()
    for key, value in first.items():
        other = second[key]  # type: ignore[literal-required]
        if not (torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other):
            return False
    return True


def unit(patient: str, modality: str) -> np.ndarray:
    image = image_of(PATIENTS[patient], modality).astype(np.float64)
    lower, upper = np.percentile(image, (5, 95))
    return ((image - lower) / (upper - lower)).clip(0, 1)


def box(start: torch.Tensor, size: tuple[int, int, int] = SIZE) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(a) + n) for a, n in zip(start, size, strict=True))


def test_channels_are_the_modalities_of_the_labelled_training_studies(labelled: Path) -> None:
    data = module(labelled)
    assert data.modalities == ("flair", "t1", "t1ce", "t2")
    assert data.channels == 4
    assert {study.patient for study in data.studies("train")} == {"a", "b", "c"}


def test_crops_hold_each_modality_at_one_place(labelled: Path) -> None:
    data = module(labelled)
    rows = 0
    for batch in epoch(data):
        assert batch["image"].dtype == torch.float32
        for row, name in enumerate(batch["study"]):
            where = box(batch["start"][row])
            for channel, modality in enumerate(data.modalities):
                image = batch["image"][row, channel].numpy()
                there = modality in PATIENTS[name].modalities.split()
                assert bool(batch["present"][row, channel]) == there
                expected = unit(name, modality)[where] if there else np.zeros(SIZE)
                assert image == pytest.approx(expected, abs=1e-5)
            classes = expected_classes(PATIENTS[name])[where]
            assert np.array_equal(batch["label"][row, 0].numpy(), classes)
            rows += 1
    assert rows == 4  # three studies on two places a step; the last one pads with weight 0


def test_origins_count_from_the_centre_of_the_study(labelled: Path) -> None:
    batch = epoch(module(labelled))[0]
    for row, name in enumerate(batch["study"]):
        middle = torch.tensor(PATIENTS[name].shape) // 2
        assert torch.equal(batch["origin"][row] + middle, batch["start"][row])


def test_origins_can_count_from_one_point_of_the_world(labelled: Path) -> None:
    data = module(labelled, placement="world")
    centre = np.array(data.describe().centre_mm)
    affines = {study.id: np.asarray(study.affine) for study in data.cache.studies}
    batch = epoch(data)[0]
    for row, name in enumerate(batch["study"]):
        # Voxels are 1 mm, and the reference point is rounded to a voxel.
        corner = affines[name][:3, 3] + batch["start"][row].numpy()
        assert np.abs(centre + batch["origin"][row].numpy() - corner).max() <= 0.5


def test_weights_are_shares_of_a_step(labelled: Path) -> None:
    first, last = epoch(module(labelled))
    assert first["weight"].tolist() == [0.5, 0.5]
    assert last["weight"].tolist() == [1.0, 0.0]
    assert (first["num_studies"], last["num_studies"]) == (2, 1)


def test_regions_come_as_channels_when_asked(labelled: Path) -> None:
    data = module(labelled, regions=True)
    batch = epoch(data)[0]
    assert batch["label"].shape == (2, 3, *SIZE)
    for row, name in enumerate(batch["study"]):
        classes = expected_classes(PATIENTS[name])[box(batch["start"][row])]
        for channel, least in enumerate((3, 2, 1)):  # ET, TC, WT
            assert np.array_equal(batch["label"][row, channel].numpy(), classes >= least)


def test_the_description_tells_outputs_apart(labelled: Path) -> None:
    classes, regions = module(labelled).describe(), module(labelled, regions=True).describe()
    assert (classes.num_outputs, classes.overlapping) == (4, False)
    assert (regions.num_outputs, regions.overlapping) == (3, True)
    assert classes.region_names == regions.region_names == ("ET", "TC", "WT")
    assert classes.label_names == ("background", "ED/SNFH", "NCR", "ET")
    assert classes.label_regions[2] == ("TC", "WT")
    assert classes.spacing_mm == (1.0, 1.0, 1.0)
    assert classes.crop_size == SIZE


def test_several_crops_of_a_visit_share_its_weight(labelled: Path) -> None:
    batch = epoch(module(labelled, crops_per_visit=3))[0]
    assert batch["image"].shape == (6, 4, *SIZE)
    assert batch["weight"].tolist() == pytest.approx([1 / 6] * 6)
    assert batch["study"][:3] == batch["study"][:1] * 3
    assert len({tuple(start) for start in batch["start"].tolist()}) > 3
    assert len(set(batch["key"].tolist())) == 6


def test_workers_change_nothing(labelled: Path) -> None:
    options: dict[str, Any] = {"crops_per_visit": 2, "label_share": 0.5, "visits_per_epoch": 2}
    alone = epoch(module(labelled, **options))
    helped = epoch(module(labelled, num_workers=2, **options))
    assert len(alone) == len(helped) == 3
    assert all(same(first, second) for first, second in zip(alone, helped, strict=True))


def test_epochs_differ_and_repeat(labelled: Path) -> None:
    data = module(labelled)
    assert not same(epoch(data, 0)[0], epoch(data, 1)[0])
    again = zip(epoch(data, 1), epoch(module(labelled), 1), strict=True)
    assert all(same(first, second) for first, second in again)
    assert not same(epoch(data)[0], epoch(module(labelled, seed=1))[0])


def test_a_loader_starts_inside_an_epoch(labelled: Path) -> None:
    whole = epoch(module(labelled, batch_size=1), 3)
    loader = module(labelled, batch_size=1).train_dataloader()
    loader.study_sampler.start_at(3, 1)
    rest = list(loader)
    assert len(rest) == 2
    assert all(same(first, second) for first, second in zip(rest, whole[1:], strict=True))


def test_crops_can_be_centred_on_annotations(tmp_path: Path) -> None:
    # A lesion of 3 voxels in a corner of 40: of 25 places along an axis, 5 hold some of it.
    large = Patient("x", "t1", scheme="lesion", values=(1,), shape=(40, 40, 40))
    cache = write_cohort(tmp_path, [large])

    def share(label_share: float) -> float:
        options: dict[str, Any] = {"crop_size": (16, 16, 16), "visits_per_epoch": 30}
        (study,) = epoch(module(cache, label_share=label_share, batch_size=30, **options))
        return float(study["label"].flatten(1).any(dim=1).float().mean())

    assert share(1.0) == 1.0
    assert share(0.0) < 0.2
    assert 0.25 < share(0.5) < 0.75


def test_centred_crops_stay_inside_and_small_studies_are_centred(labelled: Path) -> None:
    data = module(labelled)
    study = next(study for study in data.cache.studies if study.id == "small")
    loader = module(labelled, batch_size=1, visits_per_epoch=10).train_dataloader()
    for (request,) in loader.study_sampler:
        (start,), _ = CropPlan((12, 16, 18), label_share=1.0).starts(request, study)
        assert start[0] == -1  # the study has 10 voxels here, two less than the crop
        assert 0 <= start[1] <= 14
        assert start[2] == 0


def test_centred_crops_need_a_map_of_annotations(tmp_path: Path) -> None:
    cohort = [Patient("f", "t1"), Patient("x", "t1", scheme="brats2021", values=OLD)]
    data = module(write_cohort(tmp_path, cohort), label_share=0.5)
    stripped = [study for study in data.cache.studies if study.id == "f"]
    with pytest.raises(ValueError, match=r"does not say where annotations lie.*label_share 0.5"):
        data._check_blocks(stripped)


def test_a_damaged_scan_is_an_absent_channel(labelled_copy: Path) -> None:
    damage(labelled_copy, "a", "t1")
    data = module(labelled_copy, batch_size=3)
    (batch,) = epoch(data)
    row = batch["study"].index("a")
    assert batch["present"][row].tolist() == [True, False, True, True]
    assert not batch["image"][row, 1].any()
    assert batch["weight"][row] > 0
    (fault,) = batch["faults"]
    assert fault.startswith("a: ")
    assert "t1.b2nd" in fault


def test_a_damaged_annotation_has_no_weight(labelled_copy: Path) -> None:
    damage(labelled_copy, "b", "label")
    (batch,) = epoch(module(labelled_copy, batch_size=3, crops_per_visit=2))
    assert sum(batch["weight"].tolist()) == pytest.approx(2 / 3)
    rows = [row for row, name in enumerate(batch["study"]) if name == "b"]
    assert batch["weight"][rows].tolist() == [0.0, 0.0]
    assert not batch["label"][rows].any()
    assert len(batch["faults"]) == 1
    assert "label.b2nd" in batch["faults"][0]


def test_at_least_one_modality_is_present_even_without_a_readable_scan(labelled_copy: Path) -> None:
    damage(labelled_copy, "c", "t2")
    (batch,) = epoch(module(labelled_copy, batch_size=3))
    row = batch["study"].index("c")
    assert batch["present"][row].tolist() == [False, False, False, True]
    assert batch["weight"][row] == 0
    assert not batch["image"][row].any()
    assert batch["present"].any(dim=1).all()


def test_ranks_share_the_studies_without_overlap(labelled: Path) -> None:
    data = module(labelled, batch_size=1, visits_per_epoch=2)
    seen = []
    for rank in range(2):
        loader = data.train_dataloader()
        loader.study_sampler.rank, loader.study_sampler.world_size = rank, 2
        seen += [(s, k) for b in loader for s, k in zip(b["study"], b["key"].tolist(), strict=True)]
    assert len(seen) == len({key for _, key in seen}) == 6
    assert sorted(name for name, _ in seen) == ["a", "a", "b", "b", "c", "c"]


def test_validation_gives_whole_volumes_padded_to_a_crop(labelled: Path) -> None:
    data = module(labelled, crop_size=(16, 16, 32))
    whole, small = list(data.val_dataloader())
    assert (whole["study"], small["study"]) == (["d"], ["small"])
    assert whole["image"].shape == (1, 4, 20, 24, 32)  # 18 slices became 32
    assert whole["start"].tolist() == [[0, 0, -7]]
    assert whole["label"].shape == (1, 1, 20, 24, 32)
    inside = whole["image"][0, 1, :, :, 7:25].numpy()
    assert inside == pytest.approx(unit("d", "t1"), abs=1e-5)
    assert np.array_equal(whole["label"][0, 0, :, :, 7:25].numpy(), expected_classes(PATIENTS["d"]))
    assert not whole["image"][..., :7].any()
    assert whole["present"].tolist() == [[True, True, False, True]]
    assert small["image"].shape == (1, 4, 16, 30, 32)
    assert small["present"].tolist() == [[False, True, False, False]]


def test_validation_repeats_itself_and_test_is_its_own_split(labelled: Path) -> None:
    data = module(labelled)
    loader = data.val_dataloader()
    first = [batch["key"] for batch in loader]
    loader.study_sampler.set_epoch(5)
    assert first == [batch["key"] for batch in loader]
    assert [batch["study"] for batch in data.test_dataloader()] == [["e"]]


def test_studies_of_different_regions_need_a_choice(labelled: Path) -> None:
    with pytest.raises(ValueError, match=r"different regions .*lesion: lesion.*data\.datasets"):
        module(labelled, datasets=None).describe()
    strokes = module(labelled, datasets=["stroke"])
    assert strokes.region_names == ("lesion",)
    assert strokes.modalities == ("flair", "dwi")


def test_what_is_left_out_is_counted(labelled: Path) -> None:
    with pytest.warns(UserWarning, match="left out") as caught:
        module(labelled).studies("train")
    sentences = sorted(str(warning.message) for warning in caught)
    assert [sentence.partition("because they have ")[2] for sentence in sentences] == [
        "an annotation without label scheme (name one with data.label_scheme) (such as g)",
        "annotation values 4, which label scheme 'brats2023' does not know (such as h)",
        "no annotation (such as f)",
    ]
    assert all(sentence.startswith("1 of 6 train studies") for sentence in sentences)


def test_a_scheme_can_be_named_for_annotations_without_one(labelled: Path) -> None:
    data = module(labelled, label_scheme="brats2023")
    assert "g" in {study.patient for study in data.studies("train")}
    with pytest.raises(
        ValueError, match=r"unknown label scheme 'brats23'; did you mean 'brats2023"
    ):
        module(labelled, label_scheme="brats23").describe()


def test_studies_with_few_modalities_can_be_left_out(labelled: Path) -> None:
    data = module(labelled, min_modalities=2)
    assert {study.patient for study in data.studies("train")} == {"a", "b"}
    assert {study.patient for study in data.studies("val")} == {"d"}


def test_the_order_of_channels_can_be_chosen(labelled: Path) -> None:
    data = module(labelled, modalities=["t2", "t1"], batch_size=3)
    (batch,) = epoch(data)
    row = batch["study"].index("a")
    expected = unit("a", "t2")[box(batch["start"][row])]
    assert batch["image"][row, 0].numpy() == pytest.approx(expected, abs=1e-5)
    assert data.describe().modalities == ("t2", "t1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["t1c"]}, r"data.modalities names 't1c'.*did you mean 't1ce'"),
        ({"modalities": ["t1", "t1"]}, "name each channel once"),
        ({"modalities": []}, "name each channel once"),
        ({"datasets": ["tumor"]}, r"data.datasets names 'tumor'.*did you mean 'tumour'"),
        ({"min_modalities": 5}, "no train studies that can be used: .*fewer than 5"),
        ({"min_modalities": 0}, "min_modalities is 0"),
        ({"label_fraction": 0.0}, "label_fraction is 0.0"),
        ({"label_share": 1.5}, "label_share 1.5"),
        ({"crops_per_visit": 0}, "crops_per_visit is 0"),
    ],
)
def test_options_that_cannot_be_met_are_named(
    labelled: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        module(labelled, **options).studies("train")


def test_smaller_fractions_are_part_of_larger_ones_and_change_nothing_else(tmp_path: Path) -> None:
    cohort = [
        Patient(f"p{number}", "t1", split, scheme="lesion", values=(1,), shape=(6, 6, 6))
        for number in range(60)
        for split in [("train", "train", "val", "test")[number % 4]]
    ]
    cache = write_cohort(tmp_path, cohort)
    kept, rest = [], set()
    for fraction in (0.2, 0.4, 0.6, 0.8, 1.0):
        data = module(cache, label_fraction=fraction)
        kept.append({study.id for study in data.studies("train")})
        rest.add(tuple(study.id for split in ("val", "test") for study in data.studies(split)))
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(kept))
    assert 0 < len(kept[0]) < len(kept[2]) < len(kept[4]) == 30
    assert len(rest) == 1


def test_clip_can_be_chosen(labelled: Path) -> None:
    data = module(labelled, clip=Clip(0.0, 100.0), batch_size=3)
    (batch,) = epoch(data)
    row = batch["study"].index("a")
    image = image_of(PATIENTS["a"], "t1").astype(np.float64)
    expected = ((image - image.min()) / np.ptp(image))[box(batch["start"][row])]
    assert batch["image"][row, 1].numpy() == pytest.approx(expected, abs=1e-5)


def test_hyper_parameters_are_plain(labelled: Path) -> None:
    kept = dict(module(labelled).hparams)
    assert kept["clip"] == {"lower": 5.0, "upper": 95.0, "over": "volume"}
    assert kept["datasets"] == ["tumour"]
    assert kept["label_fraction"] == 1.0


def test_schemes_of_the_user_are_taken_from_the_cache(tmp_path: Path) -> None:
    own = LabelScheme("own", {"cyst": 7}, {"hole": ("cyst",)})
    patient = Patient("x", "t1", scheme="own", values=(7,))
    data = module(write_cohort(tmp_path, [patient], {"own": own}))
    assert data.region_names == ("hole",)
    assert data.describe().label_names == ("background", "cyst")
