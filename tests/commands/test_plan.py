"""``brainmvp plan``: what it proposes fits, keeps the batch, and is taken by ``fit``."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from brainmvp_lightning.cli import main
from brainmvp_lightning.commands.plan_hardware import GIB, data_sheet, find_hardware
from brainmvp_lightning.commands.plan_memory import RESERVE
from brainmvp_lightning.commands.plan_report import estimated_seconds
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.tasks.counting import Work
from brainmvp_lightning.tasks.rehearsal import Setting
from brainmvp_lightning.tasks.step_cost import StepCost
from tests.commands.planning import DEMO, write_config
from tests.datamodules.labelled_cohort import write_cohort

SEGMENT = DEMO.with_name("segment.yaml")

RESERVED = RESERVE["cuda"] / GIB


def plan(
    capsys: pytest.CaptureFixture[str], config: Path, *words: str, code: int = 0
) -> tuple[str, str]:
    assert main(["plan", "--config", str(config), *words]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def peak_gib(text: str) -> float:
    found = re.search(r"^  peak +([\d.]+) ", text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])


def test_a_plan_for_a_gpu_that_is_not_here_fits_and_fit_takes_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config, overlay = write_config(tmp_path, tmp_path / "none"), tmp_path / "plan.yaml"
    memory = RESERVED + 0.06
    words = ("--gpu-mem", f"{memory}", "--target", "0.99", "--cores", "4", "-o", str(overlay))
    text, _ = plan(capsys, config, *words)
    assert peak_gib(text) <= round(0.99 * memory, 2)
    assert "an estimate, never measured" in text
    assert "A10" in text
    assert "there is no cache yet" in text  # templates say which modalities there are
    proposed = yaml.safe_load(overlay.read_text())
    batch_size = proposed["data"]["init_args"]["batch_size"]
    assert batch_size * proposed["trainer"]["accumulate_grad_batches"] == 4
    assert batch_size < 4 or proposed["model"]["init_args"]["checkpointing"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(config), "-c", str(overlay), "--print_config"])
    assert stop.value.code == 0
    resolved = yaml.safe_load(capsys.readouterr().out)
    assert resolved["data"]["init_args"]["batch_size"] == batch_size
    assert resolved["data"]["init_args"]["cache"] == str(tmp_path / "none")
    assert resolved["model"]["init_args"]["compile"] is False  # as configured
    assert resolved["trainer"]["accelerator"] == "gpu"  # the demo's own is cpu


@pytest.mark.slow
def test_a_plan_for_this_machine_is_tried_for_real_and_fit_runs_with_it(
    capsys: pytest.CaptureFixture[str], cache_folder: Path, tmp_path: Path
) -> None:
    config, overlay = write_config(tmp_path, cache_folder), tmp_path / "plan.yaml"
    text, _ = plan(capsys, config, "-o", str(overlay))
    ratio = re.search(r"ratio ([\d.]+)", text)
    assert ratio is not None
    assert 0.3 < float(ratio[1]) < 3  # libraries are most of so small a step
    assert "measured on this CPU" in text
    assert "of 1 epochs" in text
    assert main(["fit", "-c", str(config), "-c", str(overlay)]) == 0


@pytest.mark.slow
def test_open_devices_stand_for_the_eight_of_the_paper(
    capsys: pytest.CaptureFixture[str], cache_folder: Path, tmp_path: Path
) -> None:
    config, overlay = write_config(tmp_path, cache_folder), tmp_path / "plan.yaml"
    words = ("--trainer.devices", "auto", "--gpu-mem", "24", "--gpus", "3", "-o", str(overlay))
    text, _ = plan(capsys, config, *words)
    assert "effective batch 32 = 4 studies x 1 accumulated x 8 processes" in text
    proposed = yaml.safe_load(overlay.read_text())
    assert proposed["trainer"]["devices"] == 2  # three do not share 32 evenly
    assert proposed["data"]["init_args"]["batch_size"] == 16


def test_more_processes_than_a_batch_has_studies_share_it_evenly_over_nodes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config, overlay = write_config(tmp_path, tmp_path / "none"), tmp_path / "plan.yaml"
    own = ("--trainer.num_nodes", "2", "--trainer.devices", "1", "--data.batch_size", "1")
    more = ("--trainer.accumulate_grad_batches", "9", "--gpu-mem", "24", "--gpus", "8")
    text, _ = plan(capsys, config, *own, *more, "-o", str(overlay))
    # 9 of the 16 GPUs could share 18 studies, but not as two nodes with as many each.
    assert "effective batch 18 = 1 studies x 9 accumulated x 2 processes, as 1 x 3 x 6" in text
    assert "see 6 studies at a time, not 2" in text
    proposed = yaml.safe_load(overlay.read_text())
    assert (proposed["trainer"]["num_nodes"], proposed["trainer"]["devices"]) == (2, 3)
    assert proposed["trainer"]["accumulate_grad_batches"] == 3
    assert proposed["data"]["init_args"]["batch_size"] == 1


@pytest.mark.slow
def test_what_is_measured_on_one_process_is_held_against_one_process(
    capsys: pytest.CaptureFixture[str], cache_folder: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path, cache_folder)
    large = ("--model.method.templates.shape", "[96,96,96]")
    text, _ = plan(capsys, config, *large, "--trainer.num_nodes", "2")
    alone, _ = plan(capsys, config, *large, "--no-verify")
    modelled = re.search(r"([\d.]+) modelled", text)
    assert modelled is not None
    assert float(modelled[1]) == peak_gib(alone) != peak_gib(text)


@pytest.mark.parametrize("word", ["can't allocate memory", "must be divisible"])
def test_a_plan_that_does_not_fit_for_real_is_written_and_says_so(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cache_folder: Path,
    tmp_path: Path,
    word: str,
) -> None:
    config, overlay = write_config(tmp_path, cache_folder), tmp_path / "plan.yaml"
    loss = BrainMVP.loss

    def failing(self: BrainMVP, backbone: Any, views: Any, step: Any) -> Any:
        if type(views.template.image) is torch.Tensor:  # counted ones have no voxels
            raise RuntimeError(f"DefaultCPUAllocator: {word}")
        return loss(self, backbone, views, step)

    monkeypatch.setattr(BrainMVP, "loss", failing)
    if "memory" in word:
        _, error = plan(capsys, config, "-o", str(overlay), code=1)
        assert "does not fit for real" in error
        assert len(error.splitlines()) == 1
    else:
        with pytest.raises(RuntimeError, match=word):
            main(["plan", "-c", str(config), "-o", str(overlay)])
    assert yaml.safe_load(overlay.read_text())["data"]["init_args"]["batch_size"] == 4


@pytest.mark.filterwarnings("ignore:.*left out, because.*")
def test_a_segmentation_is_counted_with_its_networks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cache = write_cohort(tmp_path / "cache")
    words = ("--data.cache", str(cache), "--data.datasets", "[tumour]", "--gpu-mem", "24")
    scratch = ("--model.weights", "null", "--model.substitution", "null", "--gpus", "1")
    small = ("--model.backbone", "unet3d", "--model.backbone.widths", "[8,16]")
    depths = ("--model.backbone.depths", "[1,1]", "--data.crop_size", "[16,16,16]")
    text, _ = plan(capsys, SEGMENT, *words, *scratch, *small, *depths)
    assert "SegmentationTask on 1 x GPU" in text
    found = re.search(r"([\d.]+) M parameters of networks", text)
    assert found is not None
    assert float(found[1]) > 0.01
    assert re.search(r"^ +2 +1 +32-true +true", text, re.MULTILINE)  # checkpointing was counted


@pytest.mark.slow
def test_what_cannot_fit_is_said_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], cache_folder: Path, tmp_path: Path
) -> None:
    config, overlay = write_config(tmp_path, cache_folder), tmp_path / "plan.yaml"
    words = ("--gpu-mem", "0.5", "-o", str(overlay))
    _, error = plan(capsys, config, *words, code=1)
    assert "nothing fits" in error
    assert not overlay.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--gpu-mm", "24"), "did you mean --gpu-mem"),
        pytest.param(
            ("--gpus", "2"),
            "needs --gpu-mem",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
        (("--gpu-mem", "0"), "--gpu-mem must be above 0"),
        (("--target", "90"), r"share of the memory in \(0, 1\]"),
        (("--effective-batch", "0"), "--effective-batch must be above 0"),
        (("--trainer.precision", "64-true"), "cannot be planned; use 32-true"),
    ],
)
def test_a_wrong_call_is_answered_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: tuple[str, ...],
    expected: str,
) -> None:
    _, error = plan(capsys, write_config(tmp_path, tmp_path), *words, code=2)
    assert re.search(expected, error)
    assert len(error.splitlines()) == 1, error


def test_a_wrong_option_of_fit_is_answered_as_fit_does(
    capsys: pytest.CaptureFixture[str], cache_folder: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path, cache_folder)
    with pytest.raises(SystemExit) as stop:
        main(["plan", "--config", str(config), "--data.batch_sizes", "3"])
    assert stop.value.code == 2
    assert "did you mean 'batch_size'" in capsys.readouterr().err


def test_a_plan_needs_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--gpu-mem", "24"]) == 2
    assert "--config" in capsys.readouterr().err


def test_hardware_that_is_named_needs_not_be_here() -> None:
    named = find_hardware(24, 8, 16, on_cpu=True)
    assert (named.device, named.processes, named.cores) == ("cuda", 8, 16)
    assert named.memory == 24 * GIB
    assert not named.is_here
    here = find_hardware(None, None, 3, on_cpu=True)
    assert (here.device, here.processes, here.cores, here.is_here) == ("cpu", 1, 3, True)
    assert here.memory > 0


def test_only_what_is_free_of_the_fullest_gpu_is_planned_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = SimpleNamespace(name="card", total_memory=80 * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: GIB)
    free = (70 * GIB, 50 * GIB, 10 * GIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device], 80 * GIB))
    found = find_hardware(None, 2, None, on_cpu=False)
    assert (found.memory, found.free) == (80 * GIB, 51 * GIB)  # the third is not asked for
    assert find_hardware(None, None, None, on_cpu=False).free == 11 * GIB


def test_a_plan_computes_in_the_precision_of_fit(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        main(["plan"])
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_time_of_the_optimiser_is_spent_once_a_step() -> None:
    flops, sizes = Work(flops=125 * 10**12, traffic=0), dict.fromkeys(StepCost.__annotations__, 0)
    moved = Work(flops=0, traffic=6 * 10**11)
    cost = StepCost(**{**sizes, "works": (flops,), "update": (moved,)})  # type: ignore[arg-type]
    setting = Setting(1, accumulation=3, precision="bf16-mixed")
    seconds, _ = estimated_seconds(cost, setting, 24)
    # An A10 takes a second for each at its full rates, 2.5 s at the assumed 40 %.
    assert seconds == pytest.approx(3 * 2.5 + 2.5)


def test_rates_are_those_of_the_largest_card_that_is_no_larger() -> None:
    assert [data_sheet(gib).name for gib in (12, 22.1, 24, 39.4, 44.4, 79.3, 139.8, 141)] == [
        "A10",
        "A10",
        "A10",
        "A100 40 GB",
        "L40S",
        "A100 80 GB",
        "H200",
        "H200",
    ]
