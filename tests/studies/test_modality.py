import pytest

from brainmvp_lightning.studies.modality import (
    VOCABULARY,
    ModalityVocabulary,
    UnknownModalityError,
)


def test_the_order_is_that_of_the_published_templates() -> None:
    assert VOCABULARY == ("flair", "t1", "t1ce", "t2", "mra", "pd", "dwi", "adc")
    assert ModalityVocabulary().names == VOCABULARY


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("t1n", "t1"),
        ("T1w", "t1"),
        ("T1-weighted", "t1"),
        ("t1c", "t1ce"),
        ("T1Gd", "t1ce"),
        ("T1 post", "t1ce"),
        ("T1+C", "t1ce"),
        ("ce-gadolinium", "t1ce"),
        ("T2W", "t2"),
        ("t2f", "flair"),
        ("T2-FLAIR", "flair"),
        ("fl", "flair"),
        ("PDw", "pd"),
        ("PD", "pd"),
        ("angio", "mra"),
        ("TOF", "mra"),
        ("TOF-MRA", "mra"),
        ("trace", "dwi"),
        ("DWI", "dwi"),
        ("ADC", "adc"),
    ],
)
def test_spellings_of_the_field_are_known(text: str, name: str) -> None:
    assert ModalityVocabulary().parse(text) == name


def test_an_unknown_spelling_names_the_nearest_and_the_remedy() -> None:
    with pytest.raises(UnknownModalityError, match=r"'flare'; did you mean 'flair'\?.*extra_mod"):
        ModalityVocabulary().parse("flare")


def test_t2_star_is_not_t2() -> None:
    with pytest.raises(UnknownModalityError, match=r"'T2\*'"):
        ModalityVocabulary().parse("T2*")


def test_letters_of_other_scripts_count() -> None:
    vocabulary = ModalityVocabulary({"t1ce": ["T1增强"]})
    assert vocabulary.parse("T1-增强") == "t1ce"  # without the entry it would not be t1 either
    with pytest.raises(UnknownModalityError, match="T1增强"):
        ModalityVocabulary().parse("T1增强")


def test_extra_names_come_last_and_bring_their_spellings() -> None:
    vocabulary = ModalityVocabulary({"swi": ["SWAN", "T2*"], "t1": ["spgr"]})
    assert vocabulary.names == (*VOCABULARY, "swi")
    assert [vocabulary.parse(text) for text in ("swan", "SWI", "spgr")] == ["swi", "swi", "t1"]


def test_a_spelling_cannot_mean_two_things() -> None:
    with pytest.raises(ValueError, match="'t1w' cannot mean 't2', it already means 't1'"):
        ModalityVocabulary({"t2": ["t1w"]})


@pytest.mark.parametrize("name", ["SWI", "label", "a/b", ""])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a modality name"):
        ModalityVocabulary({name: []})
