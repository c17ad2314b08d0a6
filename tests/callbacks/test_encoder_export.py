from pathlib import Path

import pytest
import torch

from brainmvp_lightning.callbacks.encoder_export import EncoderExport
from brainmvp_lightning.heads.decoders import build_decoder
from brainmvp_lightning.inference.components import build_backbone
from brainmvp_lightning.weights.export import read_weights
from brainmvp_lightning.weights.sources import open_source
from tests.training import small_data, small_task, small_trainer


@pytest.fixture(scope="module")
def run(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    small_trainer(folder, EncoderExport("ask | us"), epochs=2).fit(
        small_task(), small_data(cache_folder)
    )
    return folder


def test_the_file_is_enough_to_build_and_fill_backbone_and_decoder(run: Path) -> None:
    tensors, manifest = read_weights(run / "encoder.safetensors")
    assert manifest["backbone"]["class_path"] == "unet3d"
    spec = {key: manifest["backbone"][key] for key in ("class_path", "init_args")}
    backbone = build_backbone(spec, manifest["backbone"]["in_channels"])
    for prefix, module in (("encoder.", backbone), ("decoder.", build_decoder(backbone))):
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        module.load_state_dict(own)


def test_file_and_checkpoint_of_a_run_hold_the_same(run: Path) -> None:
    exported = open_source(run / "encoder.safetensors")
    saved = open_source(run / "checkpoints" / "last.ckpt")
    for first, second in ((exported.encoder, saved.encoder), (exported.decoder, saved.decoder)):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_recipe_clip_and_length_are_told(run: Path) -> None:
    manifest = read_weights(run / "encoder.safetensors")[1]
    assert manifest["epochs"] == 2
    assert manifest["clip"] == {"lower": 1.0, "upper": 99.0, "over": "foreground"}
    assert manifest["recipe"]["spacing_mm"] == 1.0
    assert manifest["studies"] == 5  # of GROUPING, for training
    assert manifest["scans"] == {"flair": 3, "t1": 4, "t1ce": 1, "t2": 4, "dwi": 1, "adc": 1}


def test_the_card_says_what_it_is_in_words(run: Path) -> None:
    card = (run / "encoder.md").read_text()
    assert "holds decoder, encoder, templates of a self-supervised pre-training" in card
    assert "| network | unet3d(widths=[8, 16], depths=[1, 1]) |" in card
    assert "| scans seen | 3 flair, 4 t1, 1 t1ce, 4 t2, 1 dwi, 1 adc |" in card
    assert "percentiles 1.0 and 99.0 of foreground become 0 and 1" in card
    assert "not recorded" not in card
    assert card.endswith("## Licence\n\nask | us\n")


def test_decoder_and_templates_can_be_left_out(cache_folder: Path, tmp_path: Path) -> None:
    export = EncoderExport(with_templates=False, with_decoder=False)
    task = small_task()
    task.hparams["start"] = {"weights": "/home/anna/ward/first.ckpt"}
    small_trainer(tmp_path, export, epochs=1).fit(task, small_data(cache_folder))
    tensors, manifest = read_weights(tmp_path / "encoder.safetensors")
    assert manifest["configuration"]["start"] == {"weights": "first.ckpt"}  # made to be shared
    assert {name.partition(".")[0] for name in tensors} == {"encoder"}


def test_a_run_that_was_killed_before_the_file_was_written_writes_it_when_resumed(
    cache_folder: Path, tmp_path: Path
) -> None:
    def fit(**options: str) -> None:
        trainer = small_trainer(tmp_path, EncoderExport(), epochs=1)
        trainer.fit(small_task(), small_data(cache_folder), **options)

    fit()
    path = tmp_path / "encoder.safetensors"
    tensors, manifest = read_weights(path)
    path.unlink()
    fit(ckpt_path=str(tmp_path / "checkpoints" / "last.ckpt"))
    again, facts = read_weights(path)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert (facts["epochs"], facts["steps"]) == (manifest["epochs"], manifest["steps"])
