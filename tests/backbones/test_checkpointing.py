"""Blocks that are computed again: the same results, from less memory."""

import pytest
import torch
from torch import Tensor, nn

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.checkpointing import spared_statistics
from tests.backbones.small_networks import small_networks

SMALL = small_networks(uniformer=(1, 2, 2, 1), swin=(1, 2, 1, 1))
EACH = pytest.mark.parametrize("network", SMALL)


def built(network: str, *, checkpointing: bool) -> Backbone:
    torch.manual_seed(0)
    backbone = SMALL[network](1)
    if checkpointing:
        backbone.use_checkpointing()
    return backbone


def images() -> Tensor:
    return torch.rand(3, 1, 32, 32, 32, generator=torch.manual_seed(1))


def trained(backbone: Backbone, precision: torch.dtype | None = None) -> list[Tensor]:
    """Return losses, gradients and buffers of three steps, and a number drawn after them."""
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1e-2)
    image, results = images(), []
    torch.manual_seed(2)
    for _ in range(3):
        with torch.autocast("cpu", precision, enabled=precision is not None):
            features = backbone(image)
        loss = sum(level.float().square().mean() for level in features)
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        loss.backward()
        results += [loss.detach(), *(p.grad.clone() for p in backbone.parameters())]  # type: ignore[union-attr]
        optimizer.step()
    return [*results, *backbone.buffers(), torch.rand(1)]


@EACH
def test_losses_gradients_buffers_and_generator_are_those_without(network: str) -> None:
    plain, again = (trained(built(network, checkpointing=is_on)) for is_on in (False, True))
    for one, other in zip(plain, again, strict=True):
        assert torch.equal(one, other)


@EACH
def test_bfloat16_autocast_is_that_of_the_first_computation(network: str) -> None:
    plain, again = (
        trained(built(network, checkpointing=is_on), torch.bfloat16) for is_on in (False, True)
    )
    # On a CPU, gradients of depth-wise kernels of tiny maps differ from call to call.
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


def saved_bytes(backbone: Backbone) -> int:
    """Return the memory of what the backward pass is kept for, each storage once."""
    image = images()
    own = {t.untyped_storage().data_ptr() for t in (image, *backbone.parameters())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone(image)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@EACH
def test_less_is_kept_for_the_backward_pass(network: str) -> None:
    plain, again = (saved_bytes(built(network, checkpointing=is_on)) for is_on in (False, True))
    assert 0 < again < 0.75 * plain


@EACH
def test_names_of_tensors_stay_and_it_can_be_switched_off(network: str) -> None:
    backbone = built(network, checkpointing=True)
    assert backbone.state_dict().keys() == SMALL[network](1).state_dict().keys()
    less = saved_bytes(backbone)
    backbone.use_checkpointing(False)
    assert saved_bytes(backbone) > less


def test_a_second_computation_moves_only_copies_of_running_statistics() -> None:
    norm = nn.SyncBatchNorm(2)  # runs as a plain norm where there is one process
    with spared_statistics(norm):
        norm(torch.rand(4, 2, 3))
        assert norm.num_batches_tracked == 1
    assert norm.num_batches_tracked == 0
    assert norm.running_mean.tolist() == [0, 0]  # type: ignore[union-attr]


def test_norms_that_do_not_learn_keep_their_own_statistics() -> None:
    norm = nn.BatchNorm3d(2).eval()
    mean = norm.running_mean
    with spared_statistics(norm):
        assert norm.running_mean is mean


def test_without_gradients_blocks_run_once() -> None:
    backbone = built("uniformer", checkpointing=True)
    calls = []
    block = backbone.all_blocks()[0]
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        backbone(images())
    assert len(calls) == 1
    backbone(images())[-1].sum().backward()
    assert len(calls) == 3


def test_a_network_without_stages_says_that_it_cannot() -> None:
    class Stem(Backbone):
        def forward(self, image: Tensor) -> list[Tensor]:
            return [image]

    with pytest.raises(ValueError, match="Stem is not made of Stage modules"):
        Stem().use_checkpointing()


def test_all_blocks_are_those_of_the_depths() -> None:
    assert [len(built(network, checkpointing=False).all_blocks()) for network in SMALL] == [
        1 + 2 + 2 + 1,
        1 + 2,
        4,
        1 + 2 + 1 + 1,
    ]
