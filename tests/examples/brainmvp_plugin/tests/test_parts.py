"""The parts keep the contracts, and do what is special to them. Run: pytest"""

from functools import partial
from pathlib import Path

import pytest
import torch
from brainmvp_plugin.adapter import FlatFolder
from brainmvp_plugin.backbone import ConvPyramid
from brainmvp_plugin.head import GradientMagnitude, gradient_magnitude
from brainmvp_plugin.masking import Slabs
from brainmvp_plugin.method import Denoising

from brainmvp_lightning.randomness import CountedRandom
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.testing import (
    check_adapter,
    check_backbone,
    check_head,
    check_masking,
    check_method,
)


def test_contracts_of_the_networks() -> None:
    check_backbone(ConvPyramid)
    check_masking(Slabs(thickness=3))
    check_head(GradientMagnitude, backbone=ConvPyramid)
    check_head(partial(GradientMagnitude, hidden_only=True))
    check_method(partial(Denoising, masking=Slabs()), backbone=ConvPyramid)
    check_method(partial(Denoising, masking=Slabs(), edges=GradientMagnitude))


def test_slabs_hide_whole_slices_and_the_asked_share() -> None:
    mask = Slabs(thickness=2, ratio=0.25).draw((8, 8, 8), CountedRandom(torch.arange(30)))
    planes = [mask[:, 0].movedim(axis, 1).flatten(2) for axis in (1, 2, 3)]  # b side others
    whole = torch.stack([slices.all(dim=2).sum(dim=1) for slices in planes])
    assert whole.sum(dim=0).tolist() == [2] * 30  # of 8 slices, on one of the axes
    assert (whole.sum(dim=1) > 0).all()  # each axis is drawn


def test_a_ramp_is_as_steep_everywhere() -> None:
    ramp = 3 * torch.arange(5.0).view(1, 1, 5, 1, 1).expand(1, 1, 5, 4, 4)
    assert torch.equal(gradient_magnitude(ramp), torch.full((1, 1, 5, 4, 4), 3.0))


def test_names_that_say_nothing_are_told_with_a_remedy(tmp_path: Path) -> None:
    for name in ("p1_T1w", "p1_FLAIR", "p_2_t1n", "p3_sketch", "T2"):
        (tmp_path / f"{name}.nii.gz").touch()
    check_adapter(FlatFolder, tmp_path)
    adapter = FlatFolder(str(tmp_path))
    scans = adapter.scans(ModalityVocabulary())
    found = [(scan.patient, scan.modality) for scan in scans]
    assert found == [("p1", "flair"), ("p1", "t1"), ("p_2", "t1")]
    assert [Path(problem.file).name for problem in adapter.problems] == [
        "T2.nii.gz",
        "p3_sketch.nii.gz",
    ]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="correct 'root'"):
        FlatFolder(str(tmp_path)).scans(ModalityVocabulary())
