"""A wrong call ends in one sentence with the nearest valid name."""

from pathlib import Path

import pytest

from brainmvp_lightning.commands.parsing import explain, inner_reason, make_parser

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


def test_missing_configuration_file_names_the_nearest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "work.yaml").write_text("count: 1\n")
    parser = make_parser("brainmvp test", "Test.")
    parser.add_argument("--count", type=int, default=0)
    assert parser.parse_args(["--config", str(tmp_path / "work.yaml")]).count == 1
    for words in (["--config", str(tmp_path / "wrk.yaml")], [f"--config={tmp_path / 'wrk.yaml'}"]):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(words)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert f"there is no configuration file {tmp_path / 'wrk.yaml'}; did you mean" in error


def test_reason_of_a_class_that_refuses_its_values_comes_first() -> None:
    message = (
        "Does not validate against any of the Union subtypes\n Errors:\n  - crop_centre is 1.5\n"
        "  - Expected a <class 'NoneType'>\nGiven value: Namespace(x=1)"
    )
    assert inner_reason(message) == "crop_centre is 1.5"
    assert inner_reason("cache x\nis gone") == "cache x is gone"
