"""Two processes with two studies each equal one process with four, gathered contrast included."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.batches import DataDescription, StepInfo, StudyBatch
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.methods.templates import TemplateOptions


class Step(nn.Module):
    """Network and method as one module, as a task is."""

    def __init__(self, data: DataDescription) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = UNET3D(1, widths=(8, 16), depths=(1, 1))
        options = TemplateOptions(modalities=("t1", "t2", "adc"), shape=(16, 16, 16))
        self.method = BrainMVP(self.backbone, masking=GridBlocks(2, 0.75), templates=options)
        self.method.prepare(data)
        self.double()  # sums in another order then differ by 1e-16 only

    def forward(self, batch: StudyBatch, step: StepInfo) -> Tensor:
        terms = self.method.loss(self.backbone, self.method.views(batch, step), step)
        return torch.stack(list(terms.terms.values()))


def rows_of(batch: StudyBatch, rank: int) -> StudyBatch:
    """Rows 0 and 1, of which one has a partner, or rows 2 and 3, which both have."""
    part = batch.copy()
    rows = slice(2 * rank, 2 * rank + 2)
    partners = slice(0, 1) if rank == 0 else slice(1, 3)
    for name in ("image", "modality", "origin", "key"):
        part[name] = batch[name][rows]  # type: ignore[literal-required]
    part["weight"] = 2 * batch["weight"][rows]
    part["partner"] = batch["partner"][partners]
    part["partner_rows"] = batch["partner_rows"][partners] - 2 * rank
    part["capacity"] = 3  # a row more than either has
    return part


def train(model: nn.Module, batch: StudyBatch, step: StepInfo) -> list[Tensor]:
    """Return the terms of two steps, the gradients of the last one, and the weights after it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    terms = []
    for _ in range(2):
        optimizer.zero_grad()
        terms.append(model(batch, step))
        terms[-1].sum().backward()
        optimizer.step()
    parameters = list(model.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    assert len(gradients) == len(parameters)
    return [*(term.detach() for term in terms), *gradients, *(p.detach() for p in parameters)]


def run_rank(
    rank: int, folder: str, data: DataDescription, batch: StudyBatch, step: StepInfo
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    results = train(DistributedDataParallel(Step(data)), rows_of(batch, rank), step)
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(
    tmp_path: Path, data: DataDescription, batch: StudyBatch, training: StepInfo
) -> None:
    batch["image"], batch["partner"] = batch["image"].double(), batch["partner"].double()
    mp.spawn(run_rank, args=(str(tmp_path), data, batch, training), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    expected = train(Step(data), batch, training)
    for first, second, reference in zip(one[:2], two[:2], expected[:2], strict=True):
        assert torch.allclose((first + second) / 2, reference, rtol=1e-12)
    for first, second, reference in zip(one[2:], two[2:], expected[2:], strict=True):
        assert torch.equal(first, second)
        # Biases before a norm have no gradient but rounding, which AdamW makes 1e-10 of.
        assert torch.allclose(first, reference, rtol=1e-8, atol=1e-9)
