import pytest
import torch
from torch.nn import functional

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.stem import StemPolicy, adapt_stem, is_order_assumed

KERNEL = torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1, 1)  # one output, channels a, b, c


@pytest.mark.parametrize("count", [1, 2, 4, 7])
@pytest.mark.parametrize("channels", [1, 3])
def test_equal_channels_are_answered_as_before_by_the_inflated_mean(
    channels: int, count: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    kernel = torch.randn(5, channels, 3, 3, 3, generator=generator)
    volume = torch.randn(1, 1, 6, 6, 6, generator=generator)
    adapted = adapt_stem(kernel, None, count, "inflate_mean")
    assert adapted is not None
    before = functional.conv3d(volume.expand(-1, channels, -1, -1, -1), kernel)
    after = functional.conv3d(volume.expand(-1, count, -1, -1, -1), adapted)
    assert torch.allclose(before, after, atol=1e-5)


def test_each_channel_takes_the_kernel_of_its_modality_or_the_mean() -> None:
    adapted = adapt_stem(KERNEL, ("a", "b", "c"), ("c", "new", "a"), "per_modality")
    assert adapted is not None
    assert adapted.flatten().tolist() == [6.0, 3.0, 1.0]


def test_a_single_kernel_goes_to_each_modality_at_full_strength() -> None:
    adapted = adapt_stem(KERNEL[:, :1] * 5, None, ("a", "b"), "per_modality")
    assert adapted is not None
    assert adapted.flatten().tolist() == [5.0, 5.0]


@pytest.mark.parametrize("policy", ["inflate_mean", "per_modality"])
def test_the_same_modalities_in_another_order_lose_nothing(policy: StemPolicy) -> None:
    adapted = adapt_stem(KERNEL, ("a", "b", "c"), ("c", "a", "b"), policy)
    assert adapted is not None
    assert adapted.flatten().tolist() == [6.0, 1.0, 2.0]


def test_other_modalities_of_the_same_number_are_adapted() -> None:
    adapted = adapt_stem(KERNEL, ("a", "b", "c"), ("d", "e", "f"), "inflate_mean")
    assert adapted is not None
    assert adapted.flatten().tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("policy", ["inflate_mean", "per_modality"])
def test_unknown_modalities_of_the_same_number_are_taken_as_they_are(policy: StemPolicy) -> None:
    assert adapt_stem(KERNEL, None, ("d", "e", "f"), policy) is KERNEL
    assert adapt_stem(KERNEL, ("a", "b", "c"), 3, policy) is KERNEL


def test_nothing_is_taken_if_asked_so() -> None:
    assert adapt_stem(KERNEL, ("a", "b", "c"), ("a", "b", "c"), "reinit") is None


def test_modalities_that_are_needed_but_not_known_are_asked_for() -> None:
    with pytest.raises(WeightsError, match=r"the 3 channels .* use 'inflate_mean'"):
        adapt_stem(KERNEL, None, ("a", "b"), "per_modality")
    with pytest.raises(WeightsError, match="choose one of: inflate_mean, per_modality, reinit"):
        adapt_stem(KERNEL, None, 2, "mean")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (None, ("d", "e", "f"), True),
        (("a", "b", "c"), 3, True),
        (("a", "b"), ("d", "e", "f"), True),  # names for other channels tell nothing
        (("a", "b", "c"), ("c", "b", "a"), False),
        (None, ("d", "e"), False),
    ],
)
def test_an_order_is_assumed_where_only_the_number_is_known(
    source: tuple[str, ...] | None, target: tuple[str, ...] | int, expected: bool
) -> None:
    assert is_order_assumed(KERNEL, source, target) is expected
    assert not is_order_assumed(KERNEL[:, :1], None, 1)
