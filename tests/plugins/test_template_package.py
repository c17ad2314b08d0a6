"""The template package, installed for real: from listing its parts to reloading what they made."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.adapters.tiny_images import save_scans

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "tests" / "examples" / "brainmvp_plugin"
WORDS = {
    "backbones": "conv_pyramid",
    "masking": "slabs",
    "heads": "gradient_magnitude",
    "methods": "denoising",
    "adapters": "flat_folder",
}
# A neighbour whose parts are all wrong must not keep the others from working.
BROKEN = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "acme-broken"
version = "0.3"
[tool.setuptools]
py-modules = ["acme_fine", "acme_raises"]
[project.entry-points."brainmvp_lightning.backbones"]
acme_missing = "acme_fine:Missing"
acme_raises = "acme_raises:Net"
unet3d = "brainmvp_plugin.backbone:ConvPyramid"
[project.entry-points."brainmvp_lightning.masking"]
acme_wrong = "brainmvp_plugin.backbone:ConvPyramid"
""",
    "acme_fine.py": "",
    "acme_raises.py": "raise RuntimeError('no\\nlicence')",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with a copy of the template, and a broken one."""
    sources = tmp_path_factory.mktemp("sources")
    template = shutil.copytree(TEMPLATE, sources / "template")
    (sources / "broken").mkdir()
    for name, text in BROKEN.items():
        (sources / "broken" / name).write_text(text)
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(template)]
    subprocess.run([*command, str(sources / "broken")], check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user works: images in ``data/flat``."""
    folder = tmp_path_factory.mktemp("work")
    names = [f"p{n}_{contrast}.nii.gz" for n in range(8) for contrast in ("T1w", "FLAIR")]
    save_scans(folder / "data" / "flat", *names, "p9_sketch.nii.gz")
    return folder


def run(site: Path, workplace: Path, *words: str, program: Sequence[str] = ()) -> str:
    """Run the program in another process, and return all it writes."""
    paths = os.pathsep.join((str(site), str(ROOT)))
    done = subprocess.run(
        [sys.executable, *(program or ("-m", "brainmvp_lightning")), *words],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_parts_are_listed_with_their_origin_and_broken_ones_with_the_reason(
    site: Path, workplace: Path
) -> None:
    listed = run(site, workplace, "list", "--plugins").split("brainmvp-plugin 0.1.0\n")
    broken, fine = listed
    assert all(f" {word}: brainmvp_plugin." in fine for word in WORDS.values())
    assert "left out" not in fine
    assert broken.startswith("acme-broken 0.3\n")
    for reason in (
        "AttributeError: module 'acme_fine' has no attribute 'Missing'",
        "RuntimeError: no licence",
        "ValueError: backbone name 'unet3d' is taken by brainmvp_lightning.backbones.unet3d.UNET3D",
        "TypeError: masking strategy 'acme_wrong': brainmvp_plugin.backbone.ConvPyramid does not "
        "derive from brainmvp_lightning.masking.base.Masking",
    ):
        assert f"left out: {reason}" in broken


RELOAD = """
import sys
from pathlib import Path
import torch
from brainmvp_lightning.inference.components import build_backbone
from brainmvp_lightning.weights.export import read_weights
run = Path(sys.argv[1])
saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
of_checkpoint = build_backbone(saved["hyper_parameters"]["backbone"], 1)
of_checkpoint.load_state_dict(
    {n.removeprefix("backbone."): t for n, t in saved["state_dict"].items() if n[:8] == "backbone"}
)
tensors, manifest = read_weights(run / "encoder.safetensors")
spec = {key: manifest["backbone"][key] for key in ("class_path", "init_args")}
of_export = build_backbone(spec, 1)
of_export.load_state_dict(
    {n.removeprefix("encoder."): t for n, t in tensors.items() if n.startswith("encoder.")}
)
image = torch.rand(1, 1, 16, 16, 16)
assert all(map(torch.equal, of_checkpoint.eval()(image), of_export.eval()(image)))
print(f"reloaded {spec}")
"""


def test_its_parts_prepare_train_and_reload(site: Path, workplace: Path) -> None:
    prepared = run(
        site,
        workplace,
        *("prepare", "--config", str(TEMPLATE / "configs/prepare.yaml")),
        *("--split_ratios", "[1,1,0]"),
    )
    assert "left out" not in prepared  # no backbone is looked for
    assert "p9_sketch.nii.gz" in prepared
    train = ("--trainer.accelerator", "cpu", "--data.num_workers", "0", "--data.batch_size", "2")
    trained = run(
        site,
        workplace,
        *("fit", "--config", str(TEMPLATE / "configs/pretrain.yaml"), *train),
        *("--trainer.max_steps", "1", "--data.crop_size", "[16,16,16]"),
        *("--model.backbone.widths", "[4,8]"),
    )
    assert "plugin 'acme_raises' of acme-broken 0.3 is left out: RuntimeError: no" in trained
    runs = workplace / "runs" / "denoising"
    plugins = json.loads((runs / "run.json").read_text())["plugins"]
    assert plugins == {"brainmvp-plugin": "0.1.0"}  # what was left out brings nothing
    reloaded = run(site, workplace, str(runs), program=("-c", RELOAD))
    assert "reloaded {'class_path': 'conv_pyramid', 'init_args': {'widths': [4, 8]}}" in reloaded
    more = ("--trainer.max_steps", "2", "--ckpt_path", "last")
    run(site, workplace, "fit", "--config", str(runs / "config.yaml"), *more)
    assert torch.load(runs / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 2


def test_its_own_tests_pass(site: Path, workplace: Path) -> None:
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(TEMPLATE / "tests"))
    assert "5 passed" in run(site, workplace, program=tests)
