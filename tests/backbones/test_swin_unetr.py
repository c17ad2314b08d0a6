"""Swin UNETR's encoder: normalised features, parameters, sizes."""

import pytest
import torch
from monai.networks.nets.swin_unetr import SwinTransformer

from brainmvp_lightning.backbones.swin_unetr import SwinUNETR
from brainmvp_lightning.heads.decoders import decoder_widths


def test_features_have_mean_0_and_variance_1_over_the_channels_of_each_voxel() -> None:
    torch.manual_seed(0)
    backbone = SwinUNETR(1, width=12, depths=(1, 1, 1, 1), window_size=2)
    for level in backbone(torch.rand(1, 1, 32, 64, 32)):
        assert level.mean(dim=1).abs().max() < 1e-5
        torch.testing.assert_close(
            level.var(dim=1, correction=0), torch.ones_like(level[:, 0]), atol=0.05, rtol=0
        )


def test_full_size_has_the_parameters_of_monai() -> None:
    theirs = SwinTransformer(4, 48, (7, 7, 7), (2, 2, 2), (2, 2, 2, 2), (3, 6, 12, 24))
    with torch.device("meta"):
        ours = SwinUNETR(4)
    assert {parameter.device.type for parameter in ours.parameters()} == {"meta"}
    assert {k: v.shape for k, v in ours.swinViT.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    assert ours.feature_channels == (48, 96, 192, 384, 768)
    assert decoder_widths(ours) == [768, 384, 192, 96, 48, 48]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": (2, 2, 2)}, "four depths and four num_heads"),
        ({"num_heads": (3, 6, 0, 24)}, "four depths and four num_heads"),
        ({"num_heads": (5, 6, 12, 24)}, r"divide the widths \[48, 96, 192, 384\]"),
    ],
)
def test_impossible_sizes_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SwinUNETR(1, **options)  # type: ignore[arg-type]
