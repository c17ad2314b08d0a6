"""Names of the cases of a list: two people never share one, one person has one."""

import json
from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.adapters.datalist import DatalistAdapter
from brainmvp_lightning.studies.manifest import Manifest
from brainmvp_lightning.studies.modality import ModalityVocabulary
from tests.adapters.trees import touch


def studies_of(root: Path, entries: list[list[str]], *channels: str) -> dict[str, list[str]]:
    """Names of the files of each patient; nothing may be set aside."""
    touch(root, *(name for entry in entries for name in entry))
    content: dict[str, Any] = {"training": entries, "channel_names": list(channels)}
    (root / "list.json").write_text(json.dumps(content))
    adapter = DatalistAdapter(str(root / "list.json"))
    manifest = Manifest(tuple(adapter.scans(ModalityVocabulary()))).validate()
    assert [*adapter.problems, *manifest.problems] == []
    return {
        study.patient: sorted(scan.path.relative_to(root).as_posix() for scan in study.scans)
        for study in manifest.studies()
    }


@pytest.mark.parametrize(
    ("entries", "channels", "names"),
    [
        # Files that are called by their modality alone.
        ([["sub1/anat/T1w.nii"], ["sub2/anat/FLAIR.nii"]], [], ["sub1", "sub2"]),
        ([["a/s1/T1.nii"], ["b/s1/T2.nii"], ["c/T1.nii"]], [], ["a_s1", "b_s1", "c"]),
        (
            [["s1/T1.nii", "s1/T2_n4.nii"], ["s2/T1.nii", "s2/T2.nii"]],
            [],
            ["s1", "s2"],
        ),
        # Names in other scripts, of files and of folders.
        ([["x/张三_T1.nii"], ["x/李四_T1.nii"]], [], ["张三", "李四"]),
        ([["张三_T1/T1.nii"], ["李四_T1/T1.nii"]], [], ["张三", "李四"]),
        # Names that begin like a modality, where the list says what it is.
        ([["tr/PD_01.nii"], ["tr/PD_02.nii"]], ["t1"], ["PD_01", "PD_02"]),
        ([["s1/t1.nii", "s1/t1ce.nii"], ["s2/a.nii", "s2/b.nii"]], ["t1", "t1ce"], ["s1", "s2"]),
        # Numbers of people that look like those of channels.
        ([["x/sub_0001.nii"], ["x/sub_0002.nii"]], ["t1"], ["sub_0001", "sub_0002"]),
        # Numbers after the modality.
        ([["x/T1_01.nii"], ["x/T2_02.nii"]], [], ["01", "02"]),
        ([["x/s_T1_0001.nii"], ["x/s_T2_0002.nii"]], [], ["s_0001", "s_0002"]),
        ([["x/T1_a.nii"], ["x/T1_b.nii"]], [], ["a", "b"]),
        # One name in two places, and names that are the same once they are joined.
        ([["A/s1_T1.nii"], ["B/s1_T2.nii"]], [], ["A_s1", "B_s1"]),
        (
            [["a_b/c.nii"], ["a/b_c.nii"], ["x/a/c.nii"], ["b_c/c.nii"]],
            ["t1"],
            ["a_b_c", "b_c", "a_c", "b_c_c"],
        ),
        ([["s/c_T1.nii"], ["s/c_T1.nii.gz"]], [], ["c_1", "c_2"]),
    ],
)
def test_two_people_never_share_a_name(
    tmp_path: Path, entries: list[list[str]], channels: list[str], names: list[str]
) -> None:
    found = studies_of(tmp_path, entries, *channels)
    assert found == {name: sorted(entry) for name, entry in zip(names, entries, strict=True)}


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["T1/c_T1.nii", "T2/c_T2.nii"], "c"),
        (["IXI-T1/c-T1.nii", "IXI-PD/c-PD.nii"], "c"),
        (["c/anat/c_T1w.nii", "c/dwi/c_dwi.nii"], "c"),
        (["c/anat/T1w.nii", "c/dwi/dwi.nii"], "c"),
        (["x/T1_01.nii", "x/FLAIR_01.nii"], "01"),
        (["x/c_T1_n4.nii", "x/c_T2.nii"], "c"),
    ],
)
def test_entries_of_one_person_are_one_study(tmp_path: Path, files: list[str], name: str) -> None:
    assert studies_of(tmp_path, [[file] for file in files]) == {name: sorted(files)}
