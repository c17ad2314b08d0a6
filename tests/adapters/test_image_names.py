"""Names of people in any script stay part of the case."""

from pathlib import Path

import pytest

from brainmvp_lightning.adapters.image_names import ImageName, parse_image_name
from brainmvp_lightning.studies.modality import ModalityVocabulary, UnknownModalityError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("张三_t1.nii.gz", ImageName("张三", "t1")),
        ("Иван-T1_post.nii", ImageName("Иван", "t1ce")),
        ("José_t1.nii", ImageName("José", "t1")),
        ("+_t1.nii", ImageName("+", "t1")),
        ("t1_张三.nii", ImageName("", "t1", "张三")),
        ("T1_张三_post.nii", ImageName("", "t1", "张三_post")),
        ("case-7_T1_+_C.nii", ImageName("case-7", "t1ce")),
        ("case-7_T1_post_n4.nii", ImageName("case-7", "t1ce", "n4")),
    ],
)
def test_only_words_of_the_modality_are_taken_from_the_case(name: str, expected: ImageName) -> None:
    assert parse_image_name(Path(name), ModalityVocabulary()) == expected


@pytest.mark.parametrize("name", ["张三t1.nii", "T1增强.nii"])
def test_a_modality_inside_a_word_of_another_script_is_not_guessed(name: str) -> None:
    with pytest.raises(UnknownModalityError):
        parse_image_name(Path(name), ModalityVocabulary())
