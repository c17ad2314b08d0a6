"""The cohort on disk: layout, equal bytes, resumption, refusals. Coarse, so that it is quick."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_lightning.phantom.bids import label_path, scan_path
from brainmvp_lightning.phantom.cohort import CohortSettings, write_cohort
from brainmvp_lightning.volumes.errors import CacheError
from brainmvp_lightning.volumes.lock import lock_folder

Progress = Callable[[int, int], None]
SETTINGS = CohortSettings(num_studies=8, spacing_mm=8.0, seed=0)


class InterruptionError(Exception):
    """Stands for a kill between two studies."""


def write(
    root: Path,
    num_studies: int = 8,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    write_cohort(root, num_studies, 8.0, seed, workers, progress)


def stop_after(num: int) -> Progress:
    def progress(done: int, total: int) -> None:
        if done == num:
            raise InterruptionError

    return progress


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort")
    write(root)
    return root


def images(root: Path) -> Iterator[tuple[Path, nib.Nifti1Image]]:
    for plan in SETTINGS.plans():
        for modality in plan.modalities:
            yield scan_path(plan, modality), nib.load(root / scan_path(plan, modality))


def test_files_have_their_bids_names() -> None:
    plans = {len(plan.modalities): plan for plan in SETTINGS.plans()}
    names = [scan_path(plans[8], modality).as_posix() for modality in plans[8].modalities]
    person = plans[8].participant
    ending = names[0].split("T1w")[1]
    assert names == [
        f"{person}/{folder}/{person}_{suffix}{ending}"
        for folder, suffix in (
            ("anat", "T1w"),
            ("anat", "ce-gadolinium_T1w"),
            ("anat", "T2w"),
            ("anat", "FLAIR"),
            ("anat", "PDw"),
            ("dwi", "dwi"),
            ("dwi", "ADC"),
            ("anat", "angio"),
        )
    ]


def test_tree_holds_exactly_the_planned_scans(cohort: Path) -> None:
    found = {path.relative_to(cohort) for path in cohort.glob("sub-*/*/*.nii*")}
    assert found == {path for path, _ in images(cohort)}
    assert {path.name for path in cohort.iterdir() if not path.name.startswith("sub-")} == {
        "README.md",
        "cohort.json",
        "dataset_description.json",
        "derivatives",
        "participants.tsv",
    }


def test_participants_have_site_diagnosis_and_class(cohort: Path) -> None:
    with (cohort / "participants.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["participant_id"] for row in rows] == [f"sub-00{i}" for i in range(1, 9)]
    assert rows[0]["diagnosis"] == "high-grade glioma"
    assert [row["class"] for row in rows] == [plan.diagnosis for plan in SETTINGS.plans()]


def test_descriptions_say_raw_and_derivative(cohort: Path) -> None:
    kinds = [
        json.loads((folder / "dataset_description.json").read_text())["DatasetType"]
        for folder in (cohort, cohort / "derivatives" / "labels")
    ]
    assert kinds == ["raw", "derivative"]


def test_label_map_lies_on_the_grid_its_sidecar_names(cohort: Path) -> None:
    for plan in SETTINGS.plans():
        path = cohort / "derivatives" / "labels" / label_path(plan)
        label = nib.load(path)
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        reference = nib.load(cohort / sidecar["SpatialReference"])
        np.testing.assert_array_equal(label.affine, reference.affine)
        assert label.shape == reference.shape[:3]
        values = np.unique(np.asarray(label.dataobj))
        assert values.dtype == np.uint8
        assert (values.max() == 0) == (plan.diagnosis == "healthy")


def test_files_come_in_the_formats_and_orientations_of_their_sites(cohort: Path) -> None:
    for plan in SETTINGS.plans():
        for modality in plan.modalities:
            image = nib.load(cohort / scan_path(plan, modality))
            assert image.get_data_dtype() == np.int16
            is_scaled = plan.site.file_format == "scaled"
            assert (image.dataobj.slope != 1) == is_scaled
            assert image.ndim == (4 if plan.site.file_format == "four_d" else 3)
            assert (cohort / scan_path(plan, modality)).name.endswith(
                ".nii" if plan.site.file_format == "uncompressed" else ".nii.gz"
            )
            key = {"pd": "t2", "adc": "dwi"}.get(modality, modality)
            series = plan.site.special.get(key, plan.site.grid)
            assert "".join(nib.aff2axcodes(image.affine)) == series.axes


def test_images_are_finite_and_vary_and_lie_near_mni_space(cohort: Path) -> None:
    for path, image in images(cohort):
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
        values = np.squeeze(np.asarray(image.dataobj, np.float32))
        assert values.ndim == 3
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert len(np.unique(values)) > 50
        voxels = np.argwhere(values > 0.3 * np.percentile(values, 99))
        centre_mm = nib.affines.apply_affine(image.affine, voxels).mean(axis=0)
        assert np.abs(centre_mm - (0, -18, 10)).max() < 25, path


def test_sidecars_hold_the_protocol(cohort: Path) -> None:
    for plan in SETTINGS.plans():
        for modality in plan.modalities:
            path = cohort / scan_path(plan, modality)
            sidecar = json.loads(path.with_name(path.name.split(".")[0] + ".json").read_text())
            assert sidecar["MagneticFieldStrength"] == plan.site.field_tesla
            assert ("EchoTime" in sidecar) == (modality != "adc")
            assert ("ContrastBolusIngredient" in sidecar) == (modality == "t1ce")
            assert path.with_name(f"{plan.participant}_dwi.bval").exists() or modality != "dwi"


def test_same_seed_gives_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    write(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(cohort)


def test_worker_processes_give_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    write(tmp_path / "two", num_studies=2, workers=2)
    found = digests(tmp_path / "two")
    expected = digests(cohort)
    scans = [name for name in found if "sub-" in name]
    assert len(scans) > 4
    assert {name: found[name] for name in scans} == {name: expected[name] for name in scans}


def test_another_seed_gives_other_images(cohort: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", num_studies=1, seed=1)
    one, other = digests(cohort), digests(tmp_path / "other")
    shared = [name for name in one if name in other and name.endswith("dseg.nii.gz")]
    assert shared
    assert all(one[name] != other[name] for name in shared)


def test_interrupted_cohort_is_completed_and_finished_studies_are_kept(
    cohort: Path, tmp_path: Path
) -> None:
    root = tmp_path / "interrupted"
    with pytest.raises(InterruptionError):
        write(root, progress=stop_after(3))
    assert not (root / "cohort.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in root.glob("sub-*/*/*")}
    assert len({path.parts[-3] for path in kept}) == 3
    # What a kill in the middle of a study leaves: a temporary folder, and labels without scans.
    (root / ".partial" / "sub-004abc" / "scans").mkdir(parents=True)
    stale = root / "derivatives" / "labels" / "sub-004" / "anat"
    stale.mkdir(parents=True)
    (stale / "half.nii.gz").write_bytes(b"half")
    seen: list[tuple[int, int]] = []
    write(root, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(3, 9)]
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    assert digests(root) == digests(cohort)


def test_finished_cohort_is_left_alone(cohort: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("*")}
    write(cohort, progress=stop_after(8))  # never called
    assert {path: path.stat().st_mtime_ns for path in cohort.rglob("*")} == before


def test_cohort_of_other_settings_is_refused(cohort: Path) -> None:
    with pytest.raises(
        ValueError, match="was made with num_studies=8 instead of 9, seed=0 instead"
    ):
        write(cohort, num_studies=9, seed=1)


def test_interrupted_cohort_of_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InterruptionError):
        write(tmp_path, num_studies=2, progress=stop_after(1))
    with pytest.raises(ValueError, match="seed=0 instead of 5"):
        write(tmp_path, num_studies=2, seed=5)


def test_second_writer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InterruptionError):
        write(tmp_path, num_studies=2, progress=stop_after(1))
    with (
        lock_folder(tmp_path / ".partial"),
        pytest.raises(CacheError, match="another process is writing"),
    ):
        write(tmp_path, num_studies=2)


def test_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="not of a demo cohort; choose a new or empty folder"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_studies": 0}, "at least 1 study"),
        ({"spacing_mm": 0.1}, "between 0.5 and 10"),
        ({"seed": -1}, "must not be negative"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_cohort(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_killed_process_leaves_no_workers_and_can_be_resumed(cohort: Path, tmp_path: Path) -> None:
    root = tmp_path / "killed"
    code = (
        "import sys; from brainmvp_lightning.phantom.cohort import write_cohort\n"
        "if __name__ == '__main__': write_cohort(sys.argv[1], 8, 8.0, workers=2)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script), str(root)], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(root.glob("sub-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    while _is_group_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_group_alive(process.pid)
    write(root)
    assert digests(root) == digests(cohort)


def _is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
