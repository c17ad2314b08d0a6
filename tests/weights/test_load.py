import pytest
import torch
from torch import Tensor, nn

from brainmvp_lightning.weights.errors import WeightsError
from brainmvp_lightning.weights.load import load_report


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))  # 2 + 5 tensors


def weights(**changes: Tensor) -> dict[str, Tensor]:
    own = {f"encoder.{name}": value + 1 for name, value in network().state_dict().items()}
    return {**own, **{f"encoder.{name.replace('_', '.')}": v for name, v in changes.items()}}


def test_all_that_fits_is_copied_in_place() -> None:
    module, source = network(), weights()
    parameter = module[0].weight
    report = load_report(module, source, prefix="encoder.")
    assert report.coverage == 1.0
    assert module[0].weight is parameter
    for name, value in module.state_dict().items():
        assert torch.equal(value, source[f"encoder.{name}"])


def test_each_misfit_is_named_with_its_reason() -> None:
    source = weights(**{"0_weight": torch.ones(3, 4), "1_bias": torch.tensor([0, 1, torch.nan])})
    del source["encoder.0.bias"]
    source |= {"encoder.extra": torch.ones(1), "decoder.out": torch.ones(1)}
    report = load_report(network(), source, prefix="encoder.", minimum=0.5)
    status = {match.name: match.status for match in report.matches if match.status != "loaded"}
    assert status == {"0.weight": "other shape", "0.bias": "missing", "1.bias": "not finite"}
    assert report.unused == ("extra",)
    assert str(report) == (
        "4 of 7 tensors loaded; 3 left as they were: 0.weight ([3, 4] in the file, [3, 2] here), "
        "0.bias (missing), 1.bias (not finite); 1 not used: extra"
    )


def test_too_little_overlap_is_refused_and_the_network_left_as_it_was() -> None:
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    source = {"0.weight": torch.ones(3, 2)}
    with pytest.raises(WeightsError, match=r"fit only 14\.3% of Sequential, 90% are asked for"):
        load_report(module, source)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
