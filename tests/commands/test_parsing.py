"""A wrong call ends in one sentence with option, place and the nearest valid names."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.commands.parsing import (
    inner_reason,
    make_parser,
    positional_configs,
    what_is_written,
)
from brainmvp_lightning.commands.parsing_files import ConfigError, Written, read_text
from brainmvp_lightning.commands.parsing_messages import Scene, translate
from brainmvp_lightning.commands.parsing_nearest import nearest
from brainmvp_lightning.commands.parsing_types import describe
from brainmvp_lightning.commands.trainer_checks import other_network

WRITTEN = [
    Written("data", "PretrainDataModule", "a.yaml, line 7"),
    Written("data.batch_size", "three", "a.yaml, line 8"),
    Written("data.clip.lowr", "1.0"),
]


def scene(options: dict[str, Any], written: list[Written] | None = None) -> Scene:
    outer = {"trainer.max_epochs": int | None, "data": None}
    return Scene(options, outer, written or [], [], [])


@pytest.mark.parametrize(
    ("message", "options", "expected"),
    [
        (
            "Parser key \"batch_size\":\n  Expected a <class 'int'>. Got value: three",
            {"batch_size": int},
            "option \"data.batch_size\": expected a whole number, got 'three' (a.yaml, line 8)",
        ),
        (
            "Option 'clip.lowr' is not accepted",
            {"clip.lower": float, "clip.upper": float},
            "unknown option 'lowr'; did you mean 'lower'? (data.clip.lowr)",
        ),
        (
            "Option 'max_epochs' is not accepted",
            {"cache": str},
            "unknown option 'max_epochs'; did you mean 'trainer.max_epochs'?",
        ),
    ],
)
def test_messages_become_sentences(message: str, options: dict[str, Any], expected: str) -> None:
    assert translate(message, scene(options, WRITTEN)) == expected


def test_a_message_of_an_unknown_kind_is_left_to_others() -> None:
    assert translate("Something else", scene({})) is None


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int | None, "a whole number or null"),
        (None | str, "text or null"),
        (tuple[int, int, int], "a list of 3 whole numbers"),
        (list[str] | None, "a list of words or null"),
        (Literal["box", "foreground"] | float, "one of box, foreground or a number"),
        (Iterable[int], "a list of whole numbers"),
        (Callable[[int], Backbone], "the name of a backbone"),
        (dict[str, float], "a mapping of names to values"),
    ],
)
def test_types_have_words(hint: Any, expected: str) -> None:
    assert describe(hint) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ration", ["ratio"]),
        ("batch", ["batch_size"]),
        ("sed", ["seed_everything"]),
        ("cache", []),
    ],
)
def test_beginnings_and_parts_of_names_are_near(word: str, expected: list[str]) -> None:
    assert nearest(word, ["ratio", "batch_size", "seed_everything"]) == expected


def test_what_is_written_keeps_order_place_and_full_paths(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("data:\n  init_args:\n    clip: {lower: 1.0}\n    modalities: [t1, t2]\n")
    words = ["fit", "-c", str(file), "--data.init_args.batch_size=3", "--trainer.callbacks+", "X"]
    assert what_is_written(words) == [
        Written("data", "", f"{file}, line 1"),
        Written("data.clip", "", f"{file}, line 3"),
        Written("data.clip.lower", "1.0", f"{file}, line 3"),
        Written("data.modalities", "[t1, t2]", f"{file}, line 4"),
        Written("data.batch_size", "3"),
        Written("trainer.callbacks", "X"),
    ]


def test_merged_mappings_of_yaml_are_no_duplicates() -> None:
    text = "base: &base {a: 1}\nnext:\n  <<: *base\n  a: 2\n"
    assert Written("next.a", "2", "x, line 4") in read_text(text, "x")
    with pytest.raises(ConfigError, match=r"x, line 2: 'a' is written twice \(first in line 1\)"):
        read_text("a: 1\na: 2\n", "x")


def test_what_comes_by_a_merge_belongs_to_where_it_is_merged() -> None:
    text = (
        "base: &base {class_path: a.B, init_args: {c: 1}}\n"
        "one: {<<: *base}\n"
        "two: {<<: *base, class_path: a.D}\n"
        "three:\n  <<: [*base, {e: 2}]\n"
    )
    found = {each.path: each.value for each in read_text(text, "x")}
    assert found["one"] == "a.B"
    assert found["one.c"] == found["two.c"] == found["three.c"] == "1"
    assert (found["two"], found["three.e"]) == ("a.D", "2")
    assert not any("<<" in path for path in found)


def test_a_configuration_may_stand_in_one_word_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("data: {batch_size: 3}\n")
    for word in (f"-c{tmp_path / 'a.yaml'}", f"-c={tmp_path / 'a.yaml'}"):
        assert [each.path for each in what_is_written(["fit", word])] == [
            "data",
            "data.batch_size",
        ]


def test_a_file_alone_is_a_configuration_but_the_value_of_an_option_is_not() -> None:
    words = [
        "fit",
        "a.yaml",
        "--print_config",
        "b.yaml",
        "--model.templates",
        "c.yaml",
        "-c",
        "d.yaml",
    ]
    assert positional_configs(words) == [
        *("fit", "--config", "a.yaml", "--print_config", "--config", "b.yaml"),
        *("--model.templates", "c.yaml", "-c", "d.yaml"),
    ]
    for number in ("-1", "-.5"):  # a value, whose next word belongs to nothing
        before = ["fit", "--trainer.max_steps", number]
        assert positional_configs([*before, "a.yaml"]) == [*before, "--config", "a.yaml"]


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
        assert error.startswith("brainmvp test: error: there is no configuration file")
        assert f"{tmp_path / 'wrk.yaml'}; did you mean '{tmp_path / 'work.yaml'}'?" in error


def test_reason_of_a_class_that_refuses_its_values_comes_first() -> None:
    message = (
        "Does not validate against any of the Union subtypes\n Errors:\n  - crop_centre is 1.5\n"
        "  - Expected a <class 'NoneType'>\nGiven value: Namespace(x=1)"
    )
    assert inner_reason(message) == "crop_centre is 1.5"
    assert inner_reason("cache x\nis gone") == "cache x is gone"


def test_tensors_of_another_network_are_named() -> None:
    message = (
        "Error(s) in loading state_dict for Task:\n\tsize mismatch for head.weight: copying a "
        "param with shape torch.Size([2, 3]) from checkpoint, the shape in current model is "
        "torch.Size([4, 3])."
    )
    assert "(its head.weight is [2, 3], here [4, 3])" in other_network(message)
