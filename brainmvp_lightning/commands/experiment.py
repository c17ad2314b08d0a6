"""``brainmvp experiment``: the paper's two studies of a pre-training, on any prepared cohort."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from brainmvp_lightning.commands.parsing import TeachingParser, make_parser
from brainmvp_lightning.commands.shipped import config_file
from brainmvp_lightning.experiments.arms import check_arm_options
from brainmvp_lightning.experiments.children import StoppedError
from brainmvp_lightning.experiments.markers import ChangedPlanError, compare, left_out
from brainmvp_lightning.experiments.plan import (
    PAPER_FRACTIONS,
    Common,
    Plan,
    plan_ablation,
    plan_label_efficiency,
)
from brainmvp_lightning.experiments.report import write_report
from brainmvp_lightning.experiments.runner import PROGRAM, Outcome, RunOptions, run_cells
from brainmvp_lightning.volumes.errors import CacheError

SUMMARY = "run the paper's studies of a pre-training: label efficiency, ablation"

STUDIES = {
    "label_efficiency": "Fine-tune each arm with growing shares of the training patients.",
    "ablation": "Pre-train with fewer and more terms, fine-tune from each encoder.",
}


def main(argv: list[str], program: Sequence[str] = PROGRAM) -> int:
    """Run the command.

    Args:
        argv: Words after the command's name.
        program: Words that start a training before those of its step.

    Returns:
        0 if all runs are finished and the tables written, 1 if a run failed (the others go on and
        the tables are written all the same), 2 for a wrong call, 130 or 143 if it was interrupted.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0 if argv else 2
    if argv[0] not in STUDIES:
        close = difflib.get_close_matches(argv[0], STUDIES, 1, 0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return _fail(f"unknown study {argv[0]!r}{hint} (studies: {', '.join(STUDIES)})", 2)
    options = build_parser(argv[0]).parse_args(argv[1:])
    try:
        plan = _plan(argv[0], options)
        run_options = RunOptions(options.jobs, program, options.rerun, _say)
        if not options.report_only:
            plan.check_weights()
    except (ValueError, OSError) as error:
        return _fail(str(error), 2)
    return _work(plan, options, run_options)


def build_parser(study: str) -> TeachingParser:
    """Return the parser of a study."""
    parser = make_parser(f"brainmvp experiment {study}", STUDIES[study])
    parser.add_argument("--task", type=str, required=True, help="YAML file of the fine-tuning")
    parser.add_argument(
        "--cache", type=str | None, default=None, help="prepared cohort; else that of the task"
    )
    parser.add_argument("--runs", type=str, required=True, help="folder of runs and tables")
    arms = _add_study(parser, study)
    parser.add_argument(
        "--arms",
        type=dict[str, dict[str, Any] | None],
        required=True,
        help=f"by name, {arms}; the first one is what the others are compared with",
    )
    parser.add_argument(
        "--overrides",
        type=dict[str, Any],
        default={},
        help="changes to the fine-tuning of all arms, such as {trainer.max_epochs: 100}",
    )
    parser.add_argument("--seeds", type=list[int], default=[0, 1, 2], help="one run for each")
    _add_running(parser)
    return parser


def _add_study(parser: TeachingParser, study: str) -> str:
    """Add the options of one study, and return what its arms hold."""
    if study == "ablation":
        parser.add_argument(
            "--pretrain", type=str, required=True, help="YAML file of the pre-training"
        )
        parser.add_argument(
            "--pretrain_cache",
            type=str | None,
            default=None,
            help="cohort of the pre-training; else that of its file",
        )
        return "each with changes to the pre-training (null: none) and to the fine-tuning"
    parser.add_argument(
        "--fractions",
        type=list[float],
        default=list(PAPER_FRACTIONS),
        help="shares of the training patients",
    )
    return "each with changes to the fine-tuning, such as model.weights"


def _add_running(parser: TeachingParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, help="runs at once; each gets one GPU")
    parser.add_argument(
        "--rerun",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="do runs anew whose plan has changed; the old ones are kept in replaced/",
    )
    parser.add_argument(
        "--report_only",
        "--report-only",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="only make the tables and the plot, from the finished runs of this plan",
    )


def _plan(study: str, options: Namespace) -> Plan:
    common = Common(
        _find(options.task),
        Path(options.runs),
        options.cache,
        tuple(options.seeds),
        _plain(options.overrides),
    )
    arms = _plain(options.arms)
    if study == "label_efficiency":
        return plan_label_efficiency(common, arms, options.fractions)
    pretrain = _find(options.pretrain)
    return plan_ablation(common, check_arm_options(arms), pretrain, options.pretrain_cache)


def _find(name: str) -> Path:
    """Return a file, or the shipped one of that name where there is no checkout."""
    path = Path(name)
    if path.is_file() or path.parts[:1] != ("configs",):
        return path
    try:
        return config_file(str(Path(*path.parts[1:])))
    except FileNotFoundError:
        return path  # which is then said not to be there


def _work(plan: Plan, options: Namespace, run_options: RunOptions) -> int:
    folder = Path(options.runs)
    outcome = Outcome()
    try:
        if not options.report_only:
            outcome = run_cells(plan.cells, folder, run_options)
        reasons = left_out(plan.cells, compare(plan.cells))
        report = write_report(plan, folder, reasons)
    except (ChangedPlanError, CacheError, ValueError, OSError) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again, finished runs are kept", 130)
    except StoppedError:
        return _fail("ended by SIGTERM; run the same command again, finished runs are kept", 143)
    if outcome.failed or outcome.blocked:
        _summarise_failures(outcome)
    for name in report.missing:
        _say(f"left out: {name}: {reasons.get(name, 'it has no scores')}")
    if not report.files:
        return _fail(f"no run in {folder} has been tested, there is nothing to put in a table", 1)
    _say(next(file for file in report.files if file.suffix == ".md").read_text())
    _say("written: " + ", ".join(str(file) for file in report.files))
    return 1 if outcome.failed else 0


def _summarise_failures(outcome: Outcome) -> None:
    text = f"{len(outcome.failed)} failed: {', '.join(outcome.failed)}"
    if outcome.blocked:
        text += f"; {len(outcome.blocked)} not run for that: {', '.join(outcome.blocked)}"
    sys.stderr.write(f"brainmvp experiment: {text}; run the same command again to try once more\n")


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value from YAML
    """Turn the parser's mappings into dictionaries, with dotted names as they were written."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _overview() -> str:
    lines = [f"  {name:<18} {text}" for name, text in STUDIES.items()]
    return (
        f"brainmvp experiment: {SUMMARY}\n\nusage: brainmvp experiment STUDY --config FILE "
        "[options]      brainmvp experiment STUDY --help\n\n" + "\n".join(lines) + "\n"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"brainmvp experiment: {text}\n")
    return code
