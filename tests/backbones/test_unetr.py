"""UNETR's encoder: learned positions of any grid, and the layers whose tokens are features."""

import pytest
import torch
from monai.networks.nets import ViT

from brainmvp_lightning.backbones.unetr import UNETR
from brainmvp_lightning.heads.decoders import build_decoder, decoder_widths

SIZES = {"hidden_width": 12, "num_layers": 8, "num_heads": 2, "mlp_width": 16}


def tiny(**options: object) -> UNETR:
    torch.manual_seed(0)
    return UNETR(1, **(SIZES | options)).eval()  # type: ignore[arg-type]


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 1, 16, 32, 48, generator=torch.manual_seed(1))


def test_positions_of_the_size_they_were_made_for_are_the_parameter_itself() -> None:
    backbone = tiny(image_size=(16, 32, 48))
    assert backbone.positions((1, 2, 3)) is backbone.vit.patch_embedding.position_embeddings


def test_positions_of_another_size_are_interpolated_along_their_own_axis() -> None:
    backbone = tiny(image_size=(32, 16, 16))
    with torch.no_grad():
        backbone.vit.patch_embedding.position_embeddings[0] = torch.tensor([[0.0], [1.0]])
    along_x = backbone.positions((4, 1, 2)).unflatten(1, (4, 1, 2))[0, :, 0, :, 0]
    # Centres of the 4 patches lie at -1/4, 1/4, 3/4 and 5/4 of the 2; outside, the nearest counts.
    assert along_x.tolist() == [[0.0] * 2, [0.25] * 2, [0.75] * 2, [1.0] * 2]


def test_positions_learn_from_images_of_another_size(image: torch.Tensor) -> None:
    backbone = tiny(image_size=(32, 32, 32))
    backbone(image)[-1].square().sum().backward()
    gradient = backbone.vit.patch_embedding.position_embeddings.grad
    assert gradient is not None
    assert (gradient != 0).all()


@pytest.mark.parametrize(
    ("feature_layers", "numbers"), [("published", [3, 5, 7]), ("paper", [2, 4, 6])]
)
def test_features_are_the_tokens_after_these_layers_and_the_normalised_last(
    image: torch.Tensor, feature_layers: str, numbers: list[int]
) -> None:
    backbone = tiny(image_size=(16, 32, 48), feature_layers=feature_layers)
    last, hidden = backbone.vit(image)  # MONAI's own forward pass
    expected = [*(hidden[number - 1] for number in numbers), last]
    for level, tokens in zip(backbone(image), expected, strict=True):
        torch.testing.assert_close(level.flatten(2).transpose(1, 2), tokens)


def test_full_size_has_the_parameters_of_monai_without_the_cross_attention_it_never_uses() -> None:
    with torch.device("meta"):
        ours, theirs = UNETR(4), ViT(4, (96, 96, 96), (16, 16, 16))
    expected = {k: v.shape for k, v in theirs.state_dict().items() if "cross_attn" not in k}
    assert {k: v.shape for k, v in ours.vit.state_dict().items()} == expected


def test_the_reconstruction_decoder_is_narrow_where_the_image_is_fine() -> None:
    with torch.device("meta"):
        assert decoder_widths(UNETR(1)) == [768, 128, 64, 32, 16]
    backbone = tiny(fine_width=2)
    assert decoder_widths(backbone) == [12, 16, 8, 4, 2]
    image = torch.rand(1, 1, 32, 16, 16)
    assert build_decoder(backbone)(backbone(image)).shape == image.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (96, 96, 90)}, "three multiples of 16"),
        ({"image_size": (96, 96)}, "three multiples of 16"),
        ({"num_layers": 6}, "multiple of 4, got 6"),
        ({"num_heads": 5}, "divide hidden_width 12, got 5"),
    ],
)
def test_impossible_sizes_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)
