from pathlib import Path

from brainmvp_lightning.doctor.findings import Finding
from brainmvp_lightning.doctor.rows import check_rows, usable_manifest
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan


def scan(name: str, patient: str = "p", modality: str = "t1", **facts: object) -> Scan:
    return Scan(patient, "", "d", modality, Path(name), **facts)  # type: ignore[arg-type]


def kinds(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(finding.kind, finding.severity) for finding in findings]


def test_rows_that_were_set_aside_weigh_more_in_a_table_of_ones_own() -> None:
    manifest = Manifest((scan("a"),), (Problem("s", "line 3", "bad", "correct the row"),))
    assert kinds(check_rows(manifest, is_table=True).findings) == [("row", "error")]
    assert kinds(check_rows(manifest, is_table=False).findings) == [("row", "warning")]


def test_contradictions_are_findings_and_their_patients_are_contested() -> None:
    rows = check_rows(
        Manifest(
            (
                scan("a", split="train"),
                scan("b", modality="t2", split="test"),
                scan("c", "q", target_class="x"),
                scan("d", "q", "t2", target_class="y"),
                scan("e", "r"),
            )
        ),
        is_table=True,
    )
    assert kinds(rows.findings) == [("contradiction", "error")] * 2
    assert rows.findings[0].sentence == "patient p of d has 2 splits (test, train)"
    assert rows.findings[1].fix == "give all rows of the study the same class"
    assert rows.contested == {("d", "p"), ("d", "q")}
    assert [one.split for one in rows.manifest.scans[:2]] == ["train", "train"]
    kept = usable_manifest(rows.manifest, rows.findings, rows.contested)
    assert [one.path.name for one in kept.scans] == ["e"]


def test_a_file_listed_twice_is_an_error_and_a_second_t1_a_warning() -> None:
    rows = check_rows(Manifest((scan("a"), scan("a", modality="t2"))), is_table=True)
    assert kinds(rows.findings) == [("row", "error")]
    rows = check_rows(Manifest((scan("a"), scan("b"))), is_table=True)
    assert kinds(rows.findings) == [("row", "warning")]
    assert [one.path.name for one in rows.manifest.scans] == ["a"]


def test_errors_take_away_a_row_or_only_its_label() -> None:
    label = Path("seg")
    scans = (scan("a", label=label, label_scheme="lesion"), scan("b", "q"), scan("c", "r"))
    findings = [
        Finding("label", "error", "d_p", "seg", "", ""),
        Finding("unreadable", "error", "d_q", "b", "", ""),
        Finding("coarse", "warning", "d_r", "c", "", ""),
    ]
    kept = usable_manifest(Manifest(scans), findings, frozenset())
    assert [one.path.name for one in kept.scans] == ["a", "c"]
    assert (kept.scans[0].label, kept.scans[0].label_scheme) == (None, None)
