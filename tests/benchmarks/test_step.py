"""The rival of the benchmark of a step computes what we do; counts and files are right."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import plot
import plot_step
import pytest
import recording
import step
import step_agreement
import torch
from published_network import PlainDecoder, PlainUniFormer, Sizes
from roofline import Roofline, Work, work_of
from step_agreement import (
    TOLERANCES,
    Agreement,
    DisagreementError,
    Tolerance,
    agreement_of,
    check_views,
)
from step_case import Case
from step_memory import peak_gib
from step_parts import network_works
from step_rivals import Ours, Published, run_step
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from brainmvp_lightning.backbones.uniformer_blocks import SelfAttention

TINY = Case(network="uniformer_tiny", batch=2, size=32, shape=(40, 44, 36))


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def rivals(case: Case, dtype: torch.dtype = torch.float32) -> tuple[Ours, Published]:
    ours, published = Ours(case), Published(case)
    for module in ours.task.modules():
        if isinstance(module, SelfAttention):  # as initialised, all tokens are attended to alike
            nn.init.normal_(module.qkv.weight, std=0.3)
    ours.task.to(dtype)
    published.module.to(dtype)
    for rival in (ours, published):
        for name in ("image", "partner", "weight"):
            rival.batch[name] = rival.batch[name].to(dtype)
    return ours, published


def test_in_double_precision_both_steps_have_the_same_losses_gradients_and_updates() -> None:
    agreement = agreement_of(*rivals(TINY, torch.float64))
    agreement.check(Tolerance(loss=1e-12, gradient=1e-10, update=1e-6))
    parts = ["stage 1", "stage 2", "stage 3", "stage 4", "last norm", "decoder", "templates"]
    assert sorted(agreement.gradients) == sorted(parts)
    assert sorted(agreement.losses) == ["contrast", "cross_modal", "distillation"]


def test_raw_templates_that_learn_by_windows_agree_too() -> None:
    case = Case("uniformer_tiny", 2, 32, (40, 44, 36), rescale="raw", update="windowed")
    agreement = agreement_of(*rivals(case))
    agreement.check(TOLERANCES["fp32"])
    assert "templates" not in agreement.gradients  # compared by what they gain


def test_both_hide_the_same_voxels() -> None:
    ours, published = rivals(TINY)
    published.load(ours)
    for mine, theirs in zip(ours.view_images(), published.view_images(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
        assert (mine != ours.batch["image"]).float().mean() == pytest.approx(0.875, abs=1e-3)


def test_another_network_is_told_apart() -> None:
    ours, published = rivals(TINY)
    attention = published.module.encoder.stages[2].blocks[0].attention
    attention.head_width //= 2  # same weights, other heads
    with pytest.raises(AssertionError, match=r"both steps must agree.*gradient, stage 3"):
        agreement_of(ours, published).check(TOLERANCES["fp32"])


@pytest.mark.parametrize("rescale", ["minmax", "raw"])
@pytest.mark.parametrize("update", ["dense", "windowed"])
def test_views_agree_in_what_they_show_and_teach(rescale: Any, update: Any) -> None:
    case = replace(TINY, rescale=rescale, update=update)
    ours, published = Ours(case), Published(case)
    check_views(ours, published)
    assert (ours.templates.windows is not None) == (update == "windowed")
    published.module.ratio = 0.8
    with pytest.raises(DisagreementError, match="cross-modal views differ by"):
        check_views(ours, published)


def test_templates_that_learn_otherwise_are_told_apart() -> None:
    ours, published = Ours(TINY), Published(TINY)
    for group in published.optimizer.param_groups:
        group["lr"] *= 1.05
    with pytest.raises(DisagreementError, match=r"update, templates: 4\.\de-02 > 1e-02"):
        check_views(ours, published)


def test_rounding_is_tolerated_as_far_as_the_published_step_rounds() -> None:
    found = Agreement(gradients={"stage 1": 0.3}, rounding=Agreement(gradients={"stage 1": 0.2}))
    found.check(TOLERANCES["bf16"])
    with pytest.raises(DisagreementError, match="gradient, stage 1"):
        replace(found, rounding=Agreement(gradients={"stage 1": 0.1})).check(TOLERANCES["bf16"])


def test_a_step_in_bfloat16_is_compared_with_what_bfloat16_does() -> None:
    case = replace(TINY, precision="bf16")
    agreement = agreement_of(Ours(case), Published(case))
    agreement.check(TOLERANCES["bf16"])
    assert agreement.rounding is not None
    assert agreement.rounding.gradients.keys() == agreement.gradients.keys()
    assert all(0 < distance < 0.1 for distance in agreement.rounding.gradients.values())


def test_half_the_bytes_are_counted_for_a_rival_in_bfloat16_only() -> None:
    full, half = (network_works(TINY, Sizes(), precision) for precision in ("fp32", "bf16"))
    for name, (shape, work) in full.items():
        assert half[name] == (shape, Work(work.flops, work.num_bytes / 2))


def test_work_of_the_published_network_is_that_of_its_forward_pass_three_times() -> None:
    with torch.device("meta"):
        encoder, decoder = PlainUniFormer(Sizes()), PlainDecoder(Sizes())
        with FlopCounterMode(display=False) as counter:
            encoder(torch.empty(1, 1, 96, 96, 96))
    work = work_of(encoder, (1, 1, 96, 96, 96))
    assert work.flops == 3 * counter.get_total_flops()
    assert work.flops / 3e9 == pytest.approx(126.7, abs=0.05)
    assert work_of(decoder, (1, 512, 6, 6, 6)).flops / 3e9 == pytest.approx(10.9, abs=0.05)


def test_work_of_a_depthwise_convolution() -> None:
    layer = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1, groups=4, device="meta"))
    work = work_of(layer, (2, 4, 5, 5, 5), bytes_per_value=2)
    assert work.flops == 3 * 2 * (2 * 4 * 125) * 27
    assert work.num_bytes == 3 * 2 * (2 * (2 * 4 * 125) + 4 * 27 + 4)


def test_the_slower_of_compute_and_memory_is_the_limit() -> None:
    roofline = Roofline(tflops=2.0, gb_per_s=100.0)
    assert roofline.seconds(Work(flops=4e12, num_bytes=1e9)) == 2.0
    assert roofline.bound(Work(flops=4e12, num_bytes=1e9)) == "compute"
    assert roofline.seconds(Work(flops=2e10, num_bytes=1e10)) == 0.1
    assert roofline.bound(Work(flops=2e10, num_bytes=1e10)) == "memory"


def test_results_are_written_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recording, "RESULTS", tmp_path)
    monkeypatch.setattr(plot, "RESULTS", tmp_path)
    monkeypatch.setattr(step, "measure_roofline", lambda *_: Roofline(tflops=0.1, gb_per_s=20.0))
    size = ["--size", "32", "--shape", "40", "44", "36", "--batch", "2", "--rounds", "1"]
    for only in ("stages", "masking"):
        network = ["--network", "uniformer_tiny", "--only", only]
        monkeypatch.setattr("sys.argv", ["step.py", *network, *size])
        step.main()
    content = json.loads((tmp_path / "step_stages.json").read_text())
    assert content["command"].startswith("python benchmarks/step.py --batch 2 --size 32")
    assert [row["part"] for row in content["rows"]][0::7] == ["masking + templates", "optimizer"]
    for row in content["rows"]:
        assert row["ratio"] == pytest.approx(row["published_ms"] / row["ours_ms"])
    assert "| masking + templates |" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "step_masking.json").read_text())["rows"]) == 6
    picture = tmp_path / "step.png"
    monkeypatch.setattr("sys.argv", ["plot", "--results", "step_stages", "--output", str(picture)])
    plot_step.main()
    assert picture.stat().st_size > 10_000


def test_what_disagrees_is_recorded_but_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "RESULTS", tmp_path)
    monkeypatch.setattr(step, "measure_roofline", lambda *_: Roofline(tflops=0.1, gb_per_s=20.0))
    monkeypatch.setattr(step_agreement, "VIEW_TOLERANCE", -1.0)
    size = ["--size", "32", "--shape", "40", "44", "36", "--batch", "1", "2", "--rounds", "1"]
    network = ["--network", "uniformer_tiny", "--only", "masking"]
    monkeypatch.setattr("sys.argv", ["step.py", *network, *size])
    with pytest.raises(SystemExit, match="disagree"):
        step.main()
    rows = json.loads((tmp_path / "step_masking.json").read_text())["rows"]
    assert [row["batch"] for row in rows] == [1, 2]
    assert all("views differ by" in row["disagreement"] for row in rows)
    assert not any("ours_ms" in row for row in rows)


def test_a_file_without_parts_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="no times of the parts"):
        plot_step.first_case([{"kind": "masking"}])


ON_GPU = "cuda"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.filterwarnings("default")
def test_on_a_gpu_both_steps_agree_in_double_precision() -> None:
    agreement = agreement_of(*rivals(replace(TINY, device=ON_GPU), torch.float64))
    agreement.check(Tolerance(loss=1e-10, gradient=1e-8, update=1e-4))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("is_half", [False, True], ids=["fp32", "bf16 compiled"])
def test_on_a_gpu_both_steps_agree_as_far_as_they_round(is_half: bool) -> None:
    precision: Any = "bf16" if is_half else "fp32"
    case = replace(TINY, device=ON_GPU, precision=precision, compile=is_half)
    agreement_of(Ours(case), Published(case)).check(TOLERANCES[precision])


@pytest.mark.gpu
@needs_gpu
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("rescale", ["minmax", "raw"])
@pytest.mark.parametrize("update", ["dense", "windowed"])
def test_on_a_gpu_views_agree_and_no_step_waits(rescale: Any, update: Any) -> None:
    case = replace(TINY, rescale=rescale, update=update, device=ON_GPU)
    ours = Ours(case)
    check_views(ours, Published(case))
    run_step(ours)  # loads kernels, makes moments
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):  # one that measures extremes, and the next
            run_step(ours)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.filterwarnings("default")
def test_the_memory_of_a_rival_is_given_back() -> None:
    case = replace(TINY, device=ON_GPU)
    peak_gib("ours", case, 1)  # libraries keep some
    before = torch.cuda.memory_allocated()
    peak = peak_gib("ours", case, 1)
    assert peak is not None
    assert peak * 2**30 > before + 4 * ours_values(case)
    assert torch.cuda.memory_allocated() - before < 2**20


def ours_values(case: Case) -> int:
    """Return the number of values of all templates."""
    x, y, z = case.shape
    return 8 * x * y * z
