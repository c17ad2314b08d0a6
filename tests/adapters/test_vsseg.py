from pathlib import Path

import pytest

from brainmvp_lightning.adapters.vsseg import VsSegAdapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.study import Scan
from tests.adapters.tiny_images import save_label, save_scans
from tests.adapters.trees import prepare_shipped, touch

UNREGISTERED = (
    "vs_gk_1/vs_gk_t1_refT1.nii.gz",
    "vs_gk_1/vs_gk_t2_refT2.nii.gz",
    "vs_gk_1/vs_gk_seg_refT1.nii.gz",
    "vs_gk_1/vs_gk_seg_refT2.nii.gz",
    "vs_gk_1/vs_gk_struc2_cochlea_refT1.nii.gz",
)


def read(root: Path, **options: str) -> tuple[list[Scan], VsSegAdapter]:
    adapter = VsSegAdapter(str(root), **options)  # type: ignore[arg-type]
    scans = adapter.scans(ModalityVocabulary())
    assert Manifest(tuple(scans)).validate().problems == ()
    return scans, adapter


def facts(root: Path, scans: list[Scan]) -> list[tuple[str, str, str, str | None]]:
    return [
        (
            scan.patient,
            scan.modality,
            scan.path.relative_to(root).as_posix(),
            scan.label.relative_to(root).as_posix() if scan.label else None,
        )
        for scan in scans
    ]


@pytest.mark.parametrize(("reference", "modality"), [("t1", "t1ce"), ("t2", "t2")])
def test_the_reference_decides_scan_and_label(
    tmp_path: Path, reference: str, modality: str
) -> None:
    touch(tmp_path, *UNREGISTERED)
    scans, adapter = read(tmp_path, reference=reference)
    grid = reference.upper()
    assert facts(tmp_path, scans) == [
        (
            "vs_gk_1",
            modality,
            f"vs_gk_1/vs_gk_{reference}_ref{grid}.nii.gz",
            f"vs_gk_1/vs_gk_seg_ref{grid}.nii.gz",
        )
    ]
    assert scans[0].label_scheme == "schwannoma"
    assert adapter.problems == []


def test_registered_scans_lie_on_one_grid(tmp_path: Path) -> None:
    names = ("vs_gk_t1_refT1", "vs_gk_t2_refT1", "vs_gk_seg_refT1")
    touch(tmp_path / "vs_gk_7", *(f"{name}.nii.gz" for name in names))
    scans, _ = read(tmp_path, t1_is="t1")
    assert [scan.modality for scan in scans] == ["t1", "t2"]
    with pytest.raises(ValueError, match="grid of the other scan; change 'reference'"):
        read(tmp_path, reference="t2")


@pytest.mark.parametrize(
    ("scan", "label", "patient"),
    [
        ("vs_gk_1_t1/vs_gk_t1.nii.gz", "vs_gk_1_t1/vs_gk_seg.nii.gz", "vs_gk_1"),
        ("all/vs_gk_12_t1_refT1.nii.gz", "all/vs_gk_12_seg_refT1.nii.gz", "vs_gk_12"),
        ("VS-SEG-003/vs_gk_t1_refT1.nii", "VS-SEG-003/vs_gk_seg_refT1.nii", "VS-SEG-003"),
    ],
)
def test_other_spellings(tmp_path: Path, scan: str, label: str, patient: str) -> None:
    touch(tmp_path, scan, label, scan.replace("t1", "t2").replace("T1", "T2"))
    scans, adapter = read(tmp_path)
    assert facts(tmp_path, scans) == [(patient, "t1ce", scan, label)]
    assert adapter.problems == []


def test_what_is_not_understood_is_set_aside(tmp_path: Path) -> None:
    touch(tmp_path, *UNREGISTERED, "vs_gk_2/vs_gk_seg.nii.gz", "vs_gk_2/T1.nii.gz", "mean.nii.gz")
    _, adapter = read(tmp_path)
    reasons = {Path(problem.file).name: problem.reason for problem in adapter.problems}
    assert "does not say whether it lies on the T1 or the T2" in reasons["vs_gk_seg.nii.gz"]
    assert "not named like vs_gk_t1_refT1" in reasons["T1.nii.gz"]
    assert set(reasons) == {"vs_gk_seg.nii.gz", "T1.nii.gz", "mean.nii.gz"}


def test_the_shipped_configuration_prepares(tmp_path: Path) -> None:
    case = tmp_path / "data/vs_gk_1"
    save_scans(case, "vs_gk_t1_refT1.nii.gz", "vs_gk_t2_refT2.nii.gz")
    save_label(case / "vs_gk_seg_refT1.nii.gz", 1)
    cache = prepare_shipped("vsseg", tmp_path, {"source.root": str(tmp_path / "data")})
    (study,) = cache.studies
    assert [scan.modality for scan in study.scans] == ["t1ce"]
    assert study.label is not None
