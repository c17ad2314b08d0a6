"""Windows cover a volume without leaving traces, and mirrored ones are averaged."""

import itertools

import pytest
import torch
from torch import Tensor

from brainmvp_lightning.inference.sliding_window import WindowOptions, predict

CPU = torch.device("cpu")


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("shape", [(20, 13, 9), (8, 8, 8), (5, 8, 12)])
def test_a_model_that_looks_at_single_voxels_gives_the_same_in_windows(
    blend: str, shape: tuple[int, int, int]
) -> None:
    image = torch.rand(1, 2, *shape)
    options = WindowOptions(blend=blend, batch=3, flips="xz")  # type: ignore[arg-type]
    answer = predict(lambda windows: windows**2, image, (8, 8, 8), options)
    torch.testing.assert_close(answer, image**2)
    assert answer.dtype == torch.float32


def test_windows_have_the_asked_size_and_number() -> None:
    seen: list[tuple[int, ...]] = []

    def watch(windows: Tensor) -> Tensor:
        seen.append(tuple(windows.shape))
        return windows[:, :1]

    predict(watch, torch.zeros(1, 3, 16, 8, 8), (8, 8, 8), WindowOptions(overlap=0.5, batch=2))
    assert seen == [(2, 3, 8, 8, 8), (1, 3, 8, 8, 8)]  # at x = 0, 4 and 8


def test_probabilities_are_averaged_over_all_mirrors() -> None:
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 4, 4)

    def first_plane(windows: Tensor) -> Tensor:
        """1 in the first plane along x, whatever the image."""
        answer = torch.zeros_like(windows)
        answer[:, :, 0] = 1
        return answer

    answer = predict(first_plane, ramp, (4, 4, 4), WindowOptions(flips="x"))
    assert answer[0, 0, :, 0, 0].tolist() == [0.5, 0, 0, 0.5]
    answer = predict(first_plane, ramp, (4, 4, 4), WindowOptions(flips=True))
    assert answer[0, 0, :, 2, 3].tolist() == [0.5, 0, 0, 0.5]


def test_every_combination_of_mirrors_is_seen_once() -> None:
    image = torch.rand(1, 1, 4, 4, 4)
    seen: list[Tensor] = []

    def watch(windows: Tensor) -> Tensor:
        seen.append(windows)
        return windows

    predict(watch, image, None, WindowOptions(flips="yz"))
    axes = [(), (3,), (4,), (3, 4)]
    assert len(seen) == 4
    for mirrored, chosen in zip(seen, axes, strict=True):
        torch.testing.assert_close(mirrored, image.flip(chosen) if chosen else image)
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(seen, 2))


def test_answers_for_whole_images_are_averaged_but_not_turned_back() -> None:
    image = torch.arange(8.0).view(1, 1, 8, 1, 1)
    answer = predict(lambda x: x[:, :, 0, 0, 0], image, None, WindowOptions(flips="x"))
    assert answer.tolist() == [[3.5]]


def test_half_precision_answers_are_added_up_in_single_precision() -> None:
    third = torch.full((1, 1, 12, 8, 8), 1 / 3)
    answer = predict(lambda x: x.bfloat16(), third, (8, 8, 8), WindowOptions())
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, third.bfloat16().float())


@pytest.mark.parametrize(("place", "kind"), [("cpu", "cpu"), ("device", "meta"), ("auto", "meta")])
def test_where_sums_lie_is_an_option(place: str, kind: str) -> None:
    from brainmvp_lightning.inference.sliding_window import _sum_place

    options = WindowOptions(accumulate=place)  # type: ignore[arg-type]
    small = torch.empty(1, 4, 64, 64, 64, device="meta")
    assert _sum_place(small, options, torch.device("meta")).type == kind
    large = torch.empty(1, 4, 512, 512, 512, device="meta")
    assert _sum_place(large, options, torch.device("meta")).type == (
        "meta" if place == "device" else "cpu"
    )


def test_the_memory_that_counts_is_that_of_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    from brainmvp_lightning.inference import sliding_window
    from tests.inference.tiny_networks import make_model

    places = []

    def remember(*given: object) -> torch.device:
        places.append(given)
        return torch.device("cpu")

    sum_place = sliding_window._sum_place
    image, meta = torch.empty(1, 1, 256, 256, 128, device="meta"), torch.device("meta")
    # 2^23 voxels of 16 bytes: 8 outputs take 1 GiB, one more is too much.
    for outputs, kind in ((1, "meta"), (8, "meta"), (9, "cpu")):
        assert sum_place(image, WindowOptions(), meta, outputs).type == kind
    monkeypatch.setattr(sliding_window, "_sum_place", remember)
    make_model().predict_volume(
        torch.rand(1, 2, 8, 8, 8),
        torch.ones(1, 2).bool(),
        torch.zeros(1, 3).long(),
        WindowOptions(),
    )
    assert places[0][-1] == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"overlap": -0.1}, "overlap is -0.1"),
        ({"batch": 0}, "batch is 0"),
        ({"blend": "mean"}, "gaussian or constant"),
        ({"flips": "xx"}, "name each axis once"),
        ({"flips": "a"}, "name each axis once"),
        ({"accumulate": "gpu"}, "auto or cpu or device"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        WindowOptions(**options)  # type: ignore[arg-type]
