from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.doctor.examination import Examiner
from brainmvp_lightning.doctor.findings import Finding
from brainmvp_lightning.doctor.labels import fitting_schemes
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.labels import label_schemes
from brainmvp_lightning.studies.study import Scan, Study
from tests.doctor.cohort import affine, head, lesion
from tests.volumes.images import save

SCHEMES = label_schemes()


def examine(root: Path, label: np.ndarray, scheme: str | None = "lesion", **more: object) -> Study:
    place = more.pop("place", affine())
    scan = Scan("p", "", "d", "t1", save(root / "t1.nii.gz", head(1), affine()), **more)  # type: ignore[arg-type]
    path = save(root / "seg.nii.gz", label, place)  # type: ignore[arg-type]
    return Study("d_p", "d", "p", "", (scan,), path, None, "train", scheme)


def findings(study: Study) -> list[Finding]:
    facts = Examiner(Recipe(), SCHEMES, quick=False)(study)
    return list(facts.findings)


def test_a_good_label_has_no_findings_and_its_values(tmp_path: Path) -> None:
    study = examine(tmp_path, lesion(1))
    facts = Examiner(Recipe(), SCHEMES, quick=False)(study)
    assert facts.findings == ()
    assert facts.label is not None
    assert facts.label.values == (1,)


def test_unknown_values_name_the_scheme_that_fits(tmp_path: Path) -> None:
    (finding,) = findings(examine(tmp_path, lesion(4), "brats2023"))
    assert (finding.kind, finding.severity) == ("label_values", "error")
    assert "holds 4, which brats2023 does not know" in finding.sentence
    assert finding.fix == "set label_scheme to brats2021, or correct the label"


def test_fitting_schemes_are_the_smallest_that_know_all_values() -> None:
    assert fitting_schemes([1], SCHEMES) == ["lesion", "schwannoma"]
    assert "brats2021" in fitting_schemes([1, 2, 4], SCHEMES)
    assert fitting_schemes([8], SCHEMES) == ["mrbrains13_training"]
    assert fitting_schemes([99], SCHEMES) == []


@pytest.mark.parametrize(
    ("label", "kind", "severity", "words"),
    [
        (lesion().astype(np.float32) / 2, "label", "error", "fractions"),
        (np.roll(lesion(), 13, axis=0), "label_place", "warning", "only 0% of the label lies"),
    ],
)
def test_labels_that_cannot_be_right(
    tmp_path: Path, label: np.ndarray, kind: str, severity: str, words: str
) -> None:
    (finding,) = findings(examine(tmp_path, label))
    assert (finding.kind, finding.severity) == (kind, severity)
    assert words in finding.sentence


def test_a_label_elsewhere_is_an_error_and_on_another_grid_a_note(tmp_path: Path) -> None:
    (finding,) = findings(examine(tmp_path, lesion(), place=affine((500, 0, 0))))
    assert (finding.kind, finding.severity) == ("label", "error")
    (finding,) = findings(examine(tmp_path, lesion(), place=affine((2, 0, 0))))
    assert (finding.kind, finding.severity) == ("label_grid", "note")


def test_a_label_in_a_dark_hole_of_the_head_is_in_its_place(tmp_path: Path) -> None:
    image = head(1)
    image[9:15, 13:19, 9:14] = 0
    study = examine(tmp_path, lesion())
    save(study.scans[0].path, image, affine())
    assert findings(study) == []


def test_brain_masks_are_read_too(tmp_path: Path) -> None:
    empty = save(tmp_path / "mask.nii.gz", np.zeros_like(lesion()), affine())
    study = examine(tmp_path, lesion(), brain_mask=empty)
    for rule, severity in (("none", "warning"), ("file", "error")):
        (finding,) = Examiner(Recipe(brain_mask=rule), SCHEMES, quick=False)(study).findings
        assert (finding.kind, finding.severity) == ("brain_mask", severity)
        assert "empty" in finding.sentence


def test_quick_only_sees_that_a_label_is_missing(tmp_path: Path) -> None:
    study = examine(tmp_path, lesion(4), "brats2023")
    assert Examiner(Recipe(), SCHEMES, quick=True)(study).findings == ()
    assert study.label is not None
    study.label.unlink()
    (finding,) = Examiner(Recipe(), SCHEMES, quick=True)(study).findings
    assert (finding.kind, finding.file) == ("missing", str(study.label))
