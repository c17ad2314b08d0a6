"""The shipped configurations of sources are complete."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmvp_lightning.commands.prepare import build_parser
from tests.adapters.tiny_images import save_scans
from tests.adapters.trees import CONFIGS, prepare_shipped

NAMES = ("ixi", "adni", "adhd200", "abide", "datalist", "nnunet", "nnssl", "pretraining", "bids")


def assert_spelt_out(written: dict[str, Any], parsed: Any) -> None:
    assert set(written["init_args"]) == set(vars(parsed.init_args))
    for name, value in written["init_args"].items():
        if name == "sources":
            for inner, resolved in zip(value, parsed.init_args.sources, strict=True):
                assert_spelt_out(inner, resolved)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_source_is_spelt_out(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    parsed = build_parser().parse_args(["--config", str(path)])
    assert_spelt_out(yaml.safe_load(path.read_text())["source"], parsed.source)


@pytest.mark.parametrize("name", ["adni", "adhd200", "abide"])
def test_the_groups_spelt_out_are_the_default_ones(name: str) -> None:
    parser = build_parser()
    parts = parser.instantiate_classes(
        parser.parse_args(["--config", str(CONFIGS / f"{name}.yaml")])
    )
    default = type(parts.source)(root="x")
    assert parts.source.groups == default.groups
    assert parts.source.phenotypes == default.phenotypes
    assert list(parts.source.images) == list(default.images)


def test_the_five_pretraining_sets_become_one_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the file names its folders relative to the place of work
    cases = {
        "brats2021/BraTS2021_00000/BraTS2021_00000_": "t1 t1ce t2 flair",
        "brats2023_ssa/BraTS-SSA-00001-000/BraTS-SSA-00001-000-": "t1n t1c t2w t2f",
        "brats2023_men/BraTS-MEN-00001-000/BraTS-MEN-00001-000-": "t1n t1c t2w t2f",
        "ucsf_pdgm/UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_": "T1 T1c T2 FLAIR DWI ADC",
        "ixi/IXI-T1/IXI002-Guys-0828-": "T1 T2 PD MRA",
    }
    for case, suffixes in cases.items():
        save_scans(tmp_path / "data", *(f"{case}{suffix}.nii.gz" for suffix in suffixes.split()))
    cache = prepare_shipped("pretraining", tmp_path, {})
    tumours = ("flair", "t1", "t1ce", "t2")
    assert {study.dataset: study.modalities for study in cache.studies} == {
        "brats2021": tumours,
        "brats2023_ssa": tumours,
        "brats2023_men": tumours,
        "ucsf_pdgm": (*tumours, "dwi", "adc"),
        "ixi": ("t1", "t2", "mra", "pd"),
    }
    assert cache.rejected == 0


def test_the_table_configuration_prepares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_scans(tmp_path / "data", "p01_t1.nii.gz", "p01_flair.nii.gz")
    table = "patient,modality,path\np01,T1,p01_t1.nii.gz\np01,FLAIR,p01_flair.nii.gz\n"
    (tmp_path / "data/scans.csv").write_text(table)
    (study,) = prepare_shipped("table", tmp_path, {}).studies
    assert study.modalities == ("flair", "t1")
