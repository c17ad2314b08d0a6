"""Compiled and checkpointed networks: the same results, one graph for equal blocks."""

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from brainmvp_lightning.backbones.residual import ResidualBlock
from brainmvp_lightning.backbones.uniformer import UniFormerTiny
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.tasks.acceleration import accelerate, compiled_parts
from tests.backbones.small_networks import small_networks

pytestmark = [
    # Torch's own, on its way to a graph; it hides them from users.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]
SMALL = small_networks(uniformer=(2, 1, 2, 1), swin=(1, 1, 1, 1))
NUM_KINDS = {"uniformer": 5, "unet3d": 2, "unetr": 1, "swin_unetr": 4}
"""Blocks of each network that differ in more than their weights and chances; the very first one of
UniFormer drops nothing."""
QUICK_FIRST = pytest.mark.parametrize(
    "network",
    [
        "unet3d",
        "unetr",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("uniformer", "swin_unetr")),
    ],
)
CONVOLUTIONAL = pytest.mark.parametrize(
    "network", ["unet3d", pytest.param("uniformer", marks=pytest.mark.slow)]
)


@pytest.fixture(autouse=True)
def no_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


class Segmenter(nn.Module):
    """A backbone and the head it is paired with."""

    def __init__(self, network: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = SMALL[network](1)
        head: Callable[..., TaskHead] = HEADS.get(self.backbone.segmentation_head)
        self.head = head(self.backbone, 2)

    def forward(self, image: Tensor) -> Tensor:
        answer: Tensor = self.head(image, self.backbone(image))[0]
        return answer


def image(batch: int = 2) -> Tensor:
    return torch.rand(batch, 1, 64, 32, 32, generator=torch.manual_seed(1))


def results(network: nn.Module, batch: int = 2, precision: torch.dtype | None = None) -> Any:
    """Return an answer, gradients, and buffers after a step."""
    network.zero_grad()
    torch.manual_seed(2)
    with torch.autocast("cpu", precision, enabled=precision is not None):
        answer = network(image(batch))
    answer = answer[-1] if isinstance(answer, list) else answer
    answer.float().square().mean().backward()
    gradients = {
        name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None
    }
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return answer.detach(), gradients, buffers


@QUICK_FIRST
def test_compiled_and_checkpointed_blocks_do_what_plain_ones_do(network: str) -> None:
    torch.manual_seed(0)
    plain = SMALL[network](1)
    fast = copy.deepcopy(plain)
    accelerate(fast, compile="aot_eager", checkpointing=True)
    torch.testing.assert_close(results(fast), results(plain), rtol=1e-4, atol=1e-6)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == NUM_KINDS[network]


@CONVOLUTIONAL
def test_another_batch_size_makes_one_more_graph_and_then_none(network: str) -> None:
    backbone = SMALL[network](1)
    accelerate(backbone, compile="aot_eager", checkpointing=True)
    graphs = []
    for batch in (2, 3, 4, 5):
        results(backbone, batch)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs == [NUM_KINDS[network] * factor for factor in (1, 2, 2, 2)]


@CONVOLUTIONAL
def test_a_compiled_network_is_validated_and_runs_in_bfloat16(network: str) -> None:
    plain = SMALL[network](1)
    fast = copy.deepcopy(plain)
    accelerate(fast, compile="aot_eager", checkpointing=False)
    for one, other in zip(
        results(fast, precision=torch.bfloat16),
        results(plain, precision=torch.bfloat16),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)
    with torch.inference_mode():
        for one, other in zip(fast.eval()(image()), plain.eval()(image()), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    assert not counters["graph_break"]


@CONVOLUTIONAL
def test_heads_are_compiled_with_their_backbone(network: str) -> None:
    plain = Segmenter(network)
    fast = copy.deepcopy(plain)
    accelerate(fast, compile="aot_eager", checkpointing=False)
    assert set(compiled_parts(fast)) > set(fast.backbone.all_blocks())
    torch.testing.assert_close(results(fast), results(plain), rtol=1e-3, atol=1e-6)
    assert not counters["graph_break"]


def test_names_files_and_copies_know_nothing_of_it() -> None:
    backbone = SMALL["uniformer"](1)
    names = list(backbone.state_dict())
    accelerate(backbone, compile="aot_eager", checkpointing=True)
    assert list(backbone.state_dict()) == names
    file = io.BytesIO()
    torch.save(backbone.state_dict(), file)
    file.seek(0)
    copied = copy.deepcopy(backbone)
    copied.load_state_dict(torch.load(file, weights_only=True))
    assert all(part._compiled_call_impl is None for part in copied.modules())


def test_equal_blocks_of_stage_and_decoder_are_compiled_once() -> None:
    network = Segmenter("unet3d")
    parts = compiled_parts(network)
    assert len(parts) == len(set(parts)) == 3 + 1
    assert all(isinstance(part, ResidualBlock) for part in parts)


def test_nothing_is_touched_unless_asked() -> None:
    backbone = SMALL["uniformer"](1)
    accelerate(backbone, compile=False, checkpointing=False)
    assert all(part._compiled_call_impl is None for part in backbone.modules())
    assert not any(stage.checkpointing for stage in backbone.stages)


def test_a_misspelt_backend_is_named() -> None:
    with pytest.raises(ValueError, match=r"model.compile is 'aot_eage'.*one of aot_eager"):
        accelerate(SMALL["uniformer"](1), compile="aot_eage", checkpointing=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # as inductor is imported
def test_inductor_gives_the_loss_and_gradients_of_a_plain_step() -> None:
    torch.manual_seed(0)
    plain = UniFormerTiny(1, drop_path=0.3)
    fast = copy.deepcopy(plain)
    accelerate(fast, compile=True, checkpointing=True)
    (answer, gradients, buffers), (same, expected, kept) = results(fast), results(plain)
    torch.testing.assert_close(answer.square().mean(), same.square().mean(), rtol=1e-4, atol=0)
    vectors = [torch.cat([g.flatten() for g in each.values()]) for each in (gradients, expected)]
    assert (vectors[0] - vectors[1]).norm() < 1e-4 * vectors[1].norm()
    torch.testing.assert_close(buffers, kept, rtol=1e-4, atol=1e-5)
