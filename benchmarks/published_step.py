"""The published pre-training step, written plainly: the rival of the benchmark of a step.

Written by us from the description of the method. Each sample is masked and filled by itself, with
all blocks of its mask at once; each sample's whole template is scaled to [0, 1] by its own minimum
and maximum before its crop is cut, and each such crop has a dense gradient of all templates; the
network is `published_network`; AdamW is torch's as it comes. What the published script does besides
and no result needs, such as detecting anomalies in every step, is left out. Both views go through
the network at once, as in ours: batch norms would otherwise see other statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from published_network import PlainDecoder, PlainUniFormer, Sizes
from torch import Tensor, nn
from torch.nn import functional

RANGE_EPS = 1e-9  # published code


class Places(NamedTuple):
    """What is drawn at random for a batch, so that rivals can be given the same."""

    orders: tuple[Tensor, Tensor]
    """Order in which the blocks of each sample are hidden, for the cross-modal and for the template
    view, ``b n`` each."""
    templates: Sequence[int]
    """Template of each sample."""
    corners: Sequence[Sequence[int]]
    """First voxel of each sample's crop in its template."""


class PublishedStep(nn.Module):
    """Network and templates of the published step.

    Args:
        sizes: Sizes of the network.
        templates: Start of the templates, ``s x y z``.
        block_size: Edge of a masked block.
        ratio: Share of hidden blocks.
        temperature: Softness of the contrast (published: 1).
        rescale: ``"minmax"`` scales whole templates to [0, 1] (published code), ``"raw"`` does not.

    Raises:
        ValueError: If there is no such way to rescale.
    """

    def __init__(
        self,
        sizes: Sizes,
        templates: Tensor,
        *,
        block_size: int = 8,
        ratio: float = 0.875,
        temperature: float = 1.0,
        rescale: str = "minmax",
    ) -> None:
        super().__init__()
        if rescale not in ("minmax", "raw"):
            raise ValueError(f"templates are rescaled by minmax or left raw, got {rescale!r}")
        self.sizes = sizes
        self.encoder = PlainUniFormer(sizes)
        self.decoder = PlainDecoder(sizes)
        self.templates = nn.Parameter(templates.clone())
        self.block_size = block_size
        self.ratio = ratio
        self.temperature = temperature
        self.rescale = rescale

    def views(self, image: Tensor, partner: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """Overwrite each image with its partner, and with its template.

        Args:
            image: ``b 1 x y z``.
            partner: Another modality at the same place, same shape.
            places: Where, and with which templates.

        Returns:
            The cross-modal and the template view, ``b 1 x y z`` each.
        """
        crossed, distilled = [], []
        for row, sample in enumerate(image):
            mask = self.mask(places.orders[0][row], sample)
            crossed.append(sample * ~mask + partner[row] * mask)
            mask = self.mask(places.orders[1][row], sample)
            fill = self.crop(places.templates[row], places.corners[row], sample.shape[1:])
            distilled.append(sample * ~mask + fill * mask)
        return torch.stack(crossed), torch.stack(distilled)

    def mask(self, order: Tensor, sample: Tensor) -> Tensor:
        """Hide the first blocks of an order, ``1 x y z``, bool."""
        edge = self.block_size
        x, y, z = (side // edge for side in sample.shape[1:])
        is_hidden = torch.zeros(x * y * z, dtype=torch.bool, device=sample.device)
        is_hidden[order[: round(len(is_hidden) * self.ratio)]] = True
        blocks = is_hidden.view(x, 1, y, 1, z, 1).expand(-1, edge, -1, edge, -1, edge)
        return blocks.reshape(sample.shape)

    def crop(self, index: int, corner: Sequence[int], size: Sequence[int]) -> Tensor:
        """Cut a crop out of a template, rescaled as a whole, ``x y z``."""
        volume = self.templates[index]
        if self.rescale == "minmax":
            volume = (volume - volume.min()) / (volume.max() - volume.min() + RANGE_EPS)
        x, y, z = (slice(low, low + side) for low, side in zip(corner, size, strict=True))
        return volume[x, y, z]

    def losses(self, image: Tensor, crossed: Tensor, distilled: Tensor) -> dict[str, Tensor]:
        """Return the three terms, each a scalar; the published total is their sum.

        Source:
            BrainMVP, equations 2 to 6.
        """
        features = self.encoder(torch.cat([crossed, distilled]))
        first, second = features.chunk(2)
        return {
            "cross_modal": functional.mse_loss(self.decoder(first), image),
            "distillation": functional.mse_loss(self.decoder(second), image),
            "contrast": contrast(first, second, self.temperature),
        }

    def optimizer(self, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
        """Return AdamW as torch chooses it, without weight decay of the templates."""
        network = [*self.encoder.parameters(), *self.decoder.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": network},
            {"params": [self.templates], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay)


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Contrast the flattened maps of both views in the batch, in both directions, a scalar."""
    first = functional.normalize(first.flatten(1), dim=1)
    second = functional.normalize(second.flatten(1), dim=1)
    logits = first @ second.T / temperature
    own = torch.arange(len(first), device=first.device)
    forth = functional.cross_entropy(logits, own)
    back = functional.cross_entropy(logits.T, own)
    return (forth + back) / 2
