"""What the next trial tries: a grid, random draws, or a search that learns from the others."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.sweeps.parameters import Parameter
from brainmvp_lightning.sweeps.trials import RUNNING, Trial

if TYPE_CHECKING:
    import optuna

NUM_RANDOM_FIRST = 5
"""Trials of a bayes search before it learns; optuna's default of 10 is many for trainings."""


def grid_size(sweep: Sweep) -> int:
    """Return the number of combinations of a grid."""
    return math.prod(len(parameter.all_values()) for parameter in sweep.parameters)


def next_trial(sweep: Sweep, trials: Sequence[Trial], seed: int) -> Trial | None:
    """Return a new trial, None if a grid is through.

    What is drawn depends on the seed, the number of the trial and, for bayes, on the results there
    are, not on interruptions.

    Args:
        sweep: What may be tried.
        trials: All so far.
        seed: Fixes what is drawn.
    """
    number = len(trials)
    if sweep.method == "grid":
        return _grid_trial(sweep, number)
    is_random = sweep.method == "random" or not _varying(sweep)
    places = (_random if is_random else _bayes)(sweep, trials, seed)
    values = {one.name: one.at(places.get(one.name, 0.0)) for one in sweep.parameters}
    return Trial(number, values, places)


def _grid_trial(sweep: Sweep, number: int) -> Trial | None:
    combinations = itertools.product(*(one.all_values() for one in sweep.parameters))
    values = next(itertools.islice(combinations, number, None), None)
    if values is None:
        return None
    names = (parameter.name for parameter in sweep.parameters)
    return Trial(number, dict(zip(names, values, strict=True)))


def _varying(sweep: Sweep) -> list[Parameter]:
    return [one for one in sweep.parameters if not one.is_fixed]


def _random(sweep: Sweep, trials: Sequence[Trial], seed: int) -> dict[str, float]:
    return {
        one.name: random.Random(f"{seed}/{len(trials)}/{one.name}").random()
        for one in _varying(sweep)
    }


def _bayes(sweep: Sweep, trials: Sequence[Trial], seed: int) -> dict[str, float]:
    """Draw with optuna's Gaussian process, where much is expected to improve.

    It works on the unit interval, where each distribution is even: a logarithmic scale is one
    there, too. Choices without probabilities are categories.

    Source: Jones et al., Efficient Global Optimization of Expensive Black-Box Functions, 1998;
        wandb's bayes is of this kind, too.
    """
    optuna, study = _make_study(sweep, trials, seed)
    spaces = {one.name: _space(optuna, one) for one in _varying(sweep)}
    for trial, metric in _known(trials):
        study.add_trial(_as_optuna(optuna, trial, metric, spaces))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about numerics of small samples
        drawn = study.ask(fixed_distributions=spaces).params
    return {one.name: _place(one, drawn[one.name]) for one in _varying(sweep)}


def _make_study(sweep: Sweep, trials: Sequence[Trial], seed: int) -> tuple[Any, optuna.Study]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    digest = hashlib.blake2b(f"{seed}/{len(trials)}".encode(), digest_size=4).digest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.GPSampler(
            n_startup_trials=NUM_RANDOM_FIRST, seed=int.from_bytes(digest, "little")
        )
    goal = "maximize" if sweep.metric.is_higher_better else "minimize"
    return optuna, optuna.create_study(direction=goal, sampler=sampler)


def _known(trials: Sequence[Trial]) -> list[tuple[Trial, float]]:
    """Return what a search learns from: the last metric of trials, those stopped early too.

    Trials that run now are taken to end as the mean of the others, so that new ones keep apart.
    """
    known = [(trial, trial.metric) for trial in trials if trial.metric is not None]
    mean = sum(metric for _, metric in known) / max(1, len(known))
    running = [(trial, mean) for trial in trials if trial.state == RUNNING and known]
    return [*known, *running]


def _space(optuna: Any, parameter: Parameter) -> Any:  # noqa: ANN401 - optuna has no types
    if parameter.is_choice and not parameter.weights:
        return optuna.distributions.CategoricalDistribution(range(len(parameter.values)))
    return optuna.distributions.FloatDistribution(0.0, 1.0)


def _as_optuna(
    optuna: Any,  # noqa: ANN401 - optuna has no types
    trial: Trial,
    metric: float,
    spaces: Mapping[str, Any],
) -> Any:  # noqa: ANN401
    params: dict[str, float] = {
        name: int(trial.places[name] * len(space.choices))
        if hasattr(space, "choices")
        else trial.places[name]
        for name, space in spaces.items()
    }
    return optuna.trial.create_trial(params=params, distributions=dict(spaces), value=metric)


def _place(parameter: Parameter, drawn: float) -> float:
    if parameter.is_choice and not parameter.weights:
        return (int(drawn) + 0.5) / len(parameter.values)
    return float(drawn)
