"""What every head that scores itself promises."""

from functools import partial
from typing import Any

import pytest

from brainmvp_lightning.heads.base import LossHead
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.testing import check_head

# Name and options of each variant, and whether it compares two views.
VARIANTS: list[tuple[str, dict[str, Any], bool]] = [
    ("reconstruction", {}, False),
    ("reconstruction", {"region": "masked", "norm": "l1", "decoder": "transposed"}, False),
    ("info_nce", {}, True),
    ("info_nce", {"projector_width": 4}, True),
    ("info_nce", {"embedding": "flattened"}, True),
]


def test_every_loss_head_is_tested_here() -> None:
    ours = {name for name in HEADS.names() if issubclass(HEADS.get(name), LossHead)}
    assert ours == {name for name, _, _ in VARIANTS}


@pytest.mark.parametrize(("name", "options", "compares_views"), VARIANTS)
def test_the_contract_is_kept(name: str, options: dict[str, Any], compares_views: bool) -> None:
    check_head(partial(HEADS.get(name), **options), compares_views=compares_views)
