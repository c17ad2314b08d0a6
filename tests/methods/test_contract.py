"""What every method promises, here BrainMVP with and without its terms."""

from functools import partial
from typing import Any

import pytest
from brainmvp_toy import TEMPLATES

from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.registry import METHODS
from brainmvp_lightning.testing import check_method

MASKING = GridBlocks(4, 0.75)
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("brainmvp", {}),
    ("brainmvp", {"contrast": None}),
    ("brainmvp", {"distillation": None}),
    ("brainmvp", {"cross_modal": None}),
    ("brainmvp", {"share_decoder": False, "same_mask": True}),
    ("brainmvp", {"partner_start_epoch": 2}),
]


def test_every_method_is_tested_here() -> None:
    assert set(METHODS.names()) == {name for name, _ in VARIANTS}


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_contract_is_kept(name: str, options: dict[str, Any]) -> None:
    check_method(partial(METHODS.get(name), masking=MASKING, templates=TEMPLATES, **options))
