"""Networks are named by words, and only networks are built."""

import functools
from dataclasses import dataclass

import pytest

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.heads.base import TaskHead
from brainmvp_lightning.heads.registry import HEADS
from brainmvp_lightning.inference.components import build_backbone, build_head, component_spec
from tests.inference.tiny_networks import HERE, Brighter, Unchanged

SMALL = {"widths": [8, 16], "depths": [1, 1], "channels_last": True}


@dataclass(frozen=True)
class Options:
    width: int = 3


@pytest.mark.parametrize(
    "factory",
    [
        functools.partial(UNET3D, widths=(8, 16), depths=(1, 1), channels_last=True),
        functools.partial(BACKBONES.get("unet3d"), **SMALL),
        {"class_path": "unet3d", "init_args": SMALL, "_instantiator": object()},
        {"class_path": "brainmvp_lightning.backbones.registry.unet3d", "init_args": SMALL},
        {"class_path": "brainmvp_lightning.backbones.unet3d.UNET3D", "dict_kwargs": SMALL},
    ],
    ids=["class", "alias", "word", "path of the alias", "path"],
)
def test_a_backbone_is_built_from_any_way_to_name_it(factory: object) -> None:
    spec = component_spec(factory)  # type: ignore[arg-type]
    assert spec == {"class_path": "unet3d", "init_args": SMALL}
    backbone = build_backbone(spec, 3)
    assert isinstance(backbone, UNET3D)
    assert (backbone.in_channels, backbone.feature_channels) == (3, (8, 16))


def test_what_a_command_line_builds_has_a_spec() -> None:
    def build(instantiate: object, cls: type, **options: object) -> object: ...

    factory = functools.partial(build, print, UNET3D, widths=(8,))
    assert component_spec(factory) == {"class_path": "unet3d", "init_args": {"widths": [8]}}


def test_a_class_that_is_not_registered_is_named_by_its_path() -> None:
    spec = component_spec(functools.partial(Brighter, levels=(0.0, 0.25), gain=2.0))
    assert spec["class_path"] == f"{HERE}.Brighter"
    head = build_head(spec, Unchanged(1), 2)
    assert isinstance(head, Brighter)
    assert head.levels.tolist() == [0.0, 0.25]


def test_options_become_plain_values() -> None:
    spec = component_spec({"class_path": "x.Y", "init_args": {"a": Options(), "b": (1, {"_c": 2})}})
    assert spec["init_args"] == {"a": {"width": 3}, "b": [1, {}]}
    with pytest.raises(TypeError, match=r"options of x\.Y must be numbers"):
        component_spec({"class_path": "x.Y", "init_args": {"a": print}})


@pytest.mark.parametrize(
    "factory", [lambda n: n, functools.partial(UNET3D, 1), {"init_args": {}}, Unchanged.forward]
)
def test_what_has_no_name_is_refused(factory: object) -> None:
    with pytest.raises(TypeError, match="class"):
        component_spec(factory)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"class_path": "unet3"}, "did you mean 'unet3d'"),
        ({"class_path": "brainmvp_lightning.backbones.registry.unet3"}, "did you mean 'unet3d'"),
        ({"class_path": "no_such_package.Net"}, "install the package"),
        ({"class_path": "os.system"}, "os.system is no Backbone"),
        ({"class_path": "this.s"}, "this.s is no Backbone"),
        ({"class_path": f"{HERE}.Brighter"}, "is no Backbone"),
        ({"class_path": "unet3d", "init_args": {"width": 3}}, "cannot be built with width=3"),
        ({"class_path": 3}, "a backbone is named by"),
        ({"class_path": "unet3d", "code": "1"}, "a backbone is named by"),
    ],
)
def test_anything_but_a_backbone_is_refused_in_one_sentence(
    spec: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        build_backbone(spec, 1)
    assert "\n" not in str(caught.value)


def test_a_head_that_answers_no_task_is_refused() -> None:
    losses = [name for name in HEADS.names() if not issubclass(HEADS.get(name), TaskHead)]
    with pytest.raises(ValueError, match="answers no task"):
        build_head({"class_path": losses[0]}, Unchanged(1), 2)
