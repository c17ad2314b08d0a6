"""A part that breaks its contract is told so in one sentence that says what it did."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainmvp_lightning.adapters.base import Adapter
from brainmvp_lightning.backbones.base import Backbone
from brainmvp_lightning.batches import Size, StepInfo, StudyBatch
from brainmvp_lightning.heads.base import LossHead, TaskHead
from brainmvp_lightning.heads.reconstruction import ReconstructionHead
from brainmvp_lightning.masking.base import Masking
from brainmvp_lightning.masking.blocks import GridBlocks
from brainmvp_lightning.methods.base import DataNeeds, LossTerms, SSLMethod
from brainmvp_lightning.randomness import CountedRandom
from brainmvp_lightning.studies.modality import ModalityVocabulary
from brainmvp_lightning.studies.problem import Problem
from brainmvp_lightning.studies.study import Scan
from brainmvp_lightning.testing import (
    ContractError,
    check_adapter,
    check_backbone,
    check_head,
    check_masking,
    check_method,
)


def sentence(check: Callable[[], None]) -> str:
    with pytest.raises(ContractError) as caught:
        check()
    text = str(caught.value)
    assert "\n" not in text
    return text


class Conv(Backbone):
    """A network that keeps the contract."""

    stems = ("conv.weight",)

    def __init__(self, in_channels: int, *, width: int = 4) -> None:
        super().__init__()
        self.in_channels, self.feature_channels, self.strides = in_channels, (width,), (2,)
        self.conv = nn.Conv3d(in_channels, width, 2, stride=2)

    def forward(self, image: Tensor) -> list[Tensor]:
        self.check_image(image)
        return [self.conv(image)]


class NoStems(Conv):
    """Names no stem."""

    stems = ()


class Unused(Conv):
    """Has a layer that nothing uses."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.other = nn.Linear(2, 2)


class Greedy(Conv):
    """Takes any image."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.conv(image[:, :1])] if self.in_channels == 1 else [self.conv(image)]


class Mixing(Conv):
    """Mixes the images of a batch."""

    def forward(self, image: Tensor) -> list[Tensor]:
        (level,) = super().forward(image)
        return [level - level.mean(dim=0, keepdim=True) + level]


class Shrinking(Conv):
    """Is coarser than it says."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [level[..., 1:] for level in super().forward(image)]


class Overwriting(Conv):
    """Works on its image."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return super().forward(image.mul_(0.5))


class Untyped(Conv):
    """Has an option without a type."""

    def __init__(self, in_channels: int, *, width=4) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        super().__init__(in_channels, width=width)


class Undocumented(Conv):
    pass


class Undescribed(Conv):
    """Says nothing of its levels."""

    def __init__(self, in_channels: int) -> None:
        nn.Module.__init__(self)
        self.in_channels = in_channels


class Unpaired(Conv):
    """Names a head that nobody has."""

    segmentation_head = "uninet"


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (NoStems, "NoStems.stems is (), but the tensors that change with the number of channels"),
        (Unused, "parameter other.weight of Unused gets no gradient from the last level"),
        (Greedy, "Greedy takes an image with another number of channels; expected a ValueError"),
        (Mixing, "in eval() the features that Mixing gives an image depend on the others"),
        (Shrinking, "Shrinking returns features of shapes [(2, 4, 24, 16, 7)] for 1 channels"),
        (Overwriting, "Overwriting changes its image in place"),
        (Untyped, "option width of Untyped has no type"),
        (Undocumented, "Undocumented has no docstring"),
        (Undescribed, "Undescribed does not set self.feature_channels"),
        (Unpaired, "Unpaired.segmentation_head is 'uninet', which answers no task; did you mean"),
        (nn.Conv3d, "Conv3d does not derive from brainmvp_lightning.backbones"),
        (lambda _: nn.Identity(), "the backbone is a Identity; derive it from"),
        (lambda _: 1 / 0, "building the backbone for 1 channels raised ZeroDivisionError"),
    ],
)
def test_backbones(network: Any, expected: str) -> None:
    check_backbone(Conv)
    assert expected in sentence(lambda: check_backbone(network))


class Halves(Masking):
    """Hides by a rule that the tests bend."""

    def __init__(self, draws: Callable[[Size, CountedRandom, str], Tensor]) -> None:
        super().__init__()
        self.draws = draws

    def draw(self, size: Size, random: CountedRandom, purpose: str = "mask") -> Tensor:
        return self.draws(size, random, purpose)


def uniform(size: Size, random: CountedRandom, purpose: str) -> Tensor:
    x, y, z = size
    return random.uniform(x * y * z, purpose).view(-1, 1, *size)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda s, r, p: uniform(s, r, p), "returns torch.float32; expected torch.bool"),
        (lambda s, r, p: uniform(s, r, p)[:, 0] < 0.5, "returns shape (5, 16, 24, 32) for 5"),
        (lambda s, r, p: uniform(s, r, p) < 2, "hides everything of 5 of 5 images"),
        (lambda s, r, p: uniform(s, r, p) < 0, "hides nothing of 5 of 5 images"),
        (lambda s, r, _: torch.rand(len(r.keys), 1, *s) < 0.5, "uses torch's global generator"),
        (lambda s, r, _: uniform(s, r, "mask") < 0.5, "the same masks for two purposes"),
        (
            lambda s, r, p: (uniform(s, r, p) + uniform(s, r, p).mean(0, keepdim=True)) < 1,
            "the mask of image 0 depends on more than its own key",
        ),
        (
            lambda s, r, p: uniform(s, CountedRandom(r.keys * 0), p) < 0.5,
            "hides the same voxels of all 5 images",
        ),
        (
            lambda s, r, p: (uniform(s, r, p) < 0.5)[(...,) + (0,) * (s == (1, 1, 1)) * 9],
            "raises IndexError for an image of one voxel",
        ),
    ],
)
def test_masking(draw: Callable[[Size, CountedRandom, str], Tensor], expected: str) -> None:
    check_masking(Halves(lambda s, r, p: uniform(s, r, p) < 0.5))
    assert expected in sentence(lambda: check_masking(Halves(draw)))


class Summing(ReconstructionHead):
    """Does not weight its samples."""

    def loss(self, prediction: Tensor, target: Tensor, share: Tensor, *a: Any, **k: Any) -> Tensor:
        return (prediction - target).square().mean()


class Half(ReconstructionHead):
    """Scores in half precision."""

    def loss(self, prediction: Tensor, target: Tensor, share: Tensor, *a: Any, **k: Any) -> Tensor:
        errors = (prediction - target.to(prediction.dtype)).square().mean(dim=(1, 2, 3, 4))
        return (share.to(prediction.dtype) * errors).sum()


class Unscheduled(LossHead):
    """Takes no schedule."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()


Unscheduled.__abstractmethods__ = frozenset()


class Pooled(TaskHead):
    """Answers by the mean of the last level."""

    def __init__(self, backbone: Backbone, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.out = nn.Linear(backbone.feature_channels[-1], num_outputs)

    def forward(
        self, image: Tensor, features: list[Tensor], *, auxiliary: bool = False
    ) -> list[Tensor]:
        return [self.out(features[-1].mean(dim=(2, 3, 4)))]


class Single(Pooled):
    """Answers one number."""

    def forward(self, *inputs: Any, **options: Any) -> list[Tensor]:
        (answer,) = super().forward(*inputs, **options)
        return [answer[:, 0]]


class Promising(Pooled):
    """Promises what it does not do."""

    num_auxiliary = 2


class Borrowing(Pooled):
    """Wants tensors that it has not."""

    def pretrained_names(self) -> dict[str, str]:
        return {"up.0.weight": "up.0.weight"}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (Summing, "with shares twice as large; expected the sum of the samples' losses"),
        (Half, "in torch.bfloat16 under bfloat16 autocast; expected a finite float32"),
        (
            Unscheduled,
            "Unscheduled on UNET3D with weight, start_epoch, ramp_epochs raised Type",
        ),
        (Single, "Single answers with shapes [(2,)] for an image of shape (2, 1, 48, 32, 16)"),
        (Promising, "gives auxiliary answers of shapes []; expected num_auxiliary=2"),
        (Borrowing, "Borrowing.pretrained_names() is {'up.0.weight': 'up.0.weight'}"),
        (nn.Linear, "the head is <class 'torch.nn.modules.linear.Linear'>; give a class that"),
    ],
)
def test_heads(head: Any, expected: str) -> None:
    text = sentence(lambda: check_head(head))
    assert expected in text


def test_heads_that_keep_the_contract_pass() -> None:
    check_head(Pooled)


class Filling(SSLMethod):
    """Fills the hidden part with grey; the tests bend it."""

    fault = ""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.head = ReconstructionHead(backbone)
        self.masking = GridBlocks(4, 0.5)
        self.shift = nn.Parameter(torch.zeros(())) if self.fault == "unused" else None
        self.network = backbone if self.fault == "keeps" else None

    @property
    def needs(self) -> DataNeeds:
        return DataNeeds(needs_partner=False)

    def views(self, batch: StudyBatch, step: StepInfo) -> Any:
        keys = batch["key"] * 0 if self.fault == "keys" else batch["key"]
        x, y, z = batch["image"].shape[2:]
        mask = self.masking.draw((x, y, z), CountedRandom(keys))
        grey = torch.rand(()) if self.fault == "global" else 0.5
        if self.fault == "overwrites":
            batch["image"].mul_(0.5)
        return torch.where(mask, grey, batch["image"]), batch["image"], batch["weight"]

    def loss(self, backbone: Backbone, views: Any, step: StepInfo) -> LossTerms:
        image, target, weight = views
        weight = torch.ones_like(weight) if self.fault == "shares" else weight
        rebuilt = self.head(backbone(image))
        terms = {"grey": self.head.loss(rebuilt, target, weight)}
        metrics = {"mse": terms["grey"] if self.fault == "attached" else terms["grey"].detach()}
        is_drawn = not step.is_training or self.fault == "draws"
        return LossTerms(terms, metrics, {"rebuilt": rebuilt.detach()} if is_drawn else {})

    def weights(self, step: StepInfo) -> dict[str, float]:
        return {"gray" if self.fault == "misnamed" else "grey": 1.0}

    def parameter_groups(self, learning_rate: float) -> Any:
        groups = super().parameter_groups(learning_rate)
        return [] if self.fault == "groups" else groups


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("unused", "parameter shift of Bent gets no gradient from its loss"),
        ("keeps", "Bent keeps the backbone as a part of itself"),
        ("keys", "Bent has the same loss for other keys"),
        ("global", "Bent.views uses torch's global generator"),
        ("overwrites", "Bent changes image of its batch"),
        ("shares", "terms grey of Bent depend on a row of weight 0"),
        ("attached", "metric 'mse' of Bent is tensor("),
        ("draws", "Bent makes pictures in training"),
        ("misnamed", "Bent.weights has no factor for grey, which its loss names"),
        ("groups", "Bent.parameter_groups has 0 of "),
    ],
)
def test_methods(fault: str, expected: str) -> None:
    bent = type("Bent", (Filling,), {"fault": fault, "__doc__": "Bent.", "__module__": __name__})
    assert expected in sentence(lambda: check_method(bent))


def test_methods_that_keep_the_contract_pass() -> None:
    check_method(Filling)
    expected = "a step of Filling raised ValueError: grid_blocks cuts"
    assert expected in sentence(lambda: check_method(partial(Filling), crop_size=(18, 18, 18)))


class Folder(Adapter):
    """T1 images of a folder; the tests bend it."""

    fault = ""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = Path(root)

    def scans(self, vocabulary: ModalityVocabulary) -> list[Scan]:
        if not self.root.exists() and self.fault != "lenient":
            raise FileNotFoundError(self.root)
        if self.fault != "piles":
            self.problems = []
        self.problems.append(Problem("", "x", "" if self.fault == "mute" else "odd", "drop it"))
        paths = sorted(self.root.glob("*.nii"))
        if self.fault == "misses":
            paths.append(self.root / "gone.nii")
        if self.fault == "repeats":
            paths *= 2
        patient = "" if self.fault == "nameless" else "p"
        modality = "T1w" if self.fault == "raw" else "t1"
        scans = [Scan(f"{patient}{path.stem * bool(patient)}", "", "d", modality, path)
                 for path in paths]  # fmt: skip
        return [] if self.fault == "empty" else scans


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("lenient", "Bent.scans raises nothing where no data set is"),
        ("piles", "Bent has 1 problems after one call of scans and 2 after two"),
        ("mute", "aside without a reason and a remedy"),
        ("misses", "gone.nii'), which is no file"),
        ("repeats", "Bent names scans that cannot be used together"),
        ("nameless", "leaves patient or dataset of"),
        ("raw", "'T1w'; expected a canonical name"),
        ("empty", "Bent.scans returns no scan of"),
    ],
)
def test_adapters(fault: str, expected: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "a.nii").touch()
    check_adapter(Folder, root)
    bent = type("Bent", (Folder,), {"fault": fault, "__doc__": "Bent.", "__module__": __name__})
    assert expected in sentence(lambda: check_adapter(bent, root))
