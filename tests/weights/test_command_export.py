import json
from pathlib import Path

import pytest
import torch

from brainmvp_lightning.commands.weights import main
from brainmvp_lightning.evaluation.summary import summarise
from brainmvp_lightning.inference.components import build_backbone
from brainmvp_lightning.inference.loading import load_model
from brainmvp_lightning.inference.model import FineTunedModel
from brainmvp_lightning.weights.export import read_weights
from brainmvp_lightning.weights.sources import open_source
from brainmvp_lightning.weights.transfer import transfer
from tests.experiments.scores import case
from tests.inference.fine_tuned import fine_tuned
from tests.weights.files import prefixed, same, write_pretraining


@pytest.fixture
def model(tmp_path: Path) -> FineTunedModel:
    """A fine-tuned model, as a run leaves it in ``best.ckpt``."""
    made = fine_tuned(templates=True)
    state = prefixed("model.", made.state_dict())
    content = {"state_dict": state, "model_spec": made.spec(), "ema": False}
    torch.save(content, tmp_path / "best.ckpt")
    return made


def run(*words: object) -> int:
    return main(["export", *map(str, words)])


@pytest.mark.parametrize(("form", "inside"), [("huggingface", ""), ("monai", "models")])
def test_an_exported_model_is_the_one_of_the_checkpoint(
    form: str, inside: str, model: FineTunedModel, tmp_path: Path
) -> None:
    output = tmp_path / "exports" / "tumours"
    assert run(tmp_path / "best.ckpt", "--output", output, "--format", form) == 0
    back = load_model(output / inside)
    assert back.spec() == model.spec()
    own = model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in back.state_dict().items())


def test_the_card_takes_licence_and_finite_results(model: FineTunedModel, tmp_path: Path) -> None:
    results = {"dice": {"whole": 0.91, "core": float("nan")}, "cases": 7, "ok": True}
    (tmp_path / "summary.json").write_text(json.dumps(results))
    words = ["--licence", "cc-by-4.0", "--licence-note", "ask us"]
    words += ["--metrics", str(tmp_path / "summary.json")]
    assert run(tmp_path / "best.ckpt", "--output", tmp_path / "out", *words) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "| dice/whole | 0.91 |\n| cases | 7 |\n\n## Limits" in card
    assert card.endswith("ask us\n")
    assert "| exported from | best.ckpt |" in card


def test_the_card_shows_the_summary_of_a_test_run(model: FineTunedModel, tmp_path: Path) -> None:
    rows = [case(f"s{n}", "core", 0.5 + 0.1 * n, hd95_mm=2.0 + n) for n in range(3)]
    rows.append(case("s3", "core", 0.0, 40.0, "missed"))
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summarise(rows, num=20)))
    assert run(tmp_path / "best.ckpt", "--output", tmp_path / "out", "--metrics", path) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "toy, t1+t2: 4 cases, native space:" in card
    assert "| region | cases | Dice | 95 % | HD95, mm | 95 % | missed | false alarms |" in card
    assert "| core | 4 | 0.4500 | 0." in card
    assert " | 12.25 | " in card
    assert "| 1 | 0 |" in card
    assert "seed" not in card
    words = ("--metrics", path, "--format", "monai")
    assert run(tmp_path / "best.ckpt", "--output", tmp_path / "bundle", *words) == 0
    assert "| core | 4 | 0.4500 |" in (tmp_path / "bundle/docs/README.md").read_text()


def test_the_encoder_of_a_fine_tuned_model_can_be_started_from(
    model: FineTunedModel, tmp_path: Path
) -> None:
    output = tmp_path / "encoder.safetensors"
    assert run(tmp_path / "best.ckpt", "--output", output, "--format", "safetensors") == 0
    source = open_source(output)
    assert source.modalities == ("t1", "flair")
    manifest = read_weights(output)[1]
    assert manifest["clip"] == {"lower": 5.0, "upper": 95.0, "over": "foreground"}
    spec = {key: manifest["backbone"][key] for key in ("class_path", "init_args")}
    backbone = build_backbone(spec, 2)
    assert transfer(backbone, None, source, ("t1", "flair")).coverage == 1.0
    assert all(
        torch.equal(value, model.backbone.state_dict()[name])
        for name, value in backbone.state_dict().items()
    )


def test_a_checkpoint_of_a_pretraining_becomes_an_encoder_file(tmp_path: Path) -> None:
    state = write_pretraining(tmp_path / "last.ckpt")
    output = tmp_path / "encoder.safetensors"
    assert run(tmp_path / "last.ckpt", "--output", output, "--format", "safetensors") == 0
    tensors, manifest = read_weights(output)
    assert torch.equal(
        tensors["encoder.stages.0.entry.weight"], state["backbone.stages.0.entry.weight"]
    )
    assert torch.equal(tensors["decoder.out.bias"], state["method.cross_modal.decoder.out.bias"])
    assert tensors["templates"].shape == (8, 24, 24, 24)
    assert manifest["templates"]["modalities"] == ["t1", "t2"]
    assert manifest["backbone"]["strides"] == [1, 2]


def test_a_checkpoint_of_a_pretraining_becomes_a_folder_for_a_hub(tmp_path: Path) -> None:
    write_pretraining(tmp_path / "last.ckpt", global_step=70)
    words = ("--licence", "cc-by-4.0", "--licence-note", "ask us")
    assert run(tmp_path / "last.ckpt", "--output", tmp_path / "out", *words) == 0
    first, second = open_source(tmp_path / "last.ckpt"), open_source(tmp_path / "out")
    assert same(first.encoder, second.encoder)
    assert same(first.decoder, second.decoder)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: brainmvp_lightning\n")
    assert "license: cc-by-4.0" in card
    assert "| steps | 70 |" in card
    assert "It is not recorded here how the images of the training were prepared and sc" in card
    assert "| not recorded | scans seen, preparation, intensities |" in card
    assert "as above" not in card
    assert card.endswith("ask us\n")


def test_what_is_no_fine_tuned_model_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pretraining(tmp_path / "last.ckpt")
    assert run(tmp_path / "last.ckpt", "--output", tmp_path / "out", "--format", "monai") == 2
    error = capsys.readouterr().err
    assert "last.ckpt holds no fine-tuned model" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(
    model: FineTunedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert run(tmp_path / "best.ckpt", "--output", tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_only_checkpoints_of_ours_become_encoder_files(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--output", tmp_path / "out.safetensors", "--format", "safetensors")
    assert run(checkpoints["unet3d"], *words) == 2
    assert "published BrainMVP, UNET3D pre-training; use weights import" in capsys.readouterr().err
    assert run(checkpoints["unet3d"], "--output", tmp_path / "x.pt", *words[2:]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err


def test_results_that_are_no_json_are_refused(
    model: FineTunedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.csv").write_text("study,dice\n")
    words = ("--output", tmp_path / "out", "--metrics", tmp_path / "cases.csv")
    assert run(tmp_path / "best.ckpt", *words) == 2
    assert "cases.csv is no JSON file" in capsys.readouterr().err
