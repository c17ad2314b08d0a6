"""The shipped configurations of sources are complete."""

from typing import Any

import pytest
import yaml

from brainmvp_lightning.commands.prepare import build_parser
from tests.adapters.trees import CONFIGS

NAMES = ("ixi", "adni", "adhd200", "abide", "datalist", "nnunet", "nnssl", "pretraining", "bids")


def assert_spelt_out(written: dict[str, Any], parsed: Any) -> None:
    assert set(written["init_args"]) == set(vars(parsed.init_args))
    for name, value in written["init_args"].items():
        if name == "sources":
            for inner, resolved in zip(value, parsed.init_args.sources, strict=True):
                assert_spelt_out(inner, resolved)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_source_is_spelt_out(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    parsed = build_parser().parse_args(["--config", str(path)])
    assert_spelt_out(yaml.safe_load(path.read_text())["source"], parsed.source)


@pytest.mark.parametrize("name", ["adni", "adhd200", "abide"])
def test_the_groups_spelt_out_are_the_default_ones(name: str) -> None:
    parser = build_parser()
    parts = parser.instantiate_classes(
        parser.parse_args(["--config", str(CONFIGS / f"{name}.yaml")])
    )
    default = type(parts.source)(root="x")
    assert parts.source.groups == default.groups
    assert parts.source.phenotypes == default.phenotypes
    assert list(parts.source.images) == list(default.images)
