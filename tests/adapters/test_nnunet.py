"""Raw data sets of nnU-Net 1 and 2."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmvp_lightning.adapters.dataset_json import scheme_of_labels
from brainmvp_lightning.adapters.nnunet import NnUnetAdapter
from brainmvp_lightning.studies.labels import scheme_from_json
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.trees import prepare_shipped, touch
from tests.volumes.images import head, save, scaled

VERSION_2 = {
    "channel_names": {"0": "T1", "1": "FLAIR"},
    "labels": {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3], "enhancing": 3},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}
VERSION_1 = {
    "modality": {"0": "T1", "1": "FLAIR"},
    "labels": {"0": "background", "1": "lesion"},
}
FILES = (
    "imagesTr/P_001_0000.nii.gz",
    "imagesTr/P_001_0001.nii.gz",
    "imagesTr/P_002_0000.nii.gz",
    "labelsTr/P_001.nii.gz",
    "imagesTs/P_003_0001.nii.gz",
)


def read(
    root: Path, content: dict[str, Any], **options: object
) -> tuple[list[Scan], NnUnetAdapter]:
    (root / "dataset.json").write_text(json.dumps(content))
    adapter = NnUnetAdapter(str(root), **options)  # type: ignore[arg-type]
    return adapter.scans(ModalityVocabulary()), adapter


@pytest.mark.parametrize("content", [VERSION_1, VERSION_2])
def test_both_versions(tmp_path: Path, content: dict[str, Any]) -> None:
    root = tmp_path / "Dataset001_Tumour"
    touch(root, *FILES)
    scans, adapter = read(root, content)
    studies = Manifest(tuple(scans)).validate().studies()
    assert [(study.id, [scan.modality for scan in study.scans]) for study in studies] == [
        ("Dataset001_Tumour_P_001", ["flair", "t1"]),
        ("Dataset001_Tumour_P_002", ["t1"]),
        ("Dataset001_Tumour_P_003", ["flair"]),
    ]
    scheme = "Dataset001_Tumour_labels"
    assert [study.label_scheme for study in studies] == [scheme, None, None]
    assert list(adapter.label_schemes) == [scheme]
    assert [scan.split for scan in scans] == [None, None, None, "test"]
    assert [(problem.reason, problem.is_handled) for problem in adapter.problems] == [
        ("the case has no label", True)
    ]
    assert len(read(root, content, include_test=False)[0]) == 3


def test_channels_by_other_names_can_be_named(tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    content = {"channel_names": {"0": "MRI", "1": "zscore"}, "labels": {"background": 0}}
    with pytest.raises(FileNotFoundError, match="has no usable images called CASE_0000"):
        read(tmp_path, content)
    scans, adapter = read(tmp_path, content, modalities={"0": "T1Gd"})
    assert {scan.modality for scan in scans} == {"t1ce"}
    reasons = [problem.reason for problem in adapter.problems if not problem.is_handled]
    assert reasons[0].startswith("channel 1 is left out: unknown modality 'zscore'")
    assert reasons[1:] == ["channel 1 has no known modality (known: 0 t1ce)"] * 2
    assert adapter.label_schemes == {}


def test_stray_files_are_told(tmp_path: Path) -> None:
    touch(tmp_path, *FILES, "imagesTr/P_004.nii.gz", "labelsTr/P_009.nii.gz")
    _, adapter = read(tmp_path, VERSION_2, dataset="d")
    reasons = {Path(problem.file).name: problem.reason for problem in adapter.problems}
    assert reasons["P_004.nii.gz"].startswith("its name does not end in the number of a channel")
    assert reasons["P_009.nii.gz"] == "there are no images of its case"


def test_a_case_that_trains_does_not_test(tmp_path: Path) -> None:
    touch(tmp_path, *FILES, "imagesTs/P_002_0001.nii.gz", "labelsTs/P_001.nii.gz")
    touch(tmp_path, "imagesTs/P_001_0000.nii.gz")
    scans, adapter = read(tmp_path, VERSION_2, dataset="d")
    studies = Manifest(tuple(scans)).validate().studies()
    assert {study.id: [scan.modality for scan in study.scans] for study in studies} == {
        "d_P_001": ["flair", "t1"],
        "d_P_002": ["t1"],
        "d_P_003": ["flair"],
    }
    assert [scan.split for scan in scans] == [None, None, None, "test"]
    told = [(p.study, Path(p.file).parent.name) for p in adapter.problems if not p.is_handled]
    assert told == [("d_P_001", "imagesTs"), ("d_P_002", "imagesTs")]
    assert "imagesTr has a case of this name" in adapter.problems[-1].reason


def test_cases_that_a_pattern_does_not_match_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/P1-1_0000.nii.gz", "imagesTr/P1-2_0000.nii.gz")
    touch(tmp_path, "imagesTr/P1_3_0000.nii.gz", "imagesTs/P2-1_0000.nii.gz")
    pattern = r"(?P<patient>P\d+)-(?P<session>\d+)"
    scans, adapter = read(tmp_path, VERSION_2, case_pattern=pattern)
    assert [(scan.patient, scan.session) for scan in scans] == [
        ("P1", "1"),
        ("P1", "2"),
        ("P1_3", ""),
        ("P2", "1"),
    ]
    assert [(problem.reason, problem.is_handled) for problem in adapter.problems] == [
        (
            "'case_pattern' does not match 1 of 3 cases (the first: P1_3); "
            "each is a patient of its own",
            True,
        )
    ]


def test_files_in_folders_below_are_not_mixed_in(tmp_path: Path) -> None:
    touch(tmp_path, *FILES, "imagesTr/old/P_002_0001.nii.gz", "labelsTr/old/P_001.nii.gz")
    scans, adapter = read(tmp_path, VERSION_2)
    assert len(scans) == 4
    assert scans[0].label == tmp_path / "labelsTr/P_001.nii.gz"
    assert [problem.file for problem in adapter.problems if not problem.is_handled] == [
        str(tmp_path / "labelsTr/old/P_001.nii.gz"),
        str(tmp_path / "imagesTr/old/P_002_0001.nii.gz"),
    ]


def test_other_formats_and_places_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*dataset.json"):
        NnUnetAdapter(str(tmp_path)).scans(ModalityVocabulary())
    with pytest.raises(ValueError, match=r"are .png files; convert them to .nii.gz"):
        read(tmp_path, VERSION_2 | {"file_ending": ".png"})
    with pytest.raises(FileNotFoundError, match="has no usable images"):
        read(tmp_path, VERSION_2)


def test_regions_become_a_scheme_of_overlapping_regions() -> None:
    plain = scheme_of_labels({**VERSION_2["labels"], "ignore": 4})  # type: ignore[dict-item]
    scheme = scheme_from_json("x", plain)
    assert scheme.values == {"value 1": 1, "value 2": 2, "enhancing": 3}
    assert scheme.region_values() == {
        "whole tumour": (1, 2, 3),
        "core": (2, 3),
        "enhancing": (3,),
    }
    assert scheme_of_labels({"background": 0}) is None
    assert scheme_of_labels({"0": 0, "1": 1}) == {"values": {"1": 1}, "regions": {"1": ["1"]}}
    with pytest.raises(ValueError, match="labels must look like"):
        scheme_of_labels({"tumour": "large"})


def test_the_shipped_configuration_prepares_a_tree(tmp_path: Path) -> None:
    root = tmp_path / "Dataset001_Tumour"
    for name in FILES[:2]:
        save(root / name, head(), scaled())
    save(root / FILES[3], (head() > 150).astype(np.uint8), scaled())
    (root / "dataset.json").write_text(json.dumps(VERSION_1))
    cache = prepare_shipped("nnunet", tmp_path, {"source.root": str(root)})
    assert cache.label_schemes["Dataset001_Tumour_labels"].values == {"lesion": 1}
    assert cache.studies[0].label_scheme == "Dataset001_Tumour_labels"
    assert [(study.id, study.modalities, study.label is not None) for study in cache.studies] == [
        ("Dataset001_Tumour_P_001", ("flair", "t1"), True)
    ]
