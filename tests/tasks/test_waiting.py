"""Nothing in a training step makes the host wait for the device, or the device for the host."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from brainmvp_lightning.backbones.registry import BACKBONES
from brainmvp_lightning.batches import StepInfo
from brainmvp_lightning.tasks.pretrain import PretrainTask
from tests.training import small_data, small_task

WAITING = (
    "_local_scalar_dense",  # item(), float(), bool(), a tensor as the bound of a slice
    "nonzero",  # also where() of one argument
    "is_nonzero",
    "masked_select",
    "unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "equal",
    "repeat_interleave",  # without the size of its result
)
READING = ("cpu", "numpy", "tolist", "item", "__bool__", "__float__", "__int__", "__index__")
STEP = StepInfo(step=0, max_steps=10, epoch=0, max_epochs=10, is_training=True)


class Waits(TorchDispatchMode):
    """Counts operators whose result has a size or a value that the host must know."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITING or (name.startswith("index") and has_mask(args)):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


class Reads(TorchFunctionMode):
    """Counts calls that bring a tensor to the host; a CPU's are already there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        to_host = name == "to" and "cpu" in [arg for arg in args[1:] if isinstance(arg, str)]
        if args and isinstance(args[0], Tensor) and (name in READING or to_host):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def has_mask(args: Sequence[Any]) -> bool:
    """Tell whether an index is a mask: only the device knows how many results it has."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(
        isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices
    )


def waits_of(work: Callable[[], object]) -> dict[str, int]:
    with Waits() as waits, Reads() as reads:
        work()
    return dict(waits.found + reads.found)


def step_of(cache: Path, **backbone: Any) -> Callable[[], None]:
    """Return a training step after the first one, without its logging."""
    task: PretrainTask = small_task()
    if backbone:
        network = BACKBONES.get("uniformer_tiny")(1, **backbone)
        network.use_checkpointing()
        task.method = type(task.method)(network, masking=task.method.masking)  # type: ignore[attr-defined]
        task.backbone = network
    data = small_data(cache)
    description = data.describe()
    task.method.prepare(description)
    batch = next(iter(data.train_dataloader())).unpack()
    optimizer = torch.optim.AdamW(task.parameters(), fused=True)

    def step() -> None:
        views = task.method.views(batch, STEP)
        terms = task.method.loss(task.backbone, views, STEP).terms
        weights = task.method.weights(STEP)
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(list(task.parameters()), 1.0)
        optimizer.step()

    step()
    return step


def test_a_step_of_brainmvp_waits_for_nothing(cache_folder: Path) -> None:
    assert waits_of(step_of(cache_folder)) == {}


@pytest.mark.filterwarnings("ignore:.*None of the inputs have requires_grad.*")
def test_nor_does_a_uniformer_that_drops_paths_and_computes_blocks_again(
    cache_folder: Path,
) -> None:
    options = {"widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "head_width": 8}
    assert waits_of(step_of(cache_folder, drop_path=0.5, **options)) == {}


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (lambda x: float(x.sum()), "_local_scalar_dense"),
        (lambda x: x[x > 1], "index"),
        (lambda x: x.masked_select(x > 1), "masked_select"),
        (lambda x: x.unique(), "_unique2"),
        (lambda x: torch.where(x > 1), "nonzero"),
        (lambda x: x.cpu(), "cpu"),
        (lambda x: x.to("cpu"), "to"),
        (lambda x: 1 if (x > 1).any() else 0, "_local_scalar_dense"),
    ],
)
def test_what_waits_is_found(work: Callable[[Tensor], object], name: str) -> None:
    assert name in waits_of(lambda: work(torch.arange(4.0)))


def test_the_count_of_faults_is_sent_to_the_device_when_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, sent = small_task(), []
    monkeypatch.setattr(task, "log", lambda _, value, **__: sent.append(value))
    monkeypatch.setattr(task, "print", lambda _: None)
    task.trainer = pl.Trainer(logger=False, enable_checkpointing=False)
    for faults in ([], [], ["a"], []):
        task.report_faults({"faults": faults})  # type: ignore[typeddict-item]
    assert [value.item() for value in sent] == [0, 0, 1, 1]
    assert sent[0] is sent[1]
    assert sent[2] is sent[3]
