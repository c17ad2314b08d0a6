"""Metrics, pictures and the configuration for Weights & Biases, and nothing of the machine."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from brainmvp_lightning.loggers.place import LOGS, InRunFolder, RunPlace
from brainmvp_lightning.loggers.registry import LOGGERS
from brainmvp_lightning.tasks.base import SetupError
from brainmvp_lightning.volumes.atomic import write_bytes
from brainmvp_lightning.weights.sharing import shareable

PROJECT = "brainmvp"
RUN_FILE = "wandb_run.json"

PRIVATE: dict[str, Any] = {
    "console": "off",  # what is printed names studies and files
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "host": "",
    "username": "",
    "email": "",
    "program": "",
    "program_relpath": "",
    "program_abspath": "",
    "x_executable": "",
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,  # an editable installation has a path
}
"""Settings of wandb that keep host, user, paths, program, code and console on the machine."""


@LOGGERS.register("wandb")
class WandbRun(InRunFolder, WandbLogger):
    """Sends metrics, pictures and the configuration to Weights & Biases.

    No study names, host, user, absolute paths, git address, program or code leave the machine.

    Args:
        project: Project; by default the one of a sweep (``WANDB_PROJECT``), or ``brainmvp``.
        mode: ``online``, ``offline`` (send later with ``wandb sync``) or ``disabled``; by default
            what ``WANDB_MODE`` says, or online.
        name: Name of the run on the page; wandb invents one.
        entity: Team or user that the project belongs to.
        group: Runs of one group are shown together.
        tags: Words to find the run by.
        notes: Sentence about the run.
        share_all: Also send host, user, paths as they are, git state, program and console output.
        save_dir: Folder in the place of the run folder.
    """

    def __init__(  # noqa: PLR0913 - what a user may set, each on its own line of YAML
        self,
        project: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        name: str | None = None,
        entity: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        *,
        share_all: bool = False,
        save_dir: str | None = None,
    ) -> None:
        options = {"mode": mode, "entity": entity, "group": group, "tags": tags, "notes": notes}
        super().__init__(
            name=name,
            project=project or os.environ.get("WANDB_PROJECT", PROJECT),
            save_dir=str(Path(save_dir or ".") / LOGS),
            **{key: value for key, value in options.items() if value is not None},  # type: ignore[arg-type]
        )
        self._wandb_init.pop("anonymous", None)  # wandb warns of it, whatever its value
        self.share_all = share_all
        self._is_placed = save_dir is not None
        self._has_pushed = False

    def settle(self, place: RunPlace) -> None:
        """Go to the run folder, and on with the run that the folder belongs to."""
        super().settle(place)
        if not self._is_placed:
            self._save_dir = self._wandb_init["dir"] = str(place.folder / LOGS)
        agent = os.environ.get("WANDB_RUN_ID")  # a sweep has chosen
        if agent is None and place.continues:
            self._id = self._wandb_init["id"] = self._kept().get("id")

    @property
    def experiment(self) -> Any:  # noqa: ANN401 - a run of wandb
        """The run of wandb, which begins when it is first asked for; on the first process only.

        Raises:
            SetupError: If wandb cannot begin it.
        """
        if self._experiment is not None or getattr(rank_zero_only, "rank", 0) != 0:
            return super().experiment
        import wandb

        Path(str(self._save_dir)).mkdir(parents=True, exist_ok=True)
        settings = {} if self.share_all else PRIVATE
        if not self.share_all:  # its log tells folders with each start
            logging.getLogger("wandb").setLevel(logging.WARNING)
        self._wandb_init["settings"] = wandb.Settings(**settings, symlink=False)
        try:
            run: Any = super().experiment
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise SetupError(
                f"wandb cannot begin a run ({reason}); log in with 'wandb login', or keep the run "
                "on this machine with --trainer.logger.mode offline"
            ) from error
        self._keep(run)
        return run

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:  # noqa: ANN401 - Lightning's
        """Send the configuration, once for each run, with paths shortened."""
        facts = self.facts(params)
        if not facts or self._has_pushed:
            return
        self._has_pushed = True
        super().log_hyperparams(facts if self.share_all else shareable(facts))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run of wandb; another training of this process has its own."""
        super().finalize(status)
        if self._experiment is not None:
            self._wandb_init["id"] = self._id = self._experiment.id  # a test may follow
            self._experiment.finish(exit_code=int(status != "success"))
            self._experiment = None

    @property
    def _run_file(self) -> Path:
        return Path(str(self._save_dir)) / RUN_FILE

    def _kept(self) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = json.loads(self._run_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ValueError(
                f"{self._run_file} is damaged; remove it, and the run goes on as a new one of wandb"
            ) from error
        return kept

    def _keep(self, run: Any) -> None:  # noqa: ANN401 - a run of wandb
        """Note which run of wandb the folder belongs to, so that ``last`` goes on with it."""
        if not getattr(run, "disabled", False):
            facts = {"id": run.id, "project": run.project}
            write_bytes(self._run_file, json.dumps(facts).encode())
