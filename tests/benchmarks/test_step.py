"""The rival of the benchmark of a step computes what we do; counts and files are right."""

import json
import logging
from pathlib import Path

import plot
import plot_step
import pytest
import recording
import step
import torch
from published_network import PlainDecoder, PlainUniFormer, Sizes
from roofline import Roofline, Work, work_of
from step_agreement import TOLERANCES, Tolerance, agreement_of
from step_case import Case
from step_rivals import Ours, Published
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


def test_a_file_without_parts_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="no times of the parts"):
        plot_step.first_case([{"kind": "masking"}])
