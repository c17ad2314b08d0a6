"""Names stand for real classes, ours and those of plugins."""

import importlib
import pickle
import subprocess
import sys
import textwrap
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.registry import Registry, UnknownNameError, foreign_distributions


class Shape:
    """A base for tests."""


@pytest.fixture
def shapes() -> Registry[Shape]:
    registry = Registry("shape", Shape, "brainmvp_lightning.masking")
    registry._is_loaded = True  # nothing to import for a registry made in a test
    return registry


def test_a_name_gives_a_subclass_of_the_registered_class(shapes: Registry[Shape]) -> None:
    @shapes.register("round_one")
    class Circle(Shape):
        """Round."""

    alias = shapes.get("round_one")
    assert issubclass(alias, Circle)
    assert alias.__name__ == "round_one"
    assert alias.__module__ == "brainmvp_lightning.masking.registry"
    assert alias.__doc__ == "Round."
    assert shapes.implementation("round_one") is Circle


def test_a_taken_name_names_its_owner(shapes: Registry[Shape]) -> None:
    class Circle(Shape):
        pass

    shapes.add("circle", Circle)
    with pytest.raises(ValueError, match=r"'circle' is taken by .*Circle"):
        shapes.add("circle", Circle)


@pytest.mark.parametrize("name", ["Circle", "2d", "with-dash", ""])
def test_names_are_snake_case(shapes: Registry[Shape], name: str) -> None:
    with pytest.raises(ValueError, match="snake case"):
        shapes.add(name, Shape)


def test_only_members_of_the_kind_are_taken(shapes: Registry[Shape]) -> None:
    with pytest.raises(TypeError, match="does not derive"):
        shapes.add("number", int)  # type: ignore[arg-type]


def test_a_class_that_cannot_be_built_is_refused_with_what_it_lacks() -> None:
    class Unfinished(Backbone):
        pass

    with pytest.raises(TypeError, match=r"Unfinished lacks forward; see .*base\.Backbone"):
        BACKBONES.add("unfinished", Unfinished)
    with pytest.raises(TypeError, match="is no class but 3; name a subclass of"):
        BACKBONES.add("unfinished", 3)  # type: ignore[arg-type]


def test_a_plugin_may_have_both_decorator_and_entry_point(
    shapes: Registry[Shape], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("acme_shapes")
    monkeypatch.setitem(sys.modules, "acme_shapes", module)
    module.Circle = shapes.register("circle")(type("Circle", (Shape,), {}))  # type: ignore[attr-defined]
    shapes._load_plugin(EntryPoint("circle", "acme_shapes:Circle", shapes.package))
    assert [plugin.value for plugin in shapes.plugins()] == ["acme_shapes:Circle"]
    assert foreign_distributions(shapes) == {"acme_shapes": ""}


def test_a_plugin_that_ends_the_program_is_left_out(
    shapes: Registry[Shape], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_exit.py").write_text("raise SystemExit('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(UserWarning, match=r"'circle' of acme_exit .* SystemExit: no licence"):
        shapes._load_plugin(EntryPoint("circle", "acme_exit:Circle", shapes.package))
    assert [plugin.fault for plugin in shapes.plugins()] == ["SystemExit: no licence"]
    assert foreign_distributions(shapes) == {}


def test_an_unknown_name_is_answered_with_the_nearest(shapes: Registry[Shape]) -> None:
    shapes.add("circle", Shape)
    shapes.add("square", Shape)
    message = "unknown shape 'circel'; did you mean 'circle'? (registered: circle, square)"
    with pytest.raises(UnknownNameError) as caught:
        shapes.get("circel")
    assert str(caught.value) == message
    assert isinstance(caught.value, AttributeError)
    assert isinstance(caught.value, LookupError)
    with pytest.raises(UnknownNameError, match=r"'zig'.*square\); a part of others needs its"):
        shapes.get("zig")


def test_an_alias_is_importable_and_pickles() -> None:
    module = importlib.import_module("brainmvp_lightning.backbones.registry")
    alias = module.unet3d
    assert pickle.loads(pickle.dumps(alias)) is alias
    assert not hasattr(module, "no_such_net")


PLUGIN = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "acme-nets"
        version = "1.2.3"
        [tool.setuptools]
        py-modules = ["acme_nets"]
        [project.entry-points."brainmvp_lightning.backbones"]
        acme_conv = "acme_nets:TinyConv"
        acme_broken = "acme_nets:Missing"
        """,
    "acme_nets.py": '''
        """Nets of others."""
        from torch import nn
        from brainmvp_lightning.backbones.base import Backbone

        class TinyConv(Backbone):
            """One strided convolution."""
            def __init__(self, in_channels: int, *, width: int = 8) -> None:
                super().__init__()
                self.in_channels, self.feature_channels, self.strides = in_channels, (width,), (2,)
                self.conv = nn.Conv3d(in_channels, width, 2, stride=2)
            def forward(self, image):
                return [self.conv(image)]
        ''',
}


@pytest.fixture(scope="module")
def plugin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("acme")
    for file, text in PLUGIN.items():
        (source / file).write_text(textwrap.dedent(text))
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def test_an_installed_plugin_is_listed_and_a_broken_one_named(
    plugin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(plugin_folder))
    fresh = Registry("backbone", Backbone, "brainmvp_lightning.backbones")
    monkeypatch.setattr(BACKBONES, "_is_loaded", True)
    with pytest.warns(UserWarning, match=r"plugin 'acme_broken' of acme-nets 1\.2\.3 is left out"):
        fresh.load()
    assert fresh.origin("acme_conv") == "acme-nets 1.2.3"
    assert fresh.get("acme_conv")(1, width=4).feature_channels == (4,)  # type: ignore[call-arg]


@pytest.mark.slow
def test_the_program_lists_a_plugin(plugin_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "brainmvp_lightning", "list", "backbones"],
        env={"PYTHONPATH": str(plugin_folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "acme_conv: One strided convolution." in done.stdout
    assert "from    acme-nets 1.2.3" in done.stdout
    assert "width=8" in done.stdout
    assert "acme_broken" in done.stderr
