"""Collections described by a pretrain_data.json, as mappings or lists."""

import json
from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.adapters.nnssl import NnsslAdapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.trees import prepare_shipped, touch
from tests.volumes.images import head, save, scaled


def image(path: str | None, modality: str, **masks: str | None) -> dict[str, Any]:
    return {
        "name": Path(path or "x").name,
        "modality": modality,
        "image_info": {},
        "image_path": path,
        "associated_masks": masks or None,
    }


IMAGES = [
    image("ds1/sub-01_T1w.nii.gz", "T1w", anatomy_mask="ds1/m.nii.gz", anonymization_mask="a"),
    image("$nnssl_raw/ds1/sub-01_FLAIR.nii.gz", "FLAIR", anatomy_mask=None),
]


def collection(images: list[dict[str, Any]], *, as_lists: bool = False) -> dict[str, Any]:
    session = {"session_id": "ses-DEFAULT", "session_info": None, "images": images}
    subject: dict[str, Any] = {"subject_id": "sub-01", "subject_info": {"age": 26}}
    dataset: dict[str, Any] = {"dataset_index": "ds000001", "dataset_info": None}
    if as_lists:
        subject["sessions"] = [session]
        dataset["subjects"] = [subject]
        return {"collection_index": 745, "collection_name": "x", "datasets": [dataset]}
    subject["sessions"] = {"ses-DEFAULT": session}
    dataset["subjects"] = {"sub-01": subject}
    return {"collection_index": 745, "collection_name": "x", "datasets": {"ds000001": dataset}}


def read(root: Path, content: Any, **options: object) -> tuple[list[Scan], NnsslAdapter]:
    (root / "pretrain_data.json").write_text(json.dumps(content))
    adapter = NnsslAdapter(str(root / "pretrain_data.json"), **options)  # type: ignore[arg-type]
    return adapter.scans(ModalityVocabulary()), adapter


@pytest.mark.parametrize("as_lists", [False, True])
def test_mappings_and_lists_say_the_same(tmp_path: Path, as_lists: bool) -> None:
    touch(tmp_path, "ds1/sub-01_T1w.nii.gz", "ds1/sub-01_FLAIR.nii.gz", "ds1/m.nii.gz")
    scans, adapter = read(tmp_path, collection(IMAGES, as_lists=as_lists))
    assert [study.id for study in Manifest(tuple(scans)).validate().studies()] == [
        "ds000001_sub-01_ses-DEFAULT"
    ]
    assert [(scan.modality, scan.path, scan.brain_mask) for scan in scans] == [
        ("t1", tmp_path / "ds1/sub-01_T1w.nii.gz", tmp_path / "ds1/m.nii.gz"),
        ("flair", tmp_path / "ds1/sub-01_FLAIR.nii.gz", None),
    ]
    assert adapter.problems == []
    scans, _ = read(tmp_path, collection(IMAGES, as_lists=as_lists), brain_mask=None)
    assert [scan.brain_mask for scan in scans] == [None, None]


def test_parts_with_the_same_name_inside_are_called_by_their_keys(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.nii", "c.nii")
    sessions = {
        key: {"session_id": "ses-DEFAULT", "images": [image(path, kind)]}
        for key, path, kind in (("s1", "a.nii", "T1w"), ("s2", "b.nii", "T2w"))
    }
    other = {"s1": {"session_id": "first", "images": [image("c.nii", "T1w")]}}
    subjects = {"x": {"sessions": sessions}, "y": {"subject_id": "Y", "sessions": other}}
    scans, _ = read(tmp_path, {"datasets": {"d": {"subjects": subjects}}})
    assert [(scan.patient, scan.session) for scan in scans] == [
        ("x", "s1"),
        ("x", "s2"),
        ("Y", "first"),
    ]


def test_a_missing_mask_does_not_cost_the_scan(tmp_path: Path) -> None:
    touch(tmp_path, "ds1/sub-01_T1w.nii.gz", "ds1/sub-01_FLAIR.nii.gz")
    scans, adapter = read(tmp_path, collection(IMAGES))
    assert [(scan.modality, scan.brain_mask) for scan in scans] == [("t1", None), ("flair", None)]
    assert [(Path(p.file).name, p.is_handled) for p in adapter.problems] == [("m.nii.gz", True)]


def test_images_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz")
    images = [image("a.nii.gz", "T1w"), image("b.nii.gz", "bold"), image(None, "T1w")]
    scans, adapter = read(tmp_path, collection(images))
    assert [scan.modality for scan in scans] == ["t1"]
    assert {problem.study for problem in adapter.problems} == {"ds000001_sub-01_ses-DEFAULT"}
    assert adapter.problems[0].reason.startswith("unknown modality 'bold'")
    assert adapter.problems[1].reason == "an image of this study has no 'image_path'"


def test_a_wrong_root_or_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"2 of 2 listed files .* 'root' of the nnssl"):
        read(tmp_path, collection(IMAGES))
    with pytest.raises(ValueError, match=r"has no key 'datasets' \(found: 'training'\)"):
        read(tmp_path, {"training": []})


def test_the_shipped_configuration_prepares_a_list(tmp_path: Path) -> None:
    for name in ("sub-01_T1w", "sub-01_FLAIR", "m"):
        save(tmp_path / f"ds1/{name}.nii.gz", head(), scaled())
    table = tmp_path / "pretrain_data.json"
    table.write_text(json.dumps(collection(IMAGES)))
    cache = prepare_shipped("nnssl", tmp_path, {"source.path": str(table)})
    assert [(study.id, study.modalities) for study in cache.studies] == [
        ("ds000001_sub-01_ses-DEFAULT", ("flair", "t1"))
    ]
