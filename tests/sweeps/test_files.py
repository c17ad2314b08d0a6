"""What is wrong in the form of a sweep file is told in sentences, all at once."""

from pathlib import Path
from typing import Any

import pytest

from brainmvp_lightning.sweeps.files import SweepError, read_sweep
from tests.sweeps.making import BASE, COMMAND, RATE, SHIPPED, write_sweep

FIT = ["${env}", "${program}", "fit", "-c", str(BASE)]


def parameters(block: Any) -> dict[str, Any]:
    return {"method": "random", "parameters": {RATE: block}}


MISTAKES = [
    ({"metod": "grid"}, "unknown key 'metod'; did you mean 'method'?"),
    ({"method": "baies"}, "method is 'baies'; did you mean 'bayes'?"),
    ({"program": "train.py"}, "program is 'train.py'; it must be 'brainmvp'"),
    ({"run_cap": 0}, "run_cap is 0; give a number of 1 or more"),
    ({"metric": None}, "there is no metric"),
    ({"metric": {"name": "val/dice", "goal": "maximise"}}, "did you mean 'maximize'"),
    (
        {"metric": {"name": "val/dice", "gaol": "maximize"}},
        "unknown key 'gaol'; did you mean 'goal'",
    ),
    ({"parameters": {}}, "there are no parameters"),
    (parameters(3), f"{RATE} is 3; give {{value: 3}}"),
    (parameters({}), "says nothing of its values"),
    (parameters({"vals": [1]}), "unknown key 'vals'; did you mean 'values' or 'value'?"),
    (parameters({"values": []}), "has values []; give a list with one or more"),
    (parameters({"parameters": {"b": {"value": 1}}}), f"flat dotted names: {RATE}.b"),
    (parameters({"distribution": "log_unifrom", "min": 1, "max": 2}), "did you mean 'log_uniform'"),
    (parameters({"distribution": "beta", "a": 1}), "unknown key 'a'"),
    (parameters({"distribution": "beta"}), "beta, which only wandb's server can draw"),
    (parameters({"distribution": "uniform", "min": 1}), "is uniform and needs max"),
    (parameters({"min": 1, "max": 2, "q": 1}), "is int_uniform, which has no q"),
    (parameters({"min": "1e-5", "max": 1.0}), "write 1.0e-5"),
    (parameters({"min": 2, "max": 1}), "has min 2 and max 1; min must be less"),
    (parameters({"distribution": "log_uniform_values", "min": 0, "max": 1}), "must be above 0"),
    (parameters({"distribution": "log_uniform", "min": 1, "max": 1000}), "use log_uniform_values"),
    (parameters({"distribution": "normal", "sigma": -1}), "sigma is -1; it must be above 0"),
    (
        parameters({"values": [1, 2], "probabilities": [0.5, 0.6]}),
        "one for each value, with the sum",
    ),
    ({"parameters": {RATE: {"min": 0.0, "max": 1.0}}}, "method grid goes through every value"),
    (
        {"parameters": {RATE: {"values": [1, 2], "probabilities": [0.5, 0.5]}}},
        "has probabilities, but method grid",
    ),
    ({"command": None}, "there is no command, which wandb would make a call of python"),
    ({"command": ["${env}", "${interpreter}", *COMMAND[1:]]}, "${interpreter} is the word python"),
    ({"command": [*FIT, "-c", "${args_json_fil}"]}, "did you mean 'args_json_file'"),
    ({"command": [*FIT, "--config=${args_json_file}"]}, "make it an item of its own"),
    ({"command": [*FIT, "${args_json_file}"]}, "put -c before it"),
    ({"command": [*FIT, "-c", "${args}"]}, "drop the -c before it"),
    ({"command": FIT}, "the command has no ${args_json_file}"),
    ({"command": ["${program}", "fit", "${args}", "-c", "x.yaml"]}, "whose values would win"),
    ({"command": ["${program}", "fit", "-c", "${args_json}"]}, "the command names no base file"),
    ({"command": ["${program}", *FIT[3:], "-c", "${args_json}"]}, "the command is no brainmvp fit"),
    ({"command": ["${env}", *FIT[2:], "${args}"]}, "does not start brainmvp"),
    ({"command": [*FIT, "${args_no_boolean_flags}"]}, "leaves out what is false"),
    ({"command": [*FIT, "${args_no_hyphens}"]}, "writes a.b=1, which is no option"),
    (
        {"command": [*FIT, "${args}"], **parameters({"values": [[1, None], 1]})},
        "may be or hold null, which ${args} writes as the word None",
    ),
    (
        {"command": [*FIT, "${args_no_equals}"], **parameters({"values": [{"a": 1}]})},
        "has mappings as values, which ${args_no_equals} writes as Python",
    ),
    ({"early_terminate": {"type": "envelope"}}, "early_terminate is 'envelope'"),
    ({"early_terminate": {"type": "hyperband", "min_itr": 3}}, "did you mean 'min_iter'"),
    ({"early_terminate": {"type": "hyperband", "s": 2}}, "needs min_iter, or max_iter with s"),
    ({"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}}, "a number above 1"),
]


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES, ids=[text for _, text in MISTAKES])
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SweepError) as error:
        read_sweep(write_sweep(tmp_path, **changes))
    assert any(sentence in fault for fault in error.value.faults), error.value.faults


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, method="x", metric=None, command=None, parameters={"a": 1, "b": 2})
    with pytest.raises(SweepError) as error:
        read_sweep(path)
    assert len(error.value.faults) == 5


@pytest.mark.parametrize(
    ("text", "sentence"), [("a: [", "no YAML"), ("3", "no options"), (None, "no such file")]
)
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "sweep.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SweepError, match=sentence):
        read_sweep(path)


def test_distributions_without_a_name_are_those_of_wandb(tmp_path: Path) -> None:
    blocks = {
        "a": {"value": 1},
        "b": {"values": [1]},
        "c": {"min": 1, "max": 2},
        "d": {"min": 1.0, "max": 2},
        "e": {"mu": 1},
    }
    sweep = read_sweep(write_sweep(tmp_path, method="random", parameters=blocks))
    kinds = [parameter.distribution for parameter in sweep.parameters]
    assert kinds == ["constant", "categorical", "int_uniform", "uniform", "normal"]


def test_shipped_sweeps_are_there_and_named_after_their_files() -> None:
    assert {read_sweep(path).title for path in SHIPPED} == {path.stem for path in SHIPPED}
    assert {read_sweep(path).method for path in SHIPPED} == {"grid", "random", "bayes"}
