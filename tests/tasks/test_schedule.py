"""The learning rate warms up and follows a cosine."""

import pytest

from brainmvp_lightning.tasks.optimisation import warmup_cosine


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.25), (3, 1.0), (4, 1.0), (54, 0.55), (104, 0.1), (200, 0.1)],
)
def test_warm_up_of_four_steps_then_a_cosine_over_a_hundred(step: int, expected: float) -> None:
    value = warmup_cosine(step, num_steps=104, warmup_steps=4, final_fraction=0.1)
    assert value == pytest.approx(expected)
