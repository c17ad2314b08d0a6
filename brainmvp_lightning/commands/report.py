"""``brainmvp report``: runs as one HTML page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from brainmvp_lightning.commands.parsing import TeachingParser, make_parser
from brainmvp_lightning.reports.names import name_runs
from brainmvp_lightning.reports.page import Report, make_report
from brainmvp_lightning.reports.privacy import Privacy
from brainmvp_lightning.reports.run_folder import Run, find_runs, read_run
from brainmvp_lightning.volumes.atomic import write_bytes

SUMMARY = "curves, pictures, cases and slices of runs as one HTML page"


def main(argv: list[str]) -> int:
    """Run the command.

    Returns:
        0 if the page is written, whatever it had to leave out; 2 if there is nothing to show or the
        call is wrong.
    """
    options = build_parser().parse_args(argv)
    privacy = Privacy(with_ids=options.with_ids, with_paths=options.with_paths)
    try:
        runs = _read(options.runs, privacy)
        report = make_report(runs, privacy, max_mb=options.max_mb, title=options.title)
        content = report.html.encode()
        path = Path(options.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.strerror else str(error)
        return _fail(reason)
    except ValueError as error:
        return _fail(str(error))
    _tell(report, runs, path, len(content))
    return 0


def build_parser() -> TeachingParser:
    """Return the parser."""
    parser = make_parser("brainmvp report", f"{SUMMARY[0].upper()}{SUMMARY[1:]}.")
    parser.add_argument(
        "runs",
        nargs="+",
        type=str,
        help="run folders, of pre-training and fine-tuning alike, or folders of such",
    )
    parser.add_argument("-o", "--output", type=str, default="report.html", help="page to write")
    parser.add_argument("--title", type=str, default="Runs", help="title of the page")
    parser.add_argument(
        "--max-mb",
        type=float,
        default=25.0,
        help="megabytes that the page may have; what does not fit is named on it",
    )
    parser.add_argument(
        "--with-ids", action="store_true", help="call cases by their ids, not by numbers"
    )
    parser.add_argument(
        "--with-paths",
        action="store_true",
        help="leave absolute paths and names of users and machines as they are",
    )
    return parser


def _read(paths: Sequence[str], privacy: Privacy) -> list[Run]:
    """Return the runs that have anything to show.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If there is nothing to show.
    """
    folders: list[Path] = []
    for path in paths:
        found = find_runs(Path(path))
        if not found:
            _warn(f"{path} holds no run; left out")
        folders += [folder.resolve() for folder in found if folder.resolve() not in folders]
    names = name_runs(folders, with_paths=privacy.with_paths)
    runs = [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]
    shown = [run for run in runs if not run.is_empty]
    for run in runs:
        if run.is_empty:
            _warn(f"{run.folder} has nothing to show; left out")
    if not shown:
        raise ValueError(
            f"there is nothing to show in {', '.join(paths)}; give folders of runs, which have a "
            "config.yaml or logs"
        )
    return shown


def _tell(report: Report, runs: Sequence[Run], path: Path, size: int) -> None:
    for fault in report.faults:
        sys.stdout.write(f"{fault}\n")
    for what in report.left_out:
        sys.stdout.write(f"left out to keep the page small (--max-mb): {what}\n")
    plural = "run" if len(runs) == 1 else "runs"
    sys.stdout.write(f"wrote {path}: {len(runs)} {plural}, {size / 1e6:.1f} MB\n")


def _warn(reason: str) -> None:
    sys.stderr.write(f"brainmvp report: {reason}\n")


def _fail(reason: str) -> int:
    sys.stderr.write(f"brainmvp report: error: {reason}\n")
    return 2
