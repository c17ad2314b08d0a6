"""JSON lists of Decathlon and MONAI, whole and damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmvp_lightning.adapters.datalist import DatalistAdapter
from brainmvp_lightning.studies.labels import scheme_from_json
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.trees import prepare_shipped, touch
from tests.volumes.images import head, save, scaled

MSD = {
    "name": "BRATS",
    "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
    "labels": {
        "0": "background",
        "1": "edema",
        "2": "non-enhancing tumor",
        "3": "enhancing tumour",
    },
    "numTraining": 1,
    "numTest": 1,
    "training": [{"image": "./imagesTr/BRATS_457.nii.gz", "label": "./labelsTr/BRATS_457.nii.gz"}],
    "test": ["./imagesTs/BRATS_557.nii.gz"],
}


def read(path: Path, content: Any, **options: object) -> tuple[list[Scan], DatalistAdapter]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    adapter = DatalistAdapter(str(path), **options)  # type: ignore[arg-type]
    return adapter.scans(ModalityVocabulary()), adapter


def write_msd(root: Path) -> None:
    volumes = np.stack([head(seed=seed) for seed in range(4)], -1)
    save(root / "imagesTr/BRATS_457.nii.gz", volumes, scaled())
    save(root / "labelsTr/BRATS_457.nii.gz", (head() > 120).astype(np.uint8), scaled())
    save(root / "imagesTs/BRATS_557.nii.gz", volumes, scaled())


def test_volumes_of_a_decathlon_file_become_scans(tmp_path: Path) -> None:
    write_msd(tmp_path)
    scans, adapter = read(tmp_path / "dataset.json", MSD)
    assert [(scan.modality, scan.volumes) for scan in scans[:4]] == [
        ("flair", (0,)),
        ("t1", (1,)),
        ("t1ce", (2,)),
        ("t2", (3,)),
    ]
    studies = Manifest(tuple(scans)).validate().studies()
    assert [study.id for study in studies] == ["BRATS_BRATS_457", "BRATS_BRATS_557"]
    assert [len(study.scans) for study in studies] == [4, 4]
    assert [study.label_scheme for study in studies] == ["BRATS_labels", None]
    assert [scan.split for scan in scans] == [None] * 4 + ["test"] * 4
    assert adapter.problems == []
    scheme = scheme_from_json("BRATS_labels", adapter.label_schemes["BRATS_labels"])
    assert scheme.region_values() == {
        "edema": (1,),
        "non-enhancing tumor": (2,),
        "enhancing tumour": (3,),
    }
    scans, adapter = read(
        tmp_path / "dataset.json", MSD, label_scheme="msd_brats", include_test=False
    )
    assert {scan.label_scheme for scan in scans} == {"msd_brats"}
    assert len(scans) == 4
    assert adapter.label_schemes == {}


def test_the_order_of_volumes_is_never_guessed(tmp_path: Path) -> None:
    write_msd(tmp_path)
    content = {key: value for key, value in MSD.items() if key != "modality"}
    scans, adapter = read(tmp_path / "dataset.json", content)
    assert scans == []
    assert [problem.reason for problem in adapter.problems] == [
        "it holds 4 volumes, but 0 modalities are named"
    ] * 2
    order = ["t1", "CT", "t2", "flair"]
    scans, adapter = read(tmp_path / "dataset.json", MSD, modalities=order, include_test=False)
    assert [(scan.modality, scan.volumes[0]) for scan in scans] == [
        ("t1", 0),
        ("t2", 2),
        ("flair", 3),
    ]
    assert adapter.problems[0].reason.startswith("channel 1 is left out: unknown modality 'CT'")


def test_images_in_a_list_have_the_order_of_the_modalities_or_names(tmp_path: Path) -> None:
    names = [f"c1/c1_{name}.nii.gz" for name in ("a", "b")]
    touch(tmp_path, *names, "c2/t1.nii.gz", "c2/T2_n4.nii.gz", "c3-T1_post.nii.gz")
    training = [{"image": names}]
    content = {"training": training, "channel_names": ["t1", "flair"]}
    scans, _ = read(tmp_path / "list.json", content)
    assert [(scan.patient, scan.modality, scan.path.name) for scan in scans] == [
        ("c1", "t1", "c1_a.nii.gz"),
        ("c1", "flair", "c1_b.nii.gz"),
    ]
    bare = [["c2/t1.nii.gz", "c2\\T2_n4.nii.gz"], "c3-T1_post.nii.gz", names]
    scans, adapter = read(tmp_path / "list.json", {"training": bare})
    assert [(scan.patient, scan.modality) for scan in scans] == [
        ("c2", "t1"),
        ("c2", "t2"),
        ("c3", "t1ce"),
    ]
    assert [Path(problem.file).name for problem in adapter.problems] == [
        "c1_a.nii.gz",
        "c1_b.nii.gz",
    ]
    assert "holds none of the modalities flair, t1" in adapter.problems[0].reason


def test_splits_come_from_sections_or_folds(tmp_path: Path) -> None:
    touch(tmp_path, *(f"p{number}_t1.nii.gz" for number in range(4)))
    items = [{"image": f"p{number}_t1.nii.gz", "fold": number % 2} for number in range(4)]
    path = tmp_path / "list.json"
    scans, _ = read(path, {"training": items[:2], "validation": items[2:3], "test": items[3:]})
    assert [scan.split for scan in scans] == ["train", "train", "val", "test"]
    scans, _ = read(path, {"training": items[:3], "test": items[3:]}, val_fold=1)
    assert [scan.split for scan in scans] == ["train", "val", "train", "test"]
    scans, _ = read(path, {"training": items})
    assert [scan.split for scan in scans] == [None] * 4
    scans, _ = read(path, {"validation": items[:1]})
    assert [scan.split for scan in scans] == ["val"]


def test_cases_whose_files_have_the_same_name_are_told_apart_by_folder(tmp_path: Path) -> None:
    names = ["a/image.nii.gz", "b/image.nii.gz", "t1/c_t1.nii.gz", "t2/c_t2.nii.gz"]
    touch(tmp_path, *names)
    scans, _ = read(tmp_path / "list.json", {"training": names[:2], "modality": {"0": "T1"}})
    assert [(scan.patient, scan.modality) for scan in scans] == [
        ("a_image", "t1"),
        ("b_image", "t1"),
    ]
    scans, _ = read(tmp_path / "list.json", {"training": names[2:]})
    assert [(scan.patient, scan.modality) for scan in scans] == [("c", "t1"), ("c", "t2")]


def test_a_number_as_label_is_the_class(tmp_path: Path) -> None:
    touch(tmp_path, "p_t1.nii.gz")
    scans, _ = read(tmp_path / "list.json", {"training": [{"image": "p_t1.nii.gz", "label": 1}]})
    assert (scans[0].target_class, scans[0].label) == ("1", None)


def test_visits_are_told_apart_by_a_pattern(tmp_path: Path) -> None:
    names = ["BraTS-GLI-00005-000-t1n.nii.gz", "BraTS-GLI-00005-001-t1n.nii.gz"]
    touch(tmp_path, *names)
    pattern = r"(?P<patient>.+)-(?P<session>\d+)"
    path = tmp_path / "list.json"
    scans, adapter = read(path, {"training": names}, case_pattern=pattern)
    assert [(scan.patient, scan.session) for scan in scans] == [
        ("BraTS-GLI-00005", "000"),
        ("BraTS-GLI-00005", "001"),
    ]
    assert adapter.problems == []
    _, adapter = read(path, {"training": names}, case_pattern=r"(?P<patient>.+)_(?P<session>\d+)")
    assert adapter.problems[0].reason.startswith("'case_pattern' does not match 2 of 2 cases")
    with pytest.raises(ValueError, match="has no group 'patient'"):
        read(path, {"training": names}, case_pattern="(.+)-")
    with pytest.raises(ValueError, match="is no regular expression"):
        read(path, {"training": names}, case_pattern="(?P<patient>")


def test_missing_files_are_counted_and_a_wrong_root_is_an_error(tmp_path: Path) -> None:
    names = [f"images/p{number}_t1.nii.gz" for number in range(140)]
    touch(tmp_path, *names[:2])
    words = r"138 of 140 listed files are missing \(.*\): paths are relative to .*, set 'root'"
    with pytest.raises(FileNotFoundError, match=words):
        read(tmp_path / "list.json", {"training": names})
    scans, adapter = read(tmp_path / "list.json", {"training": names[:3]})
    assert len(scans) == 2
    assert [problem.reason for problem in adapter.problems] == [
        "it is listed, but there is no such file (1 of 3 listed files are missing)"
    ]
    elsewhere = tmp_path / "lists" / "list.json"
    scans, _ = read(elsewhere, {"training": names[:2]}, root=str(tmp_path))
    assert len(scans) == 2


def test_bad_lists_are_errors_and_bad_entries_problems(tmp_path: Path) -> None:
    touch(tmp_path, "p_t1.nii.gz")
    path = tmp_path / "list.json"
    content = {"training": ["p_t1.nii.gz", {"img": "x"}, 3, [], [7]], "labels": {"a": "b"}}
    scans, adapter = read(path, content)
    assert len(scans) == 1
    assert [problem.file for problem in adapter.problems if not problem.is_handled] == [
        f"{path}, training[{number}]" for number in range(1, 5)
    ]
    assert "labels must look like" in next(p.reason for p in adapter.problems if p.is_handled)
    with pytest.raises(ValueError, match="none of the keys training, validation, test"):
        read(path, {"train": []})
    with pytest.raises(ValueError, match=r"'training' of .* is no list of cases"):
        read(path, {"training": {"image": "p_t1.nii.gz"}})
    with pytest.raises(ValueError, match="holds a list; it must be an object of keys"):
        read(path, [])
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        DatalistAdapter(str(path)).scans(ModalityVocabulary())
    with pytest.raises(FileNotFoundError, match="there is no file"):
        DatalistAdapter(str(tmp_path / "x.json")).scans(ModalityVocabulary())


def test_the_shipped_configuration_prepares_a_decathlon(tmp_path: Path) -> None:
    write_msd(tmp_path / "Task01")
    (tmp_path / "Task01/dataset.json").write_text(json.dumps(MSD))
    path = str(tmp_path / "Task01/dataset.json")
    cache = prepare_shipped("datalist", tmp_path, {"source.path": path})
    study = cache.studies[0]
    for place, name in enumerate(("flair", "t1", "t1ce", "t2")):
        scan = next(scan for scan in study.scans if scan.modality == name)
        voxels = cache.read_crop(study, scan, (0, 0, 0), study.shape)
        assert voxels.sum() == pytest.approx(head(seed=place).sum(), rel=1e-4)
    assert study.label_scheme == "BRATS_labels"
    assert cache.label_schemes["BRATS_labels"].values["edema"] == 1
    assert {study.id: study.modalities for study in cache.studies} == {
        "BRATS_BRATS_457": ("flair", "t1", "t1ce", "t2"),
        "BRATS_BRATS_557": ("flair", "t1", "t1ce", "t2"),
    }
