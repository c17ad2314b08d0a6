import pytest
import torch
from torch import nn

from brainmvp_lightning.backbones.norms import ExactBatchNorm3d, ExactGroupNorm


@pytest.mark.parametrize("norm", [ExactBatchNorm3d(4), ExactGroupNorm(2, 4)])
def test_statistics_are_exact_on_channels_last_maps_far_from_zero(norm: nn.Module) -> None:
    maps = 3 + 0.3 * torch.randn(2, 4, 48, 48, 48, generator=torch.manual_seed(0))
    expected = nn.Sequential(norm).double()(maps.double()).float()
    norm.float()
    ours = norm(maps.contiguous(memory_format=torch.channels_last_3d))
    assert (ours - expected).abs().max() < 5e-6
    assert ours.is_contiguous(memory_format=torch.channels_last_3d)


def test_conversion_to_synchronised_batch_norm_reaches_ours() -> None:
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(ExactBatchNorm3d(4)))
    assert isinstance(converted[0], nn.SyncBatchNorm)


def test_half_precision_is_summed_in_float32() -> None:
    torch.manual_seed(0)
    half = torch.randn(2, 16, 8, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last_3d)
    gradient = (torch.randn(2, 16, 8, 8, 8) + 0.05).bfloat16()
    rounded, exact = ExactBatchNorm3d(16), ExactBatchNorm3d(16)
    answer = rounded(half)
    answer.backward(gradient)
    exact(half.float()).backward(gradient.float())
    assert answer.dtype == torch.bfloat16
    assert answer.is_contiguous(memory_format=torch.channels_last_3d)
    for name in ("weight", "bias"):
        assert torch.equal(getattr(rounded, name).grad, getattr(exact, name).grad)
