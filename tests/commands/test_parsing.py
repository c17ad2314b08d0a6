"""A wrong call ends in one sentence with the nearest valid name."""

import pytest

from brainmvp_lightning.commands.parsing import explain

NAMES = {"backbone": ["unet3d", "uniformer_small"], "masking strategy": ["grid_blocks"]}
OPTIONS = {"depth", "backbone", "block_size", "model"}


@pytest.mark.parametrize(
    ("message", "words", "expected"),
    [
        (
            'Parser key "backbone": Expected a path but unifomer_small is not accessible',
            {"model", "backbone", "unifomer_small"},
            "unknown backbone 'unifomer_small'; did you mean 'uniformer_small'? "
            "(known: unet3d, uniformer_small)",
        ),
        (
            "Option 'blok_size' is not accepted",
            {"blok_size"},
            "unknown option 'blok_size'; did you mean 'block_size'?",
        ),
        (
            "Parser key \"depth\":\n  Expected a <class 'int'>. Got value: deep",
            {"depth", "deep"},
            'option "depth": Expected a int. Got value: deep',
        ),
    ],
)
def test_messages_become_sentences(message: str, words: set[str], expected: str) -> None:
    assert explain(message, words, NAMES, OPTIONS) == expected


def test_words_of_the_parser_itself_are_no_suspects() -> None:
    assert explain("back bone missing backbon", {"other"}, NAMES, OPTIONS).startswith("back bone")
