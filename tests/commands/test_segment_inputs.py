"""Files of one study are never mixed with those of another, nor with annotations."""

from pathlib import Path

import pytest

from brainmvp_lightning.commands.segment_inputs import Inputs, find_inputs

TAKES = ("t1", "t2")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def one(*words: str) -> Inputs:
    (inputs,) = find_inputs(words, TAKES)
    return inputs


def test_files_of_two_cases_are_no_study_unless_they_are_named() -> None:
    names = ("sub-01_t1.nii", "sub-02_t2.nii")
    touch(*names, *(f"f/{name}" for name in names))
    with pytest.raises(ValueError, match=r"sub-01_t1\.nii and sub-02_t2\.nii are of different"):
        one(*names)
    fault = one("f").fault
    assert "sub-01_t1.nii and sub-02_t2.nii are of different cases" in fault
    assert "name files as modality=file" in fault
    named = one("t1=sub-01_t1.nii", "t2=sub-02_t2.nii")
    assert (named.name, named.fault) == ("here", "")


def test_numbers_after_the_modality_tell_cases_apart() -> None:
    touch("t1_01.nii", "t2_02.nii", "t2_01.nii")
    with pytest.raises(ValueError, match="different cases"):
        one("t1_01.nii", "t2_02.nii")
    assert one("t1_01.nii", "t2_01.nii").name == "01"


def test_how_an_image_was_made_is_not_whose_it_is() -> None:
    touch("sub-01_acq-3d_T1w.nii", "sub-01_T2w.nii", "t1.nii")
    inputs = one("sub-01_acq-3d_T1w.nii", "sub-01_T2w.nii")
    assert (inputs.name, inputs.notes) == ("sub-01", ())
    assert one("t1.nii", "sub-01_T2w.nii").name == "here"


@pytest.mark.parametrize(
    "name", ["c_t2_seg.nii", "c_t2_brain_Mask2.nii", "c_seg_t2.nii", "c_space-T2w_dseg.nii"]
)
def test_an_annotation_is_no_image(name: str) -> None:
    touch("c/c_t1.nii", f"c/{name}")
    inputs = one("c")
    assert set(inputs.files) == {"t1"}
    assert inputs.fault == ""
    assert [name in text and "annotation by its name" in text for text in inputs.skipped] == [True]
    with pytest.raises(ValueError, match=r"is an annotation by its name .* name it t2="):
        one(f"c/{name}")
    assert set(one(f"t2=c/{name}").files) == {"t2"}


def test_other_words_after_the_modality_are_told() -> None:
    touch("c/c_t1.nii", "c/c_t2_brain.nii")
    for inputs in (one("c"), one("c/c_t1.nii", "c/c_t2_brain.nii")):
        assert set(inputs.files) == {"t1", "t2"}
        assert inputs.notes == (
            "c/c_t2_brain.nii: 'brain' in its name is passed over, it is the t2",
        )


def test_scans_of_other_modalities_are_kept_where_they_are_clearly_of_the_study() -> None:
    touch("c/c_t1.nii", "c/c_flair.nii", "c/d_pd.nii", "c/c_dwi_b0.nii", "c/c_dwi_b1.nii")
    inputs = one("c")
    assert inputs.others == {"flair": Path("c/c_flair.nii")}
    assert [text.split(":")[0] for text in inputs.skipped] == [
        f"c/{name}.nii" for name in ("c_dwi_b0", "c_dwi_b1", "d_pd")
    ]
    assert "only has a say in the grid" in inputs.notes[0]
    assert one("c/c_t1.nii", "c/c_flair.nii").others == inputs.others
    with pytest.raises(ValueError, match="flair; the model takes t1, t2"):
        one("c/c_flair.nii")


def test_folders_in_each_other_have_names_of_their_own() -> None:
    touch("c/t1.nii", "c/c/t1.nii", "a_b/c/t1.nii", "a/b_c/t1.nii", "a/c/t1.nii")
    assert [i.name for i in find_inputs(["c", "c/c"], TAKES)] == ["c", "c_c"]
    found = find_inputs(["a_b/c", "a/b_c", "a/c"], TAKES)
    assert [i.name for i in found] == ["a_b_c", "a_b_c_2", "a_c"]
