from pathlib import Path

import pytest

from brainmvp_lightning.adapters.upenn_gbm import UpennGbmAdapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.tiny_images import save_label, save_scans
from tests.adapters.trees import prepare_shipped, touch

MODALITIES = ("T1", "T1GD", "T2", "FLAIR")
BOTH, AUTOMATED, NEITHER = "UPENN-GBM-00001_11", "UPENN-GBM-00002_11", "UPENN-GBM-00001_21"


def write_release(root: Path) -> None:
    for case in (BOTH, AUTOMATED, NEITHER):
        touch(root, *(f"images_structural/{case}/{case}_{name}.nii.gz" for name in MODALITIES))
        touch(root, f"images_structural_unstripped/{case}/{case}_T1_unstripped.nii.gz")
        touch(root, f"images_DTI/images_DTI/{case}/{case}_DTI_FA.nii.gz")
        touch(root, f"images_DSC/{case}_DSC.nii.gz")
    for case in (BOTH, AUTOMATED):
        touch(root, f"automated_segm/{case}_automated_approx_segm.nii.gz")
    touch(root, f"images_segm/{BOTH}_segm.nii.gz")


def read(root: Path, **options: object) -> tuple[list[Scan], UpennGbmAdapter]:
    adapter = UpennGbmAdapter(str(root), **options)  # type: ignore[arg-type]
    scans = adapter.scans(ModalityVocabulary())
    assert Manifest(tuple(scans)).validate().problems == ()
    return scans, adapter


def labels(scans: list[Scan]) -> dict[str, str | None]:
    return {f"{s.patient}_{s.session}": s.label.parent.name if s.label else None for s in scans}


def test_visits_have_four_scans_and_nothing_else(tmp_path: Path) -> None:
    write_release(tmp_path)
    scans, adapter = read(tmp_path / "images_structural")
    assert [(scan.session, scan.modality) for scan in scans if scan.patient.endswith("1")] == [
        (session, modality)
        for session in ("11", "21")
        for modality in ("flair", "t1", "t1ce", "t2")
    ]
    assert len(read(tmp_path)[0]) == len(scans) == 12
    assert adapter.problems == []


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("manual", ["images_segm", None, None]),
        ("automated", ["automated_segm", "automated_segm", None]),
        ("both", ["images_segm", "automated_segm", None]),
    ],
)
def test_labels_by_hand_by_algorithm_or_both(
    tmp_path: Path, choice: str, expected: list[str | None]
) -> None:
    write_release(tmp_path)
    scans, adapter = read(tmp_path, labels=choice)
    assert labels(scans) == dict(zip((BOTH, AUTOMATED, NEITHER), expected, strict=True))
    assert {scan.label_scheme for scan in scans if scan.label} == {"brats2021"}
    assert adapter.problems == []
    kept, _ = read(tmp_path, labels=choice, only_labelled=True)
    assert labels(kept) == {case: label for case, label in labels(scans).items() if label}


def test_no_label_at_all_is_an_error_where_only_labelled_visits_count(tmp_path: Path) -> None:
    write_release(tmp_path)
    with pytest.raises(ValueError, match=r"no visit below .* has a label by 'labels: manual'"):
        read(tmp_path / "images_structural", only_labelled=True)


def test_classes_and_what_is_set_aside(tmp_path: Path) -> None:
    write_release(tmp_path)
    touch(tmp_path, f"images_structural/{BOTH}/{BOTH}_CT.nii.gz", "images_structural/mean.nii.gz")
    clinical = tmp_path / "clinical.csv"
    clinical.write_text(f"ID,IDH1\n{BOTH},Wildtype\n{AUTOMATED},Not Available\n{NEITHER},Mutated\n")
    scans, adapter = read(tmp_path, class_table=str(clinical), class_column="IDH1")
    assert {(f"{scan.patient}_{scan.session}", scan.target_class) for scan in scans} == {
        (BOTH, "Wildtype"),
        (AUTOMATED, None),
        (NEITHER, "Mutated"),
    }
    reasons = {Path(problem.file).name: problem.reason for problem in adapter.problems}
    assert len(adapter.problems) == 3
    assert "unknown modality 'CT'" in reasons[f"{BOTH}_CT.nii.gz"]
    assert "not named like UPENN-GBM" in reasons["mean.nii.gz"]
    assert "1 of 3 cases have no 'IDH1'" in reasons["clinical.csv"]


def test_the_shipped_configuration_prepares_labelled_visits(tmp_path: Path) -> None:
    root = tmp_path / "data/NIfTI-files"
    for case in (BOTH, NEITHER):
        names = (f"images_structural/{case}/{case}_{name}.nii.gz" for name in MODALITIES)
        save_scans(root, *names)
    save_label(root / f"images_segm/{BOTH}_segm.nii.gz", 1, 2, 4)
    cache = prepare_shipped("upenn_gbm", tmp_path, {"source.root": str(tmp_path / "data")})
    (study,) = cache.studies
    assert study.id == f"upenn_gbm_{BOTH}"
    assert len(study.scans) == 4
