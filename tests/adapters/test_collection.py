"""Several sources as one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.adapters.bids import BidsAdapter
from brainmvp_lightning.adapters.collection import CollectionAdapter
from brainmvp_lightning.adapters.ixi import IxiAdapter
from brainmvp_lightning.commands.prepare import main
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.volumes.cache import Cache
from tests.adapters.trees import CONFIGS, touch
from tests.volumes.images import head, save, scaled


class Source(Adapter):
    """A data set of one patient."""

    def __init__(self, dataset: str, scheme: dict[str, Any] | None = None, total: int = 1) -> None:
        super().__init__()
        self.dataset = dataset
        self.scheme = scheme
        self.total = total

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        self.problems = [Problem("", self.dataset, "wrong", "correct it")]
        self.label_schemes = {"own": self.scheme} if self.scheme else {}
        for done in range(self.total + 1):
            if self.progress is not None:
                self.progress(done, self.total)
        return [Scan("p", "", self.dataset, "t1", Path(self.dataset))]


def scheme(value: int) -> dict[str, Any]:
    return {"values": {"a": value}, "regions": {"a": ["a"]}}


def test_scans_problems_and_schemes_are_joined() -> None:
    adapter = CollectionAdapter([Source("x"), Source("y", scheme(1)), Source("z", scheme(1))])
    scans = adapter.scans(ModalityVocabulary())
    assert [study.id for study in Manifest(tuple(scans)).validate().studies()] == [
        "x_p",
        "y_p",
        "z_p",
    ]
    assert [problem.file for problem in adapter.problems] == ["x", "y", "z"]
    assert adapter.label_schemes == {"own": scheme(1)}
    assert adapter.scans(ModalityVocabulary()) == scans
    assert len(adapter.problems) == 3


def test_progress_goes_on_from_source_to_source() -> None:
    adapter = CollectionAdapter([Source("x", total=2), Source("y"), Source("z", total=3)])
    calls: list[tuple[int, int]] = []
    adapter.progress = lambda done, total: calls.append((done, total))
    adapter.scans(ModalityVocabulary())
    assert calls == [
        *((0, 2), (1, 2), (2, 2)),
        *((2, 3), (3, 3)),
        *((3, 6), (4, 6), (5, 6), (6, 6)),
    ]


def test_all_sources_at_fault_are_named(tmp_path: Path) -> None:
    sources: list[Adapter] = [
        IxiAdapter(str(tmp_path / "a")),
        Source("y"),
        IxiAdapter(str(tmp_path / "b")),
    ]
    words = r"source 1 of 3 \(IxiAdapter\): .*a does not exist.*; source 3 of 3 .*b does not exist"
    with pytest.raises(FileNotFoundError, match=words):
        CollectionAdapter(sources).scans(ModalityVocabulary())
    with pytest.raises(ValueError, match=r"two sources mean different things by .* 'own'"):
        CollectionAdapter([Source("x", scheme(1)), Source("y", scheme(2))]).scans(
            ModalityVocabulary()
        )
    with pytest.raises(ValueError, match="has no sources"):
        CollectionAdapter([]).scans(ModalityVocabulary())


def test_two_sources_cannot_have_the_same_patient(tmp_path: Path) -> None:
    touch(tmp_path, "siteA/rawdata/sub-01/anat/sub-01_T1w.nii.gz")
    touch(tmp_path, "siteB/rawdata/sub-01/anat/sub-01_FLAIR.nii.gz")
    touch(tmp_path, "siteB/rawdata/sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz")
    roots = [str(tmp_path / site / "rawdata") for site in ("siteA", "siteB")]
    sources: list[Adapter] = [BidsAdapter(root) for root in roots]
    words = (
        r"source 1 of 3 \(BidsAdapter\) and source 3 of 3 \(BidsAdapter\) both have rawdata_01 "
        r"\(studies in both: 1\); give each its own 'dataset'"
    )
    with pytest.raises(ValueError, match=words):
        CollectionAdapter([sources[0], Source("x"), sources[1]]).scans(ModalityVocabulary())
    named: list[Adapter] = [BidsAdapter(root, dataset=root) for root in roots]
    assert len(CollectionAdapter(named).scans(ModalityVocabulary())) == 3


def write_sources(root: Path) -> None:
    """One case of each data set of the paper's pre-training."""
    names = [
        f"brats2021/BraTS2021_00000/BraTS2021_00000_{suffix}" for suffix in ("t1", "t1ce", "seg")
    ]
    names += [
        f"brats2023_{family.lower()}/x/BraTS-{family}-00001-000-{suffix}"
        for family in ("SSA", "MEN")
        for suffix in ("t1n", "t2w")
    ]
    names += [f"ucsf_pdgm/UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_{s}" for s in ("T1", "DWI", "ADC")]
    names += [f"ixi/IXI-{s}/IXI002-Guys-0828-{s}" for s in ("T1", "T2", "PD", "MRA")]
    for name in names:
        image = (head() > 150).astype("uint8") * 4 if name.endswith("seg") else head()
        save(root / f"{name}.nii.gz", image, scaled())


def shipped(root: Path) -> Path:
    """The shipped file with the folders of a test."""
    config = yaml.safe_load((CONFIGS / "pretraining.yaml").read_text())
    for source in config["source"]["init_args"]["sources"]:
        source["init_args"]["root"] = str(root / source["init_args"]["dataset"])
    (root / "prepare.yaml").write_text(yaml.safe_dump(config))
    return root / "prepare.yaml"


def test_the_paper_s_five_data_sets_become_one_cache(tmp_path: Path) -> None:
    write_sources(tmp_path)
    arguments = ["--config", str(shipped(tmp_path)), "--cache", str(tmp_path / "cache")]
    assert main([*arguments, "--workers", "1"]) == 0
    assert {study.id: study.modalities for study in Cache.open(tmp_path / "cache").studies} == {
        "brats2021_BraTS2021_00000": ("t1", "t1ce"),
        "brats2023_ssa_BraTS-SSA-00001_000": ("t1", "t2"),
        "brats2023_men_BraTS-MEN-00001_000": ("t1", "t2"),
        "ucsf_pdgm_UCSF-PDGM-0004": ("t1", "dwi", "adc"),
        "ixi_IXI002_Guys": ("t1", "t2", "mra", "pd"),
    }


def test_a_missing_source_ends_with_code_2_and_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(shipped(tmp_path)), "--cache", str(tmp_path / "cache")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    for place, name in enumerate(("brats", "brats", "brats", "ucsf_pdgm", "ixi"), 1):
        assert f"source {place} of 5 ({name}): " in error


def test_misspelt_adapter_inside_a_collection_names_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sources = '[{"class_path": "bidz", "init_args": {"root": "x"}}]'
    with pytest.raises(SystemExit) as stopped:
        main(["--source", "collection", "--source.sources", sources, "--cache", "y"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "unknown adapter 'bidz'; did you mean 'bids'" in error
    assert error.startswith("brainmvp prepare: error:")
