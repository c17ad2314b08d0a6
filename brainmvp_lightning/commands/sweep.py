"""``brainmvp sweep``: check wandb's sweep files, and run them without a server."""

from __future__ import annotations

import difflib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from brainmvp_lightning.commands.parsing import TeachingParser
from brainmvp_lightning.commands.sweep_folder import SWEEPS
from brainmvp_lightning.commands.sweep_lint import Findings, lint
from brainmvp_lightning.commands.sweep_reader import check_here
from brainmvp_lightning.commands.sweep_trials import SweepOptions, run_trials
from brainmvp_lightning.experiments.children import StoppedError
from brainmvp_lightning.sweeps.files import Sweep
from brainmvp_lightning.sweeps.report import write_report
from brainmvp_lightning.sweeps.search import grid_size
from brainmvp_lightning.sweeps.trials import FAILED, ChangedSweepError, Trial, Trials
from brainmvp_lightning.volumes.errors import CacheError

SUMMARY = "check sweep files of wandb, and run them without a server"

ACTIONS = {
    "lint": "Parse each key and value of sweep files as the trials would, before they run.",
    "run": "Run the trials of a sweep file on this machine (--local), and compare them.",
}


def main(argv: list[str], programs: Path | None = None) -> int:
    """Run the command.

    Args:
        argv: Words after the command's name.
        programs: Folder of the program that trials run; that of this Python by default.

    Returns:
        0 if a file is right or all trials are finished, 1 if one failed (the others go on and the
        tables are written all the same), 2 for a wrong call or file, 130 or 143 if interrupted.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0 if argv else 2
    if argv[0] not in ACTIONS:
        close = difflib.get_close_matches(argv[0], ACTIONS, 1, 0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return _fail(f"unknown action {argv[0]!r}{hint} (actions: {', '.join(ACTIONS)})", 2)
    options = build_parser(argv[0]).parse_args(argv[1:])
    if argv[0] == "lint":
        return _lint([Path(name) for name in options.files])
    return _run(options, programs or Path(sys.executable).parent)


def build_parser(action: str) -> TeachingParser:
    """Return the parser of an action."""
    parser = TeachingParser(prog=f"brainmvp sweep {action}", description=ACTIONS[action])
    if action == "lint":
        parser.add_argument("files", nargs="+", help="sweep files")
        return parser
    parser.add_argument("file", help="sweep file")
    _add_switch(parser, "--local", "run here; with wandb's server use wandb sweep and wandb agent")
    parser.add_argument(
        "--count",
        type=int | None,
        default=None,
        help="trials in all, those of earlier calls included; a grid needs none",
    )
    parser.add_argument("--jobs", type=int, default=1, help="trials at once; each gets one GPU")
    parser.add_argument(
        "--runs",
        type=str | None,
        default=None,
        help=f"folder of trials and tables; else {SWEEPS}/NAME in the run folder of the base file",
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes what is drawn")
    _add_switch(parser, "--retry_failed", "do failed trials of earlier calls anew")
    return parser


def _add_switch(parser: TeachingParser, name: str, text: str) -> None:
    parser.add_argument(name, type=bool, nargs="?", const=True, default=False, help=text)


def _lint(paths: Sequence[Path]) -> int:
    num_faults = 0
    for path in paths:
        sweep, found = lint(path)
        num_faults += len(found.faults)
        _tell(path, found)
        if sweep is not None and not found.faults:
            _say(f"{path}: {_describe(sweep)}")
    return 2 if num_faults else 0


def _run(options: Namespace, programs: Path) -> int:
    path = Path(options.file)
    if not options.local:
        return _fail(
            f"give --local to run {path} here; with wandb's server: wandb sweep {path}, then "
            "wandb agent with the name that it prints",
            2,
        )
    sweep, found = lint(path)
    _tell(path, found, notes=False)
    if sweep is None or found.faults or found.config is None:
        return 2
    try:
        count = _check(sweep, options, programs)
        check_here(found.config)
    except ValueError as error:
        return _fail(str(error), 2)
    root = Path(found.config.trainer.default_root_dir or ".")
    folder = Path(options.runs) if options.runs else root / SWEEPS / sweep.title
    retry = options.retry_failed
    how = SweepOptions(count, options.jobs, options.seed, retry, programs, _say)
    return _work(sweep, folder, how)


def _check(sweep: Sweep, options: Namespace, programs: Path) -> int:
    """Return the number of trials.

    Raises:
        ValueError: If something of the call makes no sense.
    """
    for name in ("count", "jobs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ValueError(f"--{name} is {getattr(options, name)}; give a number of 1 or more")
    if shutil.which(sweep.program, path=str(programs)) is None:
        raise ValueError(
            f"there is no program {sweep.program} in {programs}; install the package with pip"
        )
    limits = [options.count, sweep.run_cap]
    limits += [grid_size(sweep)] if sweep.method == "grid" else []
    known: list[int] = [limit for limit in limits if limit is not None]
    if not known:
        raise ValueError(f"method {sweep.method} has no end; give --count or run_cap in the file")
    return min(known)


def _work(sweep: Sweep, folder: Path, how: SweepOptions) -> int:
    _say(f"{sweep.path}: {_describe(sweep)}, in {folder}")
    if sweep.bands is not None and sweep.bands.is_strict:
        _say("early_terminate.strict is ignored here: trials are compared once in each band")
    try:
        trials, code = run_trials(sweep, folder, how), 0
    except (ChangedSweepError, CacheError, ValueError, OSError) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        trials, code = Trials(folder, sweep, how.seed).items, 130
    except StoppedError:
        trials, code = Trials(folder, sweep, how.seed).items, 143
    try:
        text, files = write_report(sweep, folder, trials)
    except OSError as error:
        return _fail(str(error), 1)
    _say(f"\n{text}\nwritten: {', '.join(map(str, files))}")
    if code:
        return _fail("interrupted; run the same command again, finished trials are kept", code)
    return _judge(trials, how)


def _judge(trials: Sequence[Trial], how: SweepOptions) -> int:
    """Return the exit code, and name what failed."""
    failed = [trial.name for trial in trials if trial.state == FAILED]
    if not failed:
        return 0
    text = f"{len(failed)} of {len(trials)} failed: {', '.join(failed)}"
    if how.count is not None and len(trials) < how.count:
        text += f"; all so far, so the other {how.count - len(trials)} were not begun"
    return _fail(f"{text}; run the same command with --retry_failed to do them anew", 1)


def _describe(sweep: Sweep) -> str:
    size = f" of {grid_size(sweep)}" if sweep.method == "grid" else ""
    names = len(sweep.parameters)
    return (
        f"{sweep.method}{size} over {names} parameter{'s' if names > 1 else ''}, "
        f"{sweep.metric.goal} {sweep.metric.name}"
    )


def _tell(path: Path, found: Findings, *, notes: bool = True) -> None:
    for fault in found.faults:
        sys.stderr.write(f"{path}: {fault}\n")
    for note in found.notes if notes else ():
        _say(f"{path}: note: {note}")


def _overview() -> str:
    lines = [f"  {name:<6} {text}" for name, text in ACTIONS.items()]
    return (
        f"brainmvp sweep: {SUMMARY}\n\nusage: brainmvp sweep lint FILE...\n"
        "       brainmvp sweep run FILE --local --count N [--jobs J] [--runs DIR]\n"
        "       brainmvp sweep ACTION --help\n\n" + "\n".join(lines) + "\n"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"brainmvp sweep: {text}\n")
    return code
