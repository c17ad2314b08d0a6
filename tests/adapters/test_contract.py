"""What every adapter promises, each on a small data set of its kind."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from brainmvp_lightning.adapters.ixi import IxiAdapter
from brainmvp_lightning.adapters.registry import ADAPTERS
from brainmvp_lightning.testing import check_adapter
from tests.adapters.trees import touch

PGS = "UPENN-GBM-00001_11"
NNSSL = {
    "collection_index": 1,
    "collection_name": "x",
    "datasets": {
        "d": {
            "dataset_index": "d",
            "subjects": {
                "s": {
                    "subject_id": "s",
                    "sessions": {
                        "ses-1": {
                            "session_id": "ses-1",
                            "images": [
                                {"name": "a", "modality": "T1w", "image_path": "a.nii.gz"},
                            ],
                        }
                    },
                }
            },
        }
    },
}
NNUNET = {
    "channel_names": {"0": "T1", "1": "FLAIR"},
    "labels": {"background": 0, "lesion": 1},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}
DATALIST = {"training": [{"image": ["P1/t1.nii.gz", "P1/flair.nii.gz"], "label": "P1/seg.nii.gz"}]}
ADHD = "KKI/1018959/session_1/anat_1/mprage.nii.gz"
ABIDE = "Pitt/0050003/session_1/anat_1/mprage.nii.gz"
ADNI = "ADNI_002_S_0295_MR_MPR__GradWarp_Br_2006_S13_I118671.nii"
GBM = f"images_structural/{PGS}/{PGS}"

# Empty files of each data set, and those with text; the last is the one to be named, if one is.
TREES: dict[str, tuple[list[str], Mapping[str, str]]] = {
    "abide": ([ABIDE], {"Phenotypic_V1_0b.csv": "SITE_ID,SUB_ID,DX_GROUP\nPITT,50003,1\n"}),
    "adhd200": ([ADHD], {"x_phenotypic.csv": "ScanDir ID,Site,DX\n1018959,3,0\n"}),
    "adni": ([f"ADNI/002_S_0295/MPR/2006-04-18_08/I118671/{ADNI}"], {"x.csv": (
        "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format\n"
        "I118671,002_S_0295,CN,M,84,sc,MRI,MPR; GradWarp,Processed,4/18/2006,NiFTI\n"
    )}),
    "bids": (["sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz"], {}),
    "brats": ([f"BraTS-GLI-00001-000/BraTS-GLI-00001-000-{m}.nii.gz" for m in ("t1n", "seg")], {}),
    "datalist": (
        ["P1/t1.nii.gz", "P1/flair.nii.gz", "P1/seg.nii.gz"], {"x.json": json.dumps(DATALIST)}
    ),
    "isles22": ([f"sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_{m}.nii.gz"
                 for m in ("dwi", "adc")], {}),
    "ixi": (["IXI-T1/IXI002-Guys-0828-T1.nii.gz", "IXI-T1/odd.nii.gz"], {}),
    "mrbrains13": (["TrainingData/1/T1.nii", "TrainingData/1/T2_FLAIR.nii"], {}),
    "nnssl": (["a.nii.gz"], {"pretrain_data.json": json.dumps(NNSSL)}),
    "nnunet": (["imagesTr/P_001_0000.nii.gz", "labelsTr/P_001.nii.gz", "imagesTr/P_004.nii.gz"],
               {"dataset.json": json.dumps(NNUNET)}),
    "table": (["a.nii"], {"x.csv": "patient,modality,path\np1,T1w,a.nii\np1,T9,b.nii\n"}),
    "ucsf_pdgm": ([f"UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_{m}.nii.gz" for m in ("T1", "FLAIR")], {}),
    "upenn_gbm": ([f"{GBM}_{m}.nii.gz" for m in ("T1", "FLAIR")], {}),
    "vsseg": (["vs_gk_1/vs_gk_t1_refT1.nii.gz", "vs_gk_1/vs_gk_t2_refT2.nii.gz"], {}),
}  # fmt: skip
NAMED = ("datalist", "nnssl", "table")  # by a file, not by its folder
ELSEWHERE = {"synthetic", "collection"}  # one makes its data set, the other joins adapters


def test_every_adapter_is_tested_here() -> None:
    assert set(ADAPTERS.names()) == TREES.keys() | ELSEWHERE


@pytest.mark.parametrize("name", TREES)
def test_the_contract_is_kept(name: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    empty, written = TREES[name]
    touch(root, *empty)
    for file, text in written.items():
        (root / file).write_text(text)
    place = root / list(written)[-1] if name in NAMED else root
    check_adapter(ADAPTERS.get(name), place)


def test_the_contract_is_kept_by_a_collection(tmp_path: Path) -> None:
    touch(tmp_path / "data", *TREES["ixi"][0])
    collection = ADAPTERS.get("collection")
    check_adapter(lambda root: collection([IxiAdapter(root)]), tmp_path / "data")  # type: ignore[call-arg]
