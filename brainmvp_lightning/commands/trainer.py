"""``brainmvp fit | validate | test | predict``: the Lightning CLI over our tasks and data."""

from __future__ import annotations

import functools
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import lightning
import lightning.pytorch as pl
import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.callbacks.case_tables import CaseTables
from brainmvp_lightning.callbacks.case_volumes import CaseVolumes
from brainmvp_lightning.callbacks.checkpoints import BestCheckpoint, LastCheckpoint, SaveRunConfig
from brainmvp_lightning.callbacks.console import progress_bar
from brainmvp_lightning.callbacks.encoder_export import EncoderExport
from brainmvp_lightning.callbacks.interruption import SaveOnSignal
from brainmvp_lightning.callbacks.overlays import OverlayPictures
from brainmvp_lightning.callbacks.pictures import ReconstructionPictures, TemplatePictures
from brainmvp_lightning.callbacks.prediction_writer import PredictionWriter
from brainmvp_lightning.callbacks.run_record import RunRecord
from brainmvp_lightning.commands.out_of_memory import (
    MemoryFullError,
    Run,
    is_out_of_memory,
    remedy_for_training,
    remedy_for_volumes,
)
from brainmvp_lightning.commands.parsing import TeachingParser, inner_reason, positional_configs
from brainmvp_lightning.commands.parsing_files import Written
from brainmvp_lightning.commands.plan_inputs import build_parts
from brainmvp_lightning.commands.sweep_folder import follow_agent
from brainmvp_lightning.commands.trainer_checks import (
    OTHER_NETWORK,
    check_classes,
    check_machine,
    check_numbers,
    option_homes,
    other_network,
)
from brainmvp_lightning.datamodules.base import StudyDataModule
from brainmvp_lightning.datamodules.classification import ClassificationDataModule
from brainmvp_lightning.datamodules.journey import ResumeError
from brainmvp_lightning.datamodules.loading import WORKER_KILLED, WorkerKilledError
from brainmvp_lightning.datamodules.pretraining import PretrainDataModule
from brainmvp_lightning.datamodules.segmentation import SegmentationDataModule
from brainmvp_lightning.datamodules.whole_volume import WholeVolumeDataModule
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.loggers.choosing import loggers_of
from brainmvp_lightning.loggers.place import RunPlace, next_version
from brainmvp_lightning.loggers.registry import LOGGERS
from brainmvp_lightning.masking.registry import MASKING
from brainmvp_lightning.methods.registry import METHODS
from brainmvp_lightning.tasks.base import SetupError, Task
from brainmvp_lightning.tasks.classification import ClassificationTask
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.pretrain import PretrainTask
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from brainmvp_lightning.volumes.cache import CacheError
from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.reading import is_intact

SUMMARY = "train, validate, test or predict with a task and a data module from YAML"

# Imported so that YAML can name them by class alone.
SHIPPED = (
    PretrainTask,
    SegmentationTask,
    ClassificationTask,
    PretrainDataModule,
    SegmentationDataModule,
    ClassificationDataModule,
    WholeVolumeDataModule,
    BestCheckpoint,
    LastCheckpoint,
    CaseTables,
    CaseVolumes,
    PredictionWriter,
    EncoderExport,
    OverlayPictures,
    ReconstructionPictures,
    SaveOnSignal,
    TemplatePictures,
)


class TrainerParser(TeachingParser, LightningArgumentParser):
    """Lightning's parser with errors that teach."""

    registries = (BACKBONES, MASKING, HEADS, METHODS, LOGGERS)
    classes = (*SHIPPED, AdamWOptions, pl.Trainer)
    homes = option_homes(SHIPPED, registries)

    def check_written(self, written: Sequence[Written]) -> None:
        """See that task and data are named by class, in one of several files at least."""
        check_classes(written)


class BrainMVPCLI(LightningCLI):
    """Lightning's CLI with our base classes; YAML names tasks, data modules and parts by one word.

    ``seed_everything`` is also the seed of the data module, so that one number fixes a run.
    """

    prog = "brainmvp"

    def __init__(self, args: list[str], *, run: bool = True) -> None:
        for registry in TrainerParser.registries:
            registry.load()
        super().__init__(
            model_class=Task,
            datamodule_class=StudyDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=SaveRunConfig,
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False},
            args=args,
            run=run,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:  # noqa: ANN401
        """Return a parser whose errors teach."""
        kwargs.setdefault("dump_header", [f"lightning.pytorch=={lightning.__version__}"])
        kwargs.setdefault("prog", self.prog)
        parser = TrainerParser(**kwargs)
        parser.add_argument("-c", "--config", action="config", help="YAML file; may be repeated")
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401
        """Parse the words we are given, whatever those of the process are."""
        self.config = parser.parse_args(nulls_as_configs(positional_configs(args)))
        follow_agent(self.config)
        command = self.config.get("subcommand")
        options = self.config[command] if command else self.config
        try:
            check_numbers(options)
            if command:
                self.check_here(options)
        except ValueError as error:
            if command is None:
                raise
            _stop(command, error)

    def check_here(self, options: Any) -> None:  # noqa: ANN401 - options of a command
        """See that this machine has what is asked for.

        Raises:
            ValueError: If it has not.
        """
        check_machine(options)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Make the seed of the run the seed of the data."""
        parser.link_arguments(
            "seed_everything", "data.init_args.seed", compute_fn=lambda seed: int(seed or 0)
        )

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> pl.Trainer:
        own = config["callbacks"] or []
        own = own if isinstance(own, list) else [own]  # one may be named without brackets
        chosen = any(isinstance(callback, ProgressBar) for callback in own)
        if not chosen and config.get("enable_progress_bar") is not False:
            callbacks = [*callbacks, progress_bar()]
        results = (CaseTables, CaseVolumes, PredictionWriter)
        for kind in results:  # they are written, asked for or not
            if not any(isinstance(callback, kind) for callback in own):
                callbacks = [*callbacks, kind()]
        place = self._place(config)
        if self.subcommand == "fit":
            callbacks = [*callbacks, RunRecord(dict(place.configuration or {}))]
        config["logger"] = loggers_of(config["logger"], place)
        return super()._instantiate_trainer(config, callbacks)

    def _place(self, config: Any) -> RunPlace:  # noqa: ANN401 - options of a trainer
        """Return where the loggers of this start write, and what they are told."""
        folder = Path(config["default_root_dir"] or ".")
        checkpoint = self._get(self.config, "ckpt_path")
        is_fit = self.subcommand == "fit"
        goes_on = checkpoint not in (None, "last") or last_checkpoint(folder).exists()
        return RunPlace(
            folder=folder,
            version=next_version(folder),
            continues=not is_fit or (checkpoint is not None and goes_on),
            configuration=self.resolved() if is_fit else {},
        )

    def resolved(self) -> dict[str, Any]:
        """Return the resolved configuration of the command as plain values."""
        parser, config = self._parser(self.subcommand), self.config
        text = parser.dump(config[self.subcommand] if self.subcommand else config, skip_none=False)
        return dict(yaml.safe_load(text))

    def instantiate_classes(self) -> None:
        """Build task, data and trainer; a value that cannot be used ends the call in a sentence."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, OSError, CacheError, MisconfigurationException) as error:
            _stop(self.subcommand or "", error)

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration alone.

        Lightning would put what the checkpoint was trained with above what the user asks for now.
        """

    def before_fit(self) -> None:
        """Look at checkpoint and data before any work."""
        if self._chosen("ckpt_path"):
            self.model.resumes = self._find_checkpoint(may_be_missing=True)
        try:
            self.model.check(self.datamodule, validates=bool(self.trainer.limit_val_batches))
            self._write_report()
        except (ValueError, OSError, CacheError) as error:
            _stop("fit", error)

    @rank_zero_only
    def _write_report(self) -> None:
        """Write what became of every pre-trained tensor to ``weights.tsv`` in the run folder."""
        report = getattr(self.model, "report", None)
        if report is not None:
            folder = Path(self.trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "weights.tsv").write_text(report.to_table(), encoding="utf-8")

    def before_validate(self) -> None:
        """See that there is something to validate."""
        self._find_checkpoint()
        self._try_data("validate")

    def before_test(self) -> None:
        """See that there is something to test."""
        self._find_checkpoint()
        self._try_data("test")

    def before_predict(self) -> None:
        """See that there is something to predict with."""
        self._find_checkpoint()
        self._try_data("predict")

    def _try_data(self, stage: str) -> None:
        """See that there are studies; what is wrong with them ends the call in a sentence."""
        try:
            self.datamodule.setup(stage)
        except (ValueError, OSError, CacheError) as error:
            _stop(stage, error)

    def _find_checkpoint(self, *, may_be_missing: bool = False) -> bool:
        """Put the file of a checkpoint in the place of ``last`` or ``best``; tell if there is one.

        A run that is started again before its first checkpoint begins anew.
        """
        options = self.config_init[self.subcommand]
        run = Path(self.trainer.default_root_dir)
        if may_be_missing and options["ckpt_path"] == "last" and not last_checkpoint(run).exists():
            return False
        try:
            options["ckpt_path"] = str(find_checkpoint(options["ckpt_path"], run))
        except ValueError as error:
            _stop(self.subcommand or "", error)
        return True

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command; say what to change if memory runs out.

        Raises:
            MemoryFullError: If it does.
        """
        full = False
        try:
            super()._run_subcommand(subcommand)
        except (RuntimeError, MemoryError) as error:
            full = is_out_of_memory(error)
            if not full:
                raise
        if full:  # outside of the handler, whose traceback holds the tensors of the step
            raise MemoryFullError(self._remedy(subcommand))

    def _remedy(self, subcommand: str) -> str:
        self.model.cpu()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        config, parser = self.config[subcommand], self._parser(subcommand)
        run = Run(
            config,
            lambda: build_parts(parser, config),
            self.trainer.strategy.root_device,
            self.trainer.world_size,
        )
        return (remedy_for_training if subcommand == "fit" else remedy_for_volumes)(run)

    def _chosen(self, option: str) -> Any:  # noqa: ANN401 - any option
        return self.config_init[self.subcommand].get(option)


def main(argv: list[str]) -> int:
    """Run one of the four commands."""
    torch.set_float32_matmul_precision("high")
    # Lightning's advice on worker counts and logging intervals misleads on small cohorts.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
    # Lightning 2.6 calls methods that jsonargparse 4.49 has given other names.
    warnings.filterwarnings("ignore", "(?s).*(JsonargparseDeprecationWarning|deprecated in v4).*")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    try:
        BrainMVPCLI(argv)
    except (ResumeError, SetupError, WeightsError, MisconfigurationException) as error:
        _stop(argv[0], error)
    except MemoryFullError as error:
        sys.stderr.write(f"brainmvp {argv[0]}: error: {error}\n")
        return 1
    except RuntimeError as error:
        # torch's own signal handler may be the first to notice, in the middle of a step.
        if str(error).startswith(OTHER_NETWORK):
            _stop(argv[0], ValueError(other_network(str(error))))
        if not isinstance(error, WorkerKilledError) and "DataLoader worker" not in str(error):
            raise
        sys.stderr.write(f"brainmvp {argv[0]}: error: {WORKER_KILLED}\n")
        return 1
    except ValueError as error:
        if "val_check_interval" not in str(error):  # known once the batches are counted
            raise
        _stop(argv[0], error)
    return 0


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    """Tell Lightning's hints at a product from what a user wants to read at each start."""
    return "litlogger" not in record.getMessage()


def last_checkpoint(run: Path, name: str = "last") -> Path:
    """Return where a run keeps its last (or best) checkpoint."""
    return run / "checkpoints" / f"{name}.ckpt"


def find_checkpoint(name: str | None, run: Path) -> Path:
    """Return the file of a checkpoint.

    Args:
        name: Its path, or ``last`` or ``best`` for those of the run.
        run: Folder of the run.

    Raises:
        ValueError: If there is none, or it is damaged; the message lists those of the run.
    """
    path = last_checkpoint(run, name) if name in ("last", "best") else Path(name or "")
    if not name or not path.is_file():
        found = ", ".join(str(known) for known in sorted(run.glob("checkpoints/*.ckpt")))
        what = f"there is no checkpoint {path}" if name else "nothing to run without weights"
        if name == "best" and last_checkpoint(run).is_file():
            what += ", because no validation was finished"
        raise ValueError(f"{what}; give one with --ckpt_path" + (f" ({found})" if found else ""))
    if not is_intact(path):
        raise ValueError(
            f"{path} is damaged or no checkpoint; copy it again, or go on from another one"
        )
    return path


def nulls_as_configs(words: list[str]) -> list[str]:
    """Turn ``--model.method.contrast null`` into a configuration that says the same.

    On the command line jsonargparse takes the null of an option inside a class for the word
    "None"; in a configuration it takes it for what it is.
    """
    result: list[str] = []
    position = 0
    while position < len(words):
        name, equals, value = words[position].partition("=")
        step = 1
        if not equals and position + 1 < len(words):
            value, step = words[position + 1], 2
        keys = name.removeprefix("--").split(".")
        if value == "null" and keys[0] in ("model", "data") and len(keys) > 2:
            result += ["--config", _nested(keys)]
        else:
            step = 1
            result.append(words[position])
        position += step
    return result


def _nested(keys: list[str]) -> str:
    value: Any = None
    words = [key for key in keys if key != "init_args"]
    for depth in range(len(words) - 1, 0, -1):
        inner = {words[depth]: value}
        value = inner if ".".join(words[:depth]) in _plain_blocks() else {"init_args": inner}
    return json.dumps({words[0]: value})


@functools.cache
def _plain_blocks() -> frozenset[str]:
    """Return the options whose own options stand in them without ``init_args``."""
    return frozenset(
        f"{home}.{name}"
        for home, cls in TrainerParser.homes
        for name, hint in get_type_hints(cls.__init__).items()  # type: ignore[misc]
        if any(map(is_dataclass, (hint, *get_args(hint))))
    )


def _stop(command: str, error: Exception) -> None:
    text = inner_reason(str(error))
    sys.stderr.write(f"brainmvp {command}: error: {text}\n")
    raise SystemExit(2) from error
