"""Training with weights spread over two processes is that of two processes with all weights."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._dynamo.utils import counters

from brainmvp_lightning.backbones.uniformer import UniFormerTiny
from brainmvp_lightning.callbacks.encoder_export import EncoderExport
from brainmvp_lightning.losses.segmentation import SegmentationLossOptions
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.brainmvp import BrainMVP
from brainmvp_lightning.methods.templates import TemplateOptions
from brainmvp_lightning.tasks.optimisation import AdamWOptions
from brainmvp_lightning.tasks.pretrain import PretrainTask
from brainmvp_lightning.tasks.segmentation import SegmentationTask
from tests.datamodules.labelled_cohort import write_cohort
from tests.distributed.ranks import launch
from tests.distributed.runs import fit, last, saved, task, two_ranks
from tests.tasks.fine_tuning import segmentation_data, segmentation_task
from tests.training import small_data

pytestmark = pytest.mark.slow
UNIFORMER = partial(UniFormerTiny, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8)
DENSE = TemplateOptions(shape=(24, 24, 24), update="dense")
CONSTANT = AdamWOptions(learning_rate=1e-3, final_fraction=1.0)
Results = dict[str, Any]


def pretrain(cache: Path, folder: Path, results: Results) -> None:
    """Runs of three steps, and runs of two steps that go on for a third."""
    for name in ("ddp", "fsdp"):
        export = [EncoderExport()]
        results[name] = fit(task(), small_data(cache), folder / name, name, *export)
        fit(task(), small_data(cache), folder / f"{name}_2", name, max_steps=2)
        results[f"{name}_clipped"] = fit(
            task(), small_data(cache), folder / f"{name}_clipped", name, gradient_clip_val=0.05
        )
        accumulating = {"accumulate_grad_batches": 2, "max_steps": 1}
        fit(task(), small_data(cache), folder / f"{name}_accumulated", name, **accumulating)
    for before, after in (("fsdp", "fsdp"), ("fsdp", "ddp"), ("ddp", "fsdp")):
        way = f"{before}_to_{after}"
        start = last(folder / f"{before}_2")
        results[way] = fit(task(), small_data(cache), folder / way, after, ckpt_path=start)


def accelerate(cache: Path, folder: Path, results: Results) -> None:
    """The runs of three steps with blocks computed twice, and with compiled blocks."""
    for way in ("checkpointed", "compiled"):
        made = task()
        made.checkpointing = way == "checkpointed"
        made.compile_with = "aot_eager" if way == "compiled" else False
        results[f"fsdp_{way}"] = fit(made, small_data(cache), folder / f"fsdp_{way}", "fsdp")
        results[f"compiled_after_{way}"] = counters["frames"]["ok"]


def normalise(cache: Path, folder: Path, results: Results) -> None:
    """A network with batch norms, and a validation between two epochs."""
    for name in ("ddp", "fsdp"):
        pl.seed_everything(2, verbose=False)
        made = PretrainTask(
            UNIFORMER, partial(BrainMVP, masking=GridBlocks(4, 0.75), templates=DENSE), CONSTANT
        )
        trainer_options = {"limit_val_batches": 1.0, "max_steps": 4}
        losses = fit(made, small_data(cache), folder / f"{name}_norms", name, **trainer_options)
        results[f"{name}_norms"] = losses
        results[f"{name}_norms_val"] = float(made.trainer.callback_metrics["val/total"])


def finetune(cache: Path, folder: Path, results: Results) -> None:
    """A segmentation with an average of its weights, validated, continued and tested."""
    for name in ("ddp", "fsdp"):

        def made() -> SegmentationTask:
            return segmentation_task(
                ema=0.5,
                loss=SegmentationLossOptions(auxiliary=()),
                optimizer=CONSTANT,
            )

        data = partial(segmentation_data, cache, batch_size=1)
        options = {"limit_val_batches": 1.0}
        whole = made()
        results[f"{name}_tuned"] = fit(whole, data(), folder / f"{name}_tuned", name, **options)
        results[f"{name}_dice"] = float(whole.trainer.callback_metrics["val/dice"])
        half = folder / f"{name}_half"
        fit(made(), data(), half, name, max_steps=2, **options)
        rest = fit(made(), data(), half, name, ckpt_path=last(half), **options)
        results[f"{name}_tuned_rest"] = rest
        tested = two_ranks(folder, name)
        (scores,) = tested.test(made(), data(), ckpt_path=str(last(half)), verbose=False)
        results[f"{name}_test"] = scores["test/dice"]


def work(rank: int, cache: Path, labelled: Path, folder: Path) -> None:
    results: Results = {}
    pretrain(cache, folder, results)
    accelerate(cache, folder, results)
    normalise(cache, folder, results)
    finetune(labelled, folder, results)
    torch.save(results, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def runs(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    launch(work, 2, cache_folder, write_cohort(folder / "labelled"), folder)
    return folder


@pytest.fixture(scope="module")
def results(runs: Path) -> list[Results]:
    return [torch.load(runs / f"{rank}.pt", weights_only=True) for rank in range(2)]


def assert_same_state(first: Path, second: Path) -> dict[str, Tensor]:
    one, two = saved(first)["state_dict"], saved(second)["state_dict"]
    assert one.keys() == two.keys()
    for name, value in one.items():
        # A norm takes the bias of the convolution before it out again: the gradient of that bias is
        # rounding, of which Adam makes steps of up to the learning rate.
        is_void = name.endswith("conv1.bias")
        tolerance = 2 * 3 * CONSTANT.learning_rate if is_void else 1e-5
        message = f"{name} differs by {(two[name] - value).abs().max()}"
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=tolerance, msg=message)
    return two


def test_losses_and_weights_are_those_of_ddp(runs: Path, results: list[Results]) -> None:
    for rank in results:
        assert sorted(rank["fsdp"]) == [1, 2, 3]
        assert rank["fsdp"] == pytest.approx(rank["ddp"], rel=1e-5)
    assert results[0]["fsdp"] != results[1]["fsdp"]  # each has its own studies
    state = assert_same_state(runs / "ddp", runs / "fsdp")
    assert all(type(value) is Tensor for value in state.values())
    assert state["method.templates.values"].any()


def test_moments_are_saved_whole_and_as_a_plain_optimiser_numbers_them(runs: Path) -> None:
    one, two = (saved(runs / name)["optimizer_states"][0] for name in ("ddp", "fsdp"))
    assert [g["params"] for g in one["param_groups"]] == [g["params"] for g in two["param_groups"]]
    assert one["state"].keys() == two["state"].keys()
    for number, moments in one["state"].items():
        for name, value in moments.items():
            torch.testing.assert_close(two["state"][number][name], value, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("way", ["fsdp_to_fsdp", "fsdp_to_ddp", "ddp_to_fsdp"])
def test_a_run_goes_on_with_either_strategy(way: str, runs: Path, results: list[Results]) -> None:
    for rank in results:
        assert rank[way] == {3: pytest.approx(rank["ddp"][3], rel=1e-5)}
    assert_same_state(runs / "ddp", runs / way)


def test_clipping_sees_spread_and_whole_gradients_together(
    runs: Path, results: list[Results]
) -> None:
    assert results[0]["fsdp_clipped"] == pytest.approx(results[0]["ddp_clipped"], rel=1e-5)
    state = assert_same_state(runs / "ddp_clipped", runs / "fsdp_clipped")
    free = saved(runs / "fsdp")["state_dict"]
    assert any(not torch.equal(state[name], free[name]) for name in state)


@pytest.mark.parametrize("way", ["checkpointed", "compiled"])
def test_spread_weights_go_with_faster_and_smaller_steps(
    way: str, runs: Path, results: list[Results]
) -> None:
    for rank in results:
        assert rank[f"fsdp_{way}"] == pytest.approx(rank["ddp"], rel=1e-5)
        assert bool(rank[f"compiled_after_{way}"]) == (way == "compiled")
    assert_same_state(runs / "ddp", runs / f"fsdp_{way}")


def test_accumulated_gradients_are_those_of_ddp(runs: Path) -> None:
    assert_same_state(runs / "ddp_accumulated", runs / "fsdp_accumulated")


def test_batch_norms_and_validation_do_as_with_ddp(results: list[Results]) -> None:
    for rank in results:
        assert rank["fsdp_norms"] == pytest.approx(rank["ddp_norms"], rel=1e-4)
        assert rank["fsdp_norms_val"] == pytest.approx(rank["ddp_norms_val"], rel=1e-3)


def test_the_encoder_of_a_sharded_run_is_exported(runs: Path) -> None:
    one, two = (load_file(runs / name / "encoder.safetensors") for name in ("ddp", "fsdp"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        tolerance = 2 * 3 * CONSTANT.learning_rate if name.endswith("conv1.bias") else 1e-5
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=tolerance)


def test_fine_tuning_with_average_validation_and_test_does_as_with_ddp(
    runs: Path, results: list[Results]
) -> None:
    for rank in results:
        assert rank["fsdp_tuned"] == pytest.approx(rank["ddp_tuned"], rel=1e-5)
        assert rank["fsdp_dice"] == pytest.approx(rank["ddp_dice"], rel=1e-4)
        assert rank["fsdp_tuned_rest"] == {3: pytest.approx(rank["ddp_tuned"][3], rel=1e-4)}
        assert rank["fsdp_test"] == pytest.approx(rank["ddp_test"], rel=1e-3)
    state = assert_same_state(runs / "ddp_tuned", runs / "fsdp_tuned")
    assert any(name.startswith("ema.module.backbone") for name in state)


@pytest.mark.filterwarnings("ignore:.*studies are left out.*")
def test_the_checkpoint_starts_a_fine_tuning(runs: Path, labelled_cache: Path) -> None:
    encoder = runs / "fsdp" / "encoder.safetensors"
    made = segmentation_task(weights=str(last(runs / "fsdp")), templates=str(encoder))
    made.check(segmentation_data(labelled_cache), validates=False)
    assert made.report is not None
    network: Any = made.model
    names = [n for n, _ in network.backbone.named_parameters()]
    name = next(n for n in names if n.startswith("stages.1.") and n.endswith("weight"))
    source = saved(runs / "fsdp")["state_dict"][f"backbone.{name}"]
    assert torch.equal(network.backbone.state_dict()[name], source)


@pytest.fixture
def labelled_cache(runs: Path) -> Path:
    return runs / "labelled"
