from pathlib import Path

import pytest
import torch
from torch import Tensor

from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.backbones.unet3d import UNET3D
from brainmvp_lightning.backbones.uniformer import UniFormer
from brainmvp_lightning.commands.weights import main
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.inference.components import build_backbone
from brainmvp_lightning.weights.export import read_weights
from brainmvp_lightning.weights.load import load_report
from tests.golden.stand_ins import checkpoint, write_checkpoint
from tests.weights.files import write_fine_tuned, write_folder

NETWORKS = {
    "uniformer": lambda: UniFormer(1, widths=(16, 32, 80, 128), head_width=16),
    "unet3d": lambda: UNET3D(1, widths=(8, 16, 32, 64)),
}


def run_import(source: Path, output: Path, *more: str) -> int:
    return main(["import", str(source), "--output", str(output), *more])


@pytest.mark.parametrize("network", NETWORKS)
def test_an_imported_checkpoint_fills_our_networks_completely(
    network: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "new" / "weights.safetensors"
    assert run_import(checkpoints[network], output, "--licence-note", "ask them") == 0
    tensors, manifest = read_weights(output)
    backbone: Backbone = NETWORKS[network]()
    for prefix, module in (("encoder.", backbone), ("decoder.", build_decoder(backbone))):
        report = load_report(module, tensors, prefix=prefix, minimum=1.0)
        assert report.coverage == 1.0
        assert not report.unused
    assert tensors["templates"].shape == (8, 60, 60, 38)
    assert manifest["templates"]["modalities"][:3] == ["flair", "t1", "t1ce"]
    assert manifest["templates"]["affine"][2] == [0.0, 0.0, 1.0, -19.0]
    assert manifest["licence_note"] == "ask them"
    assert manifest["backbone"]["depths"] == list(map(len_of_blocks, backbone.stages))  # type: ignore[arg-type]


def len_of_blocks(stage: torch.nn.Module) -> int:
    return len(stage.blocks)  # type: ignore[arg-type]


def test_import_says_what_became_of_each_tensor(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import(checkpoints["uniformer"], tmp_path / "out.safetensors") == 0
    lines = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    rows = {row[0]: row[1:] for row in lines if len(row) == 4}
    assert rows["encoder.uniformer.patch_embed1.proj.weight"] == [
        "encoder.stages.0.entry.conv.weight",
        "16x1x2x2x2",
        "imported, axes turned from z x y",
    ]
    assert rows["decoder.decoder5.transp_conv.conv.weight"][0] == "decoder.up.0.weight"
    assert rows["decoder.proj1.proj.weight"][2].startswith("not used: serves skip connections")
    assert set(checkpoint("uniformer", 4)) <= set(rows)


def test_coverage_is_summed_up(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import(checkpoints["unet3d"], tmp_path / "out.safetensors") == 0
    text = capsys.readouterr().out
    assert "113 tensors imported, 0 not used" in text
    assert "coverage of the network: 112 of 112 tensors (100.0%)" in text


def test_only_the_encoder_of_the_fine_tuning_network_is_imported(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import(checkpoints["uniunet"], tmp_path / "out.safetensors") == 0
    tensors, manifest = read_weights(tmp_path / "out.safetensors")
    assert all(name.startswith("encoder.") for name in tensors)
    assert manifest["backbone"]["in_channels"] == 4
    assert "not used: belongs to the segmentation decoder" in capsys.readouterr().out


def test_inspect_names_the_layout(
    checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(checkpoints["unet3d"])]) == 0
    text = capsys.readouterr().out
    assert "layout: published BrainMVP, UNET3D pre-training" in text
    assert ["conv1a.weight", "8x1x3x3x3", "float32"] in [row.split() for row in text.splitlines()]


def test_inspect_shows_our_manifest(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.safetensors"
    run_import(checkpoints["unet3d"], output)
    capsys.readouterr()
    assert main(["inspect", str(output)]) == 0
    text = capsys.readouterr().out
    assert "layout: encoder file" in text
    assert "licence_note: converted from a checkpoint of others" in text


def test_inspect_reads_the_folder_of_a_pretraining(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_import(checkpoints["unet3d"], tmp_path / "run" / "encoder.safetensors")
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "layout: encoder file" in text
    assert "113 tensors" in text
    (tmp_path / "empty").mkdir()
    assert main(["inspect", str(tmp_path / "empty")]) == 2
    assert "is a folder without config.json" in capsys.readouterr().err


def test_an_incomplete_checkpoint_is_refused_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = checkpoint("unet3d", 4, with_templates=False)
    del tensors["ds2.bias"]
    output = tmp_path / "out.safetensors"
    assert run_import(write_checkpoint(tmp_path / "part.pt", tensors), output) == 2
    error = capsys.readouterr().err
    assert "does not fill 1 tensors of the network, such as encoder.stages.2.entry.bias" in error
    assert not output.exists()


def broken(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"other.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken, "are not those of a known layout"),
        (lambda tensors: {"conv1a.weight": tensors["conv1a.weight"]}, "four stages lack"),
        (lambda tensors: {**tensors, "rep_template": torch.zeros(3, 4, 4, 4)}, "8 volumes"),
    ],
)
def test_other_contents_are_refused(
    change: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = change(checkpoint("unet3d", 4, with_templates=False))  # type: ignore[operator]
    source = write_checkpoint(tmp_path / "other.pt", tensors)
    assert run_import(source, tmp_path / "out.safetensors") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert str(source) in error


@pytest.mark.parametrize("output", ["out.pt", "same.safetensors"])
def test_a_wrong_output_is_refused(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_import(tmp_path / "same.safetensors", tmp_path / output) == 2
    assert str(tmp_path / output) in capsys.readouterr().err


def test_wrong_calls_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspcet", "x"]) == 2
    assert "did you mean 'inspect'?" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "none.pt")]) == 2
    assert "no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["import", "x.pt"])
    assert stop.value.code == 2


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "weights inspect FILE" in capsys.readouterr().out


@pytest.mark.parametrize("network", NETWORKS)
def test_the_manifest_of_an_import_is_enough_to_build_the_backbone(
    network: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    run_import(checkpoints[network], tmp_path / "out.safetensors")
    tensors, manifest = read_weights(tmp_path / "out.safetensors")
    spec = {key: manifest["backbone"][key] for key in ("class_path", "init_args")}
    backbone = build_backbone(spec, manifest["backbone"]["in_channels"])
    assert load_report(backbone, tensors, prefix="encoder.", minimum=1.0).coverage == 1.0


def test_inspect_shows_a_fine_tuned_network_and_an_exported_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fine_tuned(tmp_path / "best.ckpt", ("t1", "flair"))
    write_folder(tmp_path / "model", ("t1", "flair"))
    for name, title in (
        ("best.ckpt", "layout: checkpoint of a fine-tuned network"),
        ("model", "layout: exported fine-tuned network"),
    ):
        assert main(["inspect", str(tmp_path / name)]) == 0
        text = capsys.readouterr().out
        assert title in text
        assert "network: unet3d (widths [8, 16], depths [1, 1])" in text
        assert "modalities: [t1, flair]" in text


def test_inspect_tells_what_another_network_would_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = checkpoint("unet3d", 1, with_templates=False)
    source = str(write_checkpoint(tmp_path / "unet3d.pt", tensors))
    assert main(["inspect", source, "--for", "unet3d", "--modalities", "t1,t2"]) == 0
    text = capsys.readouterr().out
    assert "backbone: 80 of 80 tensors loaded (100.0%)" in text
    assert "stages.0.entry.weight (32x1x3x3x3 in the file, 32x2x3x3x3 here)" in text
    assert main(["inspect", source, "--for", "uniformer_tiny"]) == 0
    assert "backbone: 0 of" in capsys.readouterr().out
    assert main(["inspect", source, "--for", "unet3"]) == 2
    assert "did you mean 'unet3d'" in capsys.readouterr().err


def test_inspect_lists_the_tensors_of_unknown_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"layer1.weight": torch.ones(2, 3)}, tmp_path / "x.pt")
    assert main(["inspect", str(tmp_path / "x.pt")]) == 0
    text = capsys.readouterr().out
    assert "layer1.weight  2x3" in text
    assert "layout: unknown" in text
