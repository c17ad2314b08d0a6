"""A step of pre-training: ours against the published one written plainly, with equal results.

Both get the same images, masks, places and weights. First one step of each is compared: the terms
of the loss, the gradients, what the templates gain; for the views alone what they show, and what
templates gain. What disagrees is not timed: it is recorded, and the exit status is 1 in the end.
Then both are timed in turns: the views alone, each part of a step, whole steps. On a CPU it is the
time of the processor, on a GPU that of the clock; the limits of the device are measured the same
way. Results go to ``step.json``, or to ``step_cuda.json``, with the name of a single kind behind.

The published step is timed in full precision and never compiled; on a GPU both use the tensor cores
for float32 products, as training does. Windowed ``minmax`` templates measure their extremes in most
of the first steps and in every 32nd later: what is timed here is ours at its slowest. ``--device
cuda`` alone runs batches of 1 to 16 in full precision, and in bfloat16 with a compiled network.

Run: python benchmarks/step.py [--device cuda] [--only masking|stages|step] [--rounds 3]
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from recording import record
from roofline import Roofline, measure_roofline
from step_agreement import TOLERANCES, DisagreementError, agreement_of, check_views
from step_case import Case
from step_memory import free_memory, peak_gib
from step_parts import network_works, parts_of, view_parts
from step_rivals import RIVALS, Ours, Published, Rival, run_step
from timing import describe, median_ms, print_table

KINDS = ("masking", "stages", "step")
Row = dict[str, Any]


def main() -> None:
    """Compare, time, print and record."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    options = _options()
    torch.set_num_threads(options.threads)
    if options.device == "cuda":
        torch.set_float32_matmul_precision("high")
    cases = _cases(options)
    rooflines = {
        "fp32": measure_roofline(options.device, torch.float32),
        "bf16": measure_roofline(options.device, torch.bfloat16),
    }
    print(f"\n{describe(options.device)}, medians of {options.rounds} rounds, {rooflines}")
    rows: list[Row] = []
    agrees = True
    for kind in [options.only] if options.only else KINDS:
        for case in cases:
            try:
                measured = _measure(kind, case, rooflines, options)
            except torch.OutOfMemoryError as error:
                measured = [{"out_of_memory": str(error).partition(".")[0]}]
            except DisagreementError as error:
                measured, agrees = [{"disagreement": str(error)}], False
            free_memory()
            _print(kind, case, measured)
            rows += [{"kind": kind, **asdict(case), **row} for row in measured]
            if not options.no_record:
                _record(rows, rooflines, options)  # as far as it has come: all takes long
    if not agrees:
        raise SystemExit("some results disagree and were not timed; see the rows of disagreement")


def _record(rows: list[Row], rooflines: dict[str, Roofline], options: argparse.Namespace) -> None:
    device = None if options.device == "cpu" else options.device
    record(
        "_".join(filter(None, ("step", device, options.only))),
        f"python benchmarks/step.py {options.command}".strip(),
        rows,
        measured_on=describe(options.device),
        rooflines={name: asdict(roofline) for name, roofline in rooflines.items()},
        tolerances={name: asdict(tolerance) for name, tolerance in TOLERANCES.items()},
        rounds=options.rounds,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--batch", type=int, nargs="+", help="samples of a step; 1, on a GPU 1 2 3 8 16")
    add("--size", type=int, default=96, help="edge of a crop in voxels")
    add("--shape", type=int, nargs=3, default=[240, 240, 155], help="voxels of a template")
    add("--network", default="uniformer_small")
    add("--rescale", default="minmax", choices=["minmax", "raw"], help="of templates, in both")
    add(
        "--update",
        default="auto",
        choices=["auto", "dense", "windowed"],
        help="of our templates",
    )
    add("--precision", choices=["fp32", "bf16"], help="fp32; on a GPU both, bf16 compiled")
    add("--compile", action="store_true", help="compile our network")
    add("--checkpointing", action="store_true", help="make our activations twice, keep few")
    add("--rounds", type=int, default=3)
    # Plain depth-wise convolutions depend on it more than anything else on a CPU.
    add("--threads", type=int, default=torch.get_num_threads(), help="of a CPU; all cores")
    add("--only", choices=KINDS)
    add("--no-record", action="store_true", help="write no file of results")
    options = parser.parse_args()
    options.command = " ".join(
        f"--{name.replace('_', '-')} {_text(value)}".strip()
        for name, value in vars(options).items()
        if value != parser.get_default(name) or name == "threads"  # whose default is the machine's
    )
    return options


def _text(value: Any) -> str:  # noqa: ANN401 - the value of any option
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is True else str(value)


def _cases(options: argparse.Namespace) -> list[Case]:
    is_gpu = options.device == "cuda"
    first = Case(
        network=options.network,
        size=options.size,
        shape=tuple(options.shape),
        rescale=options.rescale,
        update=options.update,
        precision=options.precision or "fp32",
        compile=options.compile,
        checkpointing=options.checkpointing,
        device=options.device,
    )
    ways = [first]
    if is_gpu and options.precision is None and not options.compile:
        ways.append(replace(first, precision="bf16", compile=True))
    batches = options.batch or ([1, 2, 3, 8, 16] if is_gpu else [1])
    return [replace(way, batch=batch) for way in ways for batch in batches]


def _measure(
    kind: str, case: Case, rooflines: dict[str, Roofline], options: argparse.Namespace
) -> list[Row]:
    if kind == "masking":
        return _masking(case, options.rounds)
    if kind == "stages":
        return _stages(case, rooflines, options.rounds)
    return _steps(case, rooflines, options)


def _masking(case: Case, num_rounds: int) -> list[Row]:
    """Time the views, with templates as asked for and as they come, which is raw."""
    rows = []
    for rescale in dict.fromkeys((case.rescale, "raw")):
        both = replace(case, rescale=rescale)
        ours, published = Ours(both), Published(both)
        check_views(ours, published)
        for part in view_parts(ours, published):
            taken = median_ms(
                part.rivals, num_rounds=num_rounds, device=case.device, prepare=part.prepare
            )
            rows.append(
                {"part": part.name, "rescale": rescale, "our_rescale": rescale, **_ratio(taken)}
            )
    return rows


def _stages(case: Case, rooflines: dict[str, Roofline], num_rounds: int) -> list[Row]:
    """Compare whole steps, then time each part of a step."""
    ours, published = Ours(case), Published(case)
    _agreement(ours, published)
    precisions = {"ours": ours.precision, "published": published.precision}
    rows = []
    for part in parts_of(case, ours, published):
        taken = median_ms(
            part.rivals, num_rounds=num_rounds, device=case.device, prepare=part.prepare
        )
        work = part.works["ours"]
        row: Row = {"part": part.name, **_ratio(taken), "gflop": work.flops / 1e9}
        row["bound"] = rooflines[ours.precision].bound(work)
        for name, milliseconds in taken.items():
            least = rooflines[precisions[name]].seconds(part.works[name])
            row[f"{name}_tflops"] = work.flops / (1e9 * milliseconds)
            row[f"{name}_roofline_share"] = 1e3 * least / milliseconds
        rows.append(row)
    return rows


def _steps(case: Case, rooflines: dict[str, Roofline], options: argparse.Namespace) -> list[Row]:
    """Compare whole steps, then time them; a rival that the memory does not hold is left out."""
    peaks = {name: peak_gib(name, case, options.threads) for name in RIVALS}
    rivals = {name: RIVALS[name](case) for name, peak in peaks.items() if peak is not None}
    row: Row = {f"{name}_peak_gib": peak for name, peak in peaks.items()}
    if len(rivals) == len(RIVALS):
        row["agreement"] = _agreement(rivals["ours"], rivals["published"])
    taken = median_ms(
        {name: partial(run_step, rival) for name, rival in rivals.items()},
        num_rounds=options.rounds,
        device=case.device,
        # On a CPU, where a step takes minutes, the compared one has warmed up enough.
        num_warmups=0 if case.device == "cpu" and not case.compile else 2,
    )
    row |= _ratio(taken)
    sizes = Published(case).module.sizes
    for name, milliseconds in taken.items():
        precision = rivals[name].precision
        works = [work for _, work in network_works(case, sizes, precision).values()]
        row["gflop"] = sum(work.flops for work in works) / 1e9
        row[f"{name}_crops_per_s"] = 1e3 * case.batch / milliseconds
        row[f"{name}_tflops"] = row["gflop"] / milliseconds
        least = sum(rooflines[precision].seconds(work) for work in works)
        row[f"{name}_roofline_share"] = 1e3 * least / milliseconds
    return [row]


def _agreement(ours: Rival, published: Rival) -> Row:
    """Compare one step of each, print how far they are apart, and fail if that is too far."""
    assert isinstance(ours, Ours)
    assert isinstance(published, Published)
    case = ours.case
    agreement = agreement_of(ours, published)
    tolerance = TOLERANCES[case.precision]
    print(f"\nrelative distances of the results of a step, batch {case.batch}, {case.precision}")
    for name, distance, limit in agreement.compared(tolerance):
        print(f"  {name}: {distance:.1e} (tolerance {limit:.0e})")
    agreement.check(tolerance)
    return asdict(agreement)


def _ratio(taken: dict[str, float]) -> Row:
    """Return the times of both, and how much longer the published one takes."""
    row: Row = {f"{name}_ms": milliseconds for name, milliseconds in taken.items()}
    if len(taken) == len(RIVALS):
        row["ratio"] = taken["published"] / taken["ours"]
    return row


def _print(kind: str, case: Case, rows: list[Row]) -> None:
    print(f"\n{kind}: {asdict(case)}\n")
    columns = [name for name, value in rows[0].items() if not isinstance(value, dict)]
    print_table(tuple(columns), [tuple(row[name] for name in columns) for row in rows])


if __name__ == "__main__":
    main()
