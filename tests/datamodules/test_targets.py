"""Releases that number or divide structures differently give the same classes and regions."""

import numpy as np
import pytest

from brainmvp_lightning.datamodules.targets import LabelTargets
from brainmvp_lightning.studies.labels import LabelScheme, label_schemes

SCHEMES = label_schemes()


def targets(*names: str) -> LabelTargets:
    return LabelTargets.of([SCHEMES[name] for name in names])


def test_enhancing_tumour_is_one_class_whatever_its_value() -> None:
    shared = targets("brats2021", "brats2023", "msd_brats")
    # ET is 4, 3, 3; necrosis 1, 1, 2; oedema 2, 2, 1.
    old, new, msd = (
        shared.classes(np.array(values, np.uint8), name)
        for name, values in (
            ("brats2021", [0, 2, 1, 4]),
            ("brats2023", [0, 2, 1, 3]),
            ("msd_brats", [0, 1, 2, 3]),
        )
    )
    assert old.tolist() == new.tolist() == msd.tolist() == [0, 1, 2, 3]
    assert shared.region_names == ("ET", "TC", "WT")
    assert shared.names == ("background", "ED/SNFH", "NCR/NET", "ET")
    assert shared.regions() == ((), ("WT",), ("TC", "WT"), ("ET", "TC", "WT"))


def test_structures_of_the_same_regions_are_one_class() -> None:
    shared = targets("brats2024_ped", "brats2023")
    # ET, NET, CC, ED: the cystic and the non-enhancing part both belong to TC and WT.
    classes = shared.classes(np.array([1, 2, 3, 4], np.uint8), "brats2024_ped")
    assert classes.tolist() == [3, 2, 2, 1]
    assert shared.names[2] == "NET/CC/NCR"


def test_what_belongs_to_no_region_is_background() -> None:
    shared = targets("mrbrains13_training", "mrbrains13")
    brainstem, ventricles = 8, 6
    values = np.array([brainstem, ventricles], np.uint8)
    assert shared.classes(values, "mrbrains13_training").tolist() == [0, 1]
    assert shared.classes(np.array([1, 2, 3]), "mrbrains13").tolist() == [1, 2, 3]


def test_regions_are_unions_of_classes() -> None:
    shared = targets("brats2021")
    classes = shared.classes(np.array([[0, 1], [2, 4]], np.uint8), "brats2021")
    enhancing, core, whole = shared.overlapping(classes)
    assert enhancing.tolist() == [[0, 0], [0, 1]]
    assert core.tolist() == [[0, 1], [0, 1]]
    assert whole.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_values_beyond_the_scheme_are_background(dtype: type) -> None:
    values = np.array([0, 1, 3, 100], dtype)
    assert targets("brats2021").classes(values, "brats2021").tolist() == [0, 2, 0, 0]
    if dtype is not np.uint8:
        wide = np.array([-1, 1000], dtype)
        assert targets("brats2021").classes(wide, "brats2021").tolist() == [0, 0]


def test_large_values_are_found() -> None:
    scheme = LabelScheme("parcels", {"left": 1001, "right": 2001}, {"both": ("left", "right")})
    shared = LabelTargets.of([scheme])
    assert shared.classes(np.array([0, 1001, 2001, 3000]), "parcels").tolist() == [0, 1, 1, 0]


def test_regions_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"different regions \(brats2021: ET, TC, WT; lesion: les"):
        targets("brats2021", "lesion")
    with pytest.raises(ValueError, match="no label scheme"):
        targets()


def test_demo_regions_come_outside_first() -> None:
    assert targets("demo").names == ("background", "ED", "infarct", "schwannoma", "NCR", "ET")


def test_files_keep_their_values_where_all_schemes_number_a_class_alike() -> None:
    schemes = label_schemes()
    assert LabelTargets.of([schemes["brats2023"]]).values() == (0, 2, 1, 3)  # SNFH, NCR, ET
    assert LabelTargets.of([schemes["brats2023"], schemes["brats2021"]]).values() == ()
    assert LabelTargets.of([schemes["mrbrains13_training"]]).values() == ()  # classes of several
