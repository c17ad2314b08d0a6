"""Pictures come not too often, and old ones make room."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.image import imread

from brainmvp_lightning.callbacks.drawing import DrawnCase, draw_cases
from brainmvp_lightning.callbacks.overlays import OverlayPictures
from brainmvp_lightning.callbacks.picture_series import PictureSeries, thin


class Dots(PictureSeries):
    kind = "dots"


def validation(after: int, every: int = 10) -> dict[str, Any]:
    """Counts of a trainer that validates in an epoch of 10 batches."""
    progress = SimpleNamespace(is_last_batch=after == 10, current=SimpleNamespace(ready=after))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    return {"fit_loop": loop, "num_training_batches": 10, "val_check_batch": every}


def at(folder: Path, epoch: int, **changes: Any) -> Any:
    options = {
        "default_root_dir": str(folder),
        "current_epoch": epoch,
        "max_epochs": 1000,
        "max_steps": -1,
        "global_step": epoch,
        "sanity_checking": False,
        "is_global_zero": True,
        "loggers": [],
        "fast_dev_run": False,
        "check_val_every_n_epoch": 1,
        **validation(after=10),
        "state": SimpleNamespace(fn=TrainerFn.FITTING),
    }
    return SimpleNamespace(**{**options, **changes})


def draw(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"picture")


def test_a_picture_is_due_by_epochs_and_by_seconds_but_always_at_the_end(tmp_path: Path) -> None:
    dots = Dots(every_epochs=2, every_seconds=3600)
    assert [dots.is_due(at(tmp_path, epoch)) for epoch in range(4)] == [False, True, False, True]
    assert not dots.is_due(at(tmp_path, 1, sanity_checking=True))
    assert not dots.is_due(at(tmp_path, 1, is_global_zero=False))
    dots.publish(at(tmp_path, 1), draw)
    assert not dots.is_due(at(tmp_path, 3))
    assert dots.is_due(at(tmp_path, 4, max_epochs=5))
    assert dots.is_due(at(tmp_path, 4, max_epochs=-1, max_steps=4))
    assert not dots.is_due(at(tmp_path, 4, max_epochs=-1, max_steps=5))


def test_the_last_picture_is_that_of_the_last_validation(tmp_path: Path) -> None:
    dots = Dots(every_seconds=3600)
    dots.publish(at(tmp_path, 0), draw)

    def due(epoch: int, **changes: Any) -> bool:
        return dots.is_due(at(tmp_path, epoch, max_epochs=5, **changes))

    assert [due(4, **validation(after, every=5)) for after in (5, 10)] == [False, True]
    assert [due(4, **validation(after, every=4)) for after in (4, 8)] == [False, True]
    assert not due(2, check_val_every_n_epoch=2)
    assert due(3, check_val_every_n_epoch=2)


def test_the_first_the_newest_and_evenly_spaced_pictures_stay(tmp_path: Path) -> None:
    dots = Dots(every_seconds=0, max_files=5)
    for epoch in range(64):
        dots.publish(at(tmp_path, epoch), draw)
        assert len(list((tmp_path / "pictures").iterdir())) <= 5
    dots.publish(at(tmp_path, 63), draw, "last")
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names[-1] == "dots_last.png"
    numbers = [int(name[5:9]) for name in names[:-1]]
    assert (numbers[0], numbers[-1], len(numbers)) == (1, 64, 5)
    assert max(np.diff(numbers)) <= 3 * min(np.diff(numbers))


def test_a_validation_by_itself_leaves_the_pictures_of_the_training_alone(tmp_path: Path) -> None:
    dots = Dots(every_seconds=3600)
    dots.publish(at(tmp_path, 0), draw)
    alone = at(tmp_path, 0, state=SimpleNamespace(fn=TrainerFn.VALIDATING))
    assert dots.is_due(alone)
    dots.publish(alone, draw)
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["dots_0001.png", "dots_validate.png"]


def test_thinning_removes_the_picture_with_the_nearest_neighbours(tmp_path: Path) -> None:
    files = [tmp_path / f"dots_{number:04d}.png" for number in (10, 20, 30, 35, 50)]
    for file in files:
        file.touch()
    thin(files, 3)
    assert [file.name[5:9] for file in files if file.exists()] == ["0010", "0035", "0050"]


@pytest.mark.parametrize(
    "options", [{"every_epochs": 0}, {"every_seconds": -1}, {"max_files": 1}, {"max_cases": 0}]
)
def test_limits_without_meaning_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        OverlayPictures(**options)


def case(dice: float = 0.5) -> DrawnCase:
    regions = np.zeros((2, 20, 20), bool)
    regions[0, :, :10] = True  # back half, the larger region
    regions[1, :10, :10] = True  # of it the left half
    image = np.full((20, 20), 0.5, np.float32)
    return DrawnCase(image, regions, regions[:, ::-1], dice, "flair")


def test_small_regions_are_painted_over_those_that_hold_them(tmp_path: Path) -> None:
    draw_cases([case()], tmp_path / "a.png", regions=("WT", "ET"))
    pixels = imread(tmp_path / "a.png")[..., :3]
    height, width = pixels.shape[:2]
    back = int(0.62 * height)  # below the middle, above the text

    def colour(column: float) -> Any:
        return pixels[back, int(column * width)]

    left, right = colour(1 / 3 + 0.08), colour(1 / 3 + 0.25)  # of the annotation
    assert left[2] > left[0] + 0.2  # ET: the second colour, blue
    assert right[0] > right[2] + 0.2  # WT: the first one, orange
    assert np.allclose(colour(2 / 3 + 0.08), right, atol=0.02)  # the prediction is mirrored
    assert np.ptp(colour(0.15)) < 0.02  # the image is grey


def test_the_first_cases_and_the_worst_others_are_kept() -> None:
    overlay = OverlayPictures(max_cases=4)
    assert overlay._num_first == 2
    overlay._worst = [case(0.2), case(0.7)]
    assert overlay._is_among_worst(0.3)
    assert not overlay._is_among_worst(0.8)
