from pathlib import Path

import numpy as np
import pytest

from brainmvp_lightning.doctor.findings import Finding
from brainmvp_lightning.doctor.reading import content_digest, look_at_scan, read_header
from brainmvp_lightning.preprocessing.recipe import Recipe
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.nifti import read_nifti
from tests.doctor.cohort import SHAPE, affine, head
from tests.volumes.images import save


def look(path: Path, quick: bool = False, **scan: object) -> tuple[object, list[Finding]]:
    one = Scan("p", "", "d", "t1", path, **scan)  # type: ignore[arg-type]
    return look_at_scan(one, "d_p", Recipe(), quick=quick)


def digest(path: Path) -> str:
    return content_digest(read_nifti(path))


def test_the_digest_ignores_type_scaling_axes_and_compression(tmp_path: Path) -> None:
    image = head(1)
    first = save(tmp_path / "a.nii.gz", image, affine())
    flipped = affine() @ np.diag([-1, 1, 1, 1])
    flipped[:3, 3] = affine()[:3, :3] @ [SHAPE[0] - 1, 0, 0] + affine()[:3, 3]
    same = [
        save(tmp_path / "float.nii", image.astype(np.float32), affine()),
        save(tmp_path / "flipped.nii.gz", image[::-1].copy(), flipped),
        save(tmp_path / "moved.nii.gz", image, affine((5, 0, 0))),
    ]
    assert {digest(path) for path in same} == {digest(first)}
    changed = image.copy()
    changed[12, 12, 12] += 1
    assert digest(save(tmp_path / "changed.nii.gz", changed, affine())) != digest(first)
    halves = save(tmp_path / "halves.nii.gz", image.astype(np.float32) + 0.5, affine())
    assert digest(halves) != digest(first)


def test_statistics_are_those_of_the_foreground_in_real_units(tmp_path: Path) -> None:
    image = np.zeros(SHAPE, np.int16)
    image[5:15, 5:15, 5:15] = 100
    image[5:15, 5:15, 5:7] = 300
    path = save(tmp_path / "a.nii.gz", image, affine(), scl_slope=2.0, scl_inter=0.0)
    seen, findings = look(path)
    assert not findings
    found = seen.facts.look  # type: ignore[attr-defined]
    assert (found.median, found.low, found.high) == (200, 200, 600)
    assert found.share == 1000 / np.prod(SHAPE)
    assert np.subtract(*found.box[::-1]).tolist() == pytest.approx([60, 60, 60])
    assert sum(found.histogram) == 1000


def test_noise_in_the_air_does_not_widen_the_head(tmp_path: Path) -> None:
    image = np.random.default_rng(0).rayleigh(30, (60, 60, 60))
    image[20:40, 20:40, 20:40] += 200
    path = save(tmp_path / "a.nii.gz", image.astype(np.float32), np.eye(4))
    found = look(path)[0].facts.look  # type: ignore[attr-defined]
    assert np.allclose(found.head[0], 19.5, atol=2)
    assert np.allclose(found.head[1], 39.5, atol=2)


def test_a_few_nan_are_a_warning_and_many_an_error(tmp_path: Path) -> None:
    image = head(1).astype(np.float32)
    image[0, 0, :3] = np.nan
    seen, findings = look(save(tmp_path / "few.nii.gz", image, affine()))
    assert seen is not None
    assert [(row.kind, row.severity) for row in findings] == [("nonfinite", "warning")]
    assert findings[0].sentence.startswith("3 voxels")
    image[:13] = np.nan
    seen, findings = look(save(tmp_path / "many.nii.gz", image, affine()))
    assert seen is None
    assert [(row.kind, row.severity) for row in findings] == [("nonfinite", "error")]


def test_two_transforms_that_disagree_are_a_warning(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", head(1), affine(), qform_code=1, qoffset_x=40.0)
    for quick in (False, True):
        _, findings = look(path, quick)
        assert [(row.kind, row.severity) for row in findings] == [("header", "warning")]
        assert "sform and qform disagree" in findings[0].sentence


def test_quick_reads_no_voxels_but_explains_a_bad_header(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", head(1), affine())
    path.write_bytes(path.read_bytes()[:2000])
    seen, findings = look(path, quick=True)
    assert not findings
    assert seen.facts.shape == SHAPE  # type: ignore[attr-defined]
    assert seen.facts.look is None  # type: ignore[attr-defined]
    four = save(tmp_path / "b.nii.gz", np.stack([head(1), head(2)], axis=-1), affine())
    _, findings = look(four, quick=True)
    assert [row.kind for row in findings] == ["four_d"]
    assert look(four, quick=True, volumes=(1,))[1] == []
    assert [row.kind for row in look(four, quick=True, volumes=(2,))[1]] == ["four_d"]
    (tmp_path / "c.nii.gz").write_bytes(b"no image at all")
    assert read_header(tmp_path / "c.nii.gz") is None
    _, findings = look(tmp_path / "c.nii.gz", quick=True)
    assert [(row.kind, row.severity) for row in findings] == [("unreadable", "error")]


def test_a_volume_of_a_4d_file_is_looked_at_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "b.nii.gz", np.stack([head(1), head(2)], axis=-1), affine())
    alone = save(tmp_path / "a.nii.gz", head(2), affine())
    seen, findings = look(path, volumes=(1,))
    assert not findings
    assert seen.facts.look.digest == digest(alone)  # type: ignore[attr-defined]
