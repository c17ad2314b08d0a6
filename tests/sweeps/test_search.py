"""What trials try."""

import itertools
import math
import statistics

from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.sweeps.parameters import Parameter
from brainmvp_lightning.sweeps.search import grid_size, next_trial
from brainmvp_lightning.sweeps.trials import FAILED, FINISHED, STOPPED, Trial
from tests.sweeps.making import sweep_of

RATE = Parameter("rate", "log_uniform_values", low=1e-6, high=1.0)
KIND = Parameter("kind", "categorical", values=("a", "b", "c"))
FIXED = Parameter("fixed", "constant", values=(7,))


def go(sweep: Sweep, count: int, start: list[Trial] | None = None) -> list[Trial]:
    """Make trials whose metric is best at ``rate=0.01, kind=b``."""
    trials = list(start or [])
    while len(trials) < count:
        trial = next_trial(sweep, trials, seed=0)
        assert trial is not None
        miss = abs(math.log10(trial.values["rate"]) + 2) + (trial.values["kind"] != "b")
        trial.history = [-miss if sweep.metric.is_higher_better else miss]
        trial.state = {3: FAILED, 6: STOPPED}.get(trial.number, FINISHED)
        trials.append(trial)
    return trials


def test_a_grid_goes_through_each_combination_once_the_last_parameter_first() -> None:
    numbers = Parameter("n", "int_uniform", low=1, high=2)
    sweep = sweep_of(numbers, KIND, FIXED, method="grid")
    trials: list[Trial] = []
    while (trial := next_trial(sweep, trials, seed=0)) is not None:
        trials.append(trial)
    assert [(one.values["n"], one.values["kind"]) for one in trials] == [
        (1, "a"), (1, "b"), (1, "c"), (2, "a"), (2, "b"), (2, "c"),
    ]  # fmt: skip
    assert grid_size(sweep) == 6
    assert all(one.values["fixed"] == 7 for one in trials)


def test_a_random_draw_depends_on_seed_and_number_alone() -> None:
    sweep = sweep_of(RATE, KIND)
    trials = go(sweep, 20)
    other = list(trials[:10])
    other[2] = Trial(2, {"rate": 1.0, "kind": "a"}, {"rate": 1.0, "kind": 0.0}, FAILED)
    assert [one.values for one in go(sweep, 20, other)[10:]] == [one.values for one in trials[10:]]
    seeded = next_trial(sweep, trials, seed=1)
    assert seeded is not None
    assert seeded.values != go(sweep, 21)[20].values
    assert all(1e-6 <= one.values["rate"] <= 1 for one in trials)
    assert {one.values["kind"] for one in trials} == {"a", "b", "c"}


def test_bayes_comes_nearer_than_chance() -> None:
    late = go(sweep_of(RATE, KIND, FIXED, method="bayes", goal="maximize"), 18)[8:]
    chance = go(sweep_of(RATE, KIND, FIXED, goal="maximize"), 18)[8:]
    learned, drawn = (statistics.median(-one.history[0] for one in some) for some in (late, chance))
    assert learned < drawn / 2


def test_bayes_goes_on_after_an_interruption_as_without() -> None:
    sweep = sweep_of(
        RATE, KIND, Parameter("w", "categorical", ("x", "y"), (0.5, 0.5)), method="bayes"
    )
    trials = go(sweep, 9)
    assert [one.values for one in go(sweep, 9, trials[:7])] == [one.values for one in trials]


def test_bayes_keeps_apart_trials_that_run_at_once() -> None:
    sweep = sweep_of(RATE, method="bayes")
    trials = [
        Trial(n, {"rate": RATE.at(place)}, {"rate": place}, FINISHED, [abs(place - 0.6)])
        for n, place in enumerate((0.05, 0.3, 0.5, 0.7, 0.95))
    ]
    drawn = []
    for _ in range(3):
        trial = next_trial(sweep, trials, seed=0)
        assert trial is not None
        drawn.append(trial.places["rate"])
        trials.append(trial)  # which runs
    assert 0.5 < drawn[0] < 0.7
    assert min(abs(a - b) for a, b in itertools.combinations(drawn, 2)) > 0.005


def test_bayes_without_anything_to_vary_repeats_what_there_is() -> None:
    trial = next_trial(sweep_of(FIXED, method="bayes"), [], seed=0)
    assert trial is not None
    assert trial.values == {"fixed": 7}
