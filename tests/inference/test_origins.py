"""No code runs because a model's file names it."""

import importlib
import json
import site
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.inference import origins
from brainmvp_lightning.inference.loading import load_model
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.weights.errors import WeightsError
from tests.inference.tiny_networks import HERE, describe, make_model

NETWORK = """
from pathlib import Path
from tests.inference.tiny_networks import Unchanged
Path(__file__).with_name("ran").touch()
class Net(Unchanged): pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with a module of a network that leaves a trace when it runs."""
    (tmp_path / "payload_net.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "payload_net", raising=False)
    yield tmp_path
    sys.modules.pop("payload_net", None)


def spec_of(class_path: str) -> dict[str, Any]:
    return {**make_model().spec(), "backbone": {"class_path": class_path}}


def test_code_beside_a_model_does_not_run(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(package)
    content = {"model_spec": spec_of("payload_net.Net"), "state_dict": {"model.a": torch.ones(1)}}
    torch.save(content, "m.ckpt")
    with pytest.raises(WeightsError, match=r"payload_net\.py, which is not installed"):
        load_model("m.ckpt")
    with pytest.raises(ValueError, match="which is not installed"):
        FineTunedModel.from_spec({**make_model().spec(), "head": {"class_path": "payload_net.H"}})
    assert not (package / "ran").exists()


def test_what_the_user_imported_may_be_named(package: Path) -> None:
    importlib.import_module("payload_net")
    assert type(FineTunedModel.from_spec(spec_of("payload_net.Net")).backbone).__name__ == "Net"


def test_a_class_that_python_gives_is_taken_as_it_is(package: Path) -> None:
    head = {"class_path": f"{HERE}.Brighter"}
    model = FineTunedModel({"class_path": "payload_net.Net"}, head, describe(), "segmentation")
    assert (package / "ran").exists()
    assert type(model.backbone).__name__ == "Net"


def test_an_installed_package_may_be_named(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(package)])
    assert type(FineTunedModel.from_spec(spec_of("payload_net.Net")).backbone).__name__ == "Net"


@pytest.mark.parametrize(
    ("top_level", "is_allowed"), [("payload_net", True), (None, True), ("another", False)]
)
def test_a_package_that_is_installed_for_editing_may_be_named(
    top_level: str | None,
    is_allowed: bool,
    package: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("site")
    info = folder / "nets-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nets\nVersion: 1.0\n")
    origin = {"url": package.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    if top_level is not None:
        (info / "top_level.txt").write_text(f"{top_level}\n")
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(folder)])
    if is_allowed:
        origins.check_origin("payload_net.Net")
    else:
        with pytest.raises(ValueError, match="not installed"):
            origins.check_origin("payload_net.Net")


def test_a_plug_in_is_named_by_its_word(package: Path) -> None:
    entry = EntryPoint("payload_plugin", "payload_net:Net", BACKBONES.package)
    BACKBONES.names()
    BACKBONES._load_plugin(entry)
    try:
        model = FineTunedModel.from_spec(spec_of("payload_plugin"))
        assert type(model.backbone).__name__ == "payload_plugin"
        assert model.spec()["backbone"]["class_path"] == "payload_plugin"
    finally:
        del BACKBONES._members["payload_plugin"], BACKBONES._origins["payload_plugin"]


@pytest.mark.parametrize("module", ["brainmvp_lightning.__main__", "yaml.__main__.sub"])
def test_a_program_is_no_network(module: str) -> None:
    with pytest.raises(ValueError, match="part of a program"):
        FineTunedModel.from_spec(spec_of(f"{module}.X"))


@pytest.mark.parametrize(
    "class_path", ["unet3d", "brainmvp_lightning.backbones.unet3d.UNET3D", "no_such.Net", "os.x"]
)
def test_names_that_run_nothing_new_are_left_to_those_who_build(class_path: str) -> None:
    origins.check_origin(class_path)


def test_a_module_made_by_hand_hides_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "by_hand", type(sys)("by_hand"))
    origins.check_origin("by_hand.Net")
    with pytest.raises(ValueError, match="not installed"):
        origins.check_origin("by_hand.sub.Net")
