"""When memory runs out, one sentence names the smallest change that fits."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from brainmvp_lightning.cli import main
from brainmvp_lightning.commands import out_of_memory
from brainmvp_lightning.commands.out_of_memory import is_out_of_memory
from brainmvp_lightning.methods.brainmvp import BrainMVP
from tests.commands.planning import write_config

ON_CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)"
)
ON_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the second real step run out of memory; counting is done on tensors without voxels."""
    loss = BrainMVP.loss
    steps = []

    def failing(self: BrainMVP, backbone: Any, views: Any, step: Any) -> Any:
        if type(views.template.image) is torch.Tensor:
            steps.append(step)
            if len(steps) == 2:
                raise error
        return loss(self, backbone, views, step)

    monkeypatch.setattr(BrainMVP, "loss", failing)


def run(capsys: pytest.CaptureFixture[str], config: Path, *words: str, command: str = "fit") -> str:
    assert main([command, "-c", str(config), *words]) == 1
    error = capsys.readouterr().err.splitlines()
    sentences = [line for line in error if line.startswith("brainmvp")]
    assert len(sentences) == 1, error
    return sentences[0]


@pytest.mark.parametrize("error", [ON_CPU, ON_GPU], ids=["cpu", "gpu"])
def test_a_smaller_batch_with_accumulation_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cache_folder: Path,
    tmp_path: Path,
    error: BaseException,
) -> None:
    config = write_config(tmp_path, cache_folder)
    fail_with(monkeypatch, error)
    sentence = run(capsys, config, "--data.batch_size", "2")
    assert "with data.batch_size 2 and crops of 32 x 32 x 32" in sentence
    assert (
        "data.batch_size 1 with trainer.accumulate_grad_batches 2 keeps the effective batch of 2"
        in sentence
    )
    assert sentence.endswith("go on with --ckpt_path last")


def test_a_batch_of_one_is_told_to_compute_activations_again_or_to_crop(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cache_folder: Path,
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, cache_folder)
    fail_with(monkeypatch, ON_CPU)
    sentence = run(capsys, config, "--data.batch_size", "1")
    assert "model.checkpointing true" in sentence


@pytest.mark.slow
def test_the_advice_helps_and_the_run_goes_on(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cache_folder: Path,
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, cache_folder)
    with monkeypatch.context() as patch:
        fail_with(patch, ON_CPU)
        sentence = run(capsys, config, "--data.batch_size", "2")
    found = re.search(r"; (data\.batch_size .+?) keeps", sentence)
    assert found is not None
    words = found[1].replace(" with ", " ").split()
    options = [f"--{word}" if "." in word else word for word in words]
    # The same studies a step: no word about another schedule, which would be an error here.
    assert main(["fit", "-c", str(config), *options, "--ckpt_path", "last"]) == 0


def test_a_rule_of_thumb_steps_in_where_nothing_can_be_counted(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cache_folder: Path,
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, cache_folder)
    fail_with(monkeypatch, ON_CPU)

    def no_memory_left(*args: object) -> None:
        raise ON_CPU

    monkeypatch.setattr(out_of_memory, "read_inputs", no_memory_left)
    sentence = run(capsys, config)
    assert "data.batch_size 2 with trainer.accumulate_grad_batches 2" in sentence
    assert "rule of thumb" in sentence


def test_other_errors_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, cache_folder: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path, cache_folder)
    fail_with(monkeypatch, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        main(["fit", "-c", str(config)])


def test_errors_of_both_devices_are_recognised() -> None:
    assert is_out_of_memory(ON_CPU)
    assert is_out_of_memory(ON_GPU)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.cuda.OutOfMemoryError())
    for text in (
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory\nCUDA kernel errors might be reported at some other API call",
        "Triton Error [CUDA]: out of memory",
        "NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'",
        "NCCL error: unhandled cuda error\nLast error:\nCuda failure 'out of memory'",
    ):
        assert is_out_of_memory(RuntimeError(text)), text
    assert not is_out_of_memory(
        RuntimeError("CUDA error: an illegal memory access was encountered")
    )
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as real:
        torch.empty(2**55)
    assert is_out_of_memory(real.value)
