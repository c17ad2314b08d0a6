"""Plans of the paper's two studies: which runs there are, and their command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmvp_lightning.experiments.arms import (
    AblationArm,
    check_fractions,
    check_names,
    refuse_fixed,
    share_text,
)
from brainmvp_lightning.experiments.cells import (
    Cell,
    Place,
    checkpoint_to_test,
    test_step,
    train_step,
)
from brainmvp_lightning.experiments.contents import inputs_of
from brainmvp_lightning.experiments.overrides import (
    Overrides,
    Tree,
    expand,
    flatten,
    merge,
    read_config,
    run_folder,
)

PAPER_FRACTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Source: BrainMVP, label efficiency: shares of the training patients."""

ENCODER_FILE = "encoder.safetensors"
WEIGHTS_OPTION = "model.weights"
_WEIGHTS_KEY = "model.init_args.weights"
_WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")


@dataclass(frozen=True)
class Common:
    """What all fine-tunings of an experiment share.

    Attributes:
        task: YAML file of the fine-tuning.
        runs: Folder of the experiment.
        cache: Prepared cohort; None keeps the one that `task` names.
        seeds: Seeds of the repetitions.
        overrides: Changes to `task` for all arms, by dotted name.
    """

    task: Path
    runs: Path
    cache: str | None = None
    seeds: tuple[int, ...] = (0,)
    overrides: Overrides | None = None

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds are {list(self.seeds)}; give one or more different numbers")


@dataclass(frozen=True)
class Plan:
    """An experiment.

    Attributes:
        kind: ``"label_efficiency"`` or ``"ablation"``.
        arms: Their names; the first one is what the others are compared with.
        cells: All runs; those that others need come first.
        places: Where the tested runs stand in the table.
    """

    kind: str
    arms: tuple[str, ...]
    cells: tuple[Cell, ...]
    places: tuple[Place, ...]

    def check_weights(self) -> None:
        """Look for the weights that arms start from, before hours of work on other arms.

        Raises:
            FileNotFoundError: If a file is not there.
        """
        for cell in self.cells:
            weights = dict(flatten(cell.overrides)).get(_WEIGHTS_KEY)
            if not isinstance(weights, str) or Path(weights).suffix not in _WEIGHT_SUFFIXES:
                continue  # such as the name of a model on a hub
            if not cell.needs and not Path(weights).is_file():
                raise FileNotFoundError(
                    f"there are no weights {weights}, which {cell.name} starts from; pre-train "
                    "with brainmvp fit first, or name another file"
                )


def plan_label_efficiency(
    common: Common,
    arms: Mapping[str, Overrides | None],
    fractions: Sequence[float] = PAPER_FRACTIONS,
) -> Plan:
    """Plan the fine-tuning of each arm with growing shares of the training patients.

    The patients of a smaller share are part of any larger one with the same seed; they are the same
    for all arms. Validation and test stay the same.

    Args:
        common: What all runs share.
        arms: Name to changes of the fine-tuning; the first arm is the reference.
        fractions: Shares of the training patients.

    Raises:
        FileNotFoundError: If a YAML file is not there.
        ValueError: If names, shares or seeds cannot be used.

    Source:
        BrainMVP, label efficiency.
    """
    check_names(arms)
    shares = check_fractions(fractions)
    config = read_config(common.task)
    cells, places = [], []
    for fraction in shares:
        for arm, changes in arms.items():
            for seed in common.seeds:
                place = _place(common, arm, fraction, seed)
                cells.append(_fine_tuning(common, config, place, changes or {}))
                places.append(place)
    return Plan("label_efficiency", tuple(arms), tuple(cells), tuple(places))


def plan_ablation(
    common: Common, arms: Mapping[str, AblationArm], pretrain: Path, pretrain_cache: str | None
) -> Plan:
    """Plan a pre-training for each arm, and the fine-tuning that starts from its encoder.

    Args:
        common: What all fine-tunings share.
        arms: Name to changes; the first arm is the reference.
        pretrain: YAML file of the pre-training.
        pretrain_cache: Cohort of the pre-training; None keeps the one that `pretrain` names.

    Raises:
        FileNotFoundError: If a YAML file is not there.
        ValueError: If names or seeds cannot be used.

    Source:
        BrainMVP, table 4.
    """
    check_names(arms)
    config = read_config(common.task)
    first, cells, places = [], [], []
    for name, arm in arms.items():
        changes = {WEIGHTS_OPTION: None, **(arm.finetune or {})}
        needs: tuple[str, ...] = ()
        if arm.pretrain is not None:
            refuse_fixed(arm.finetune or {}, [WEIGHTS_OPTION], name)
            cell = _pre_training(common, pretrain, pretrain_cache, name, arm.pretrain)
            first.append(cell)
            needs = (cell.name,)
            changes[WEIGHTS_OPTION] = str(cell.folder / ENCODER_FILE)
        for seed in common.seeds:
            place = _place(common, name, 1.0, seed)
            cells.append(_fine_tuning(common, config, place, changes, needs))
            places.append(place)
    return Plan("ablation", tuple(arms), (*first, *cells), tuple(places))


def _place(common: Common, arm: str, fraction: float, seed: int) -> Place:
    name = f"finetune/{arm}/fraction_{share_text(fraction)}/seed_{seed}"
    return Place(arm, fraction, seed, name, common.runs / name)


def _fine_tuning(
    common: Common, config: Tree, place: Place, changes: Overrides, needs: tuple[str, ...] = ()
) -> Cell:
    fixed: dict[str, Any] = {
        "seed_everything": place.seed,
        "data.label_fraction": place.fraction,
        "data.label_seed": place.seed,
    }
    if common.cache is not None:
        fixed["data.cache"] = common.cache
    chosen = {**(common.overrides or {}), **changes}
    refuse_fixed(chosen, fixed, place.arm)
    overrides = merge(
        run_folder(config, place.folder), expand(chosen, config), expand(fixed, config)
    )
    whole = merge(config, overrides)
    checkpoint = checkpoint_to_test(whole)
    steps = (
        train_step(common.task, place.folder, checkpoint),
        test_step(place.folder, checkpoint),
    )
    inputs = inputs_of(whole, common.runs)
    return Cell(place.cell, place.folder, steps, config, overrides, inputs, needs)


def _pre_training(
    common: Common, task: Path, cache: str | None, arm: str, changes: Overrides
) -> Cell:
    config = read_config(task)
    name = f"pretrain/{arm}"
    folder = common.runs / name
    fixed = {} if cache is None else {"data.cache": cache}
    refuse_fixed(changes, fixed, arm)
    overrides = merge(run_folder(config, folder), expand(changes, config), expand(fixed, config))
    inputs = inputs_of(merge(config, overrides), common.runs)
    steps = (train_step(task, folder, Path(ENCODER_FILE)),)
    return Cell(name, folder, steps, config, overrides, inputs)
