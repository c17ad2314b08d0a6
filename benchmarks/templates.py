"""Views filled from templates, batched against one sample after the other.

The rival slices each sample's crop from its template and, as the published code does, scales that
whole template to [0, 1] first. Forward is the filled view; backward its gradient to the templates.

Run: python benchmarks/templates.py [--batch 3] [--shape 240 240 155] [--rounds 5] [--device cpu]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from timing import describe, median_ms, print_table
from torch import Tensor

from brainmvp_lightning.methods.templates import (
    PUBLISHED_MODALITIES,
    ModalityTemplates,
    Rescale,
)

RESCALES: tuple[Rescale, ...] = ("raw", "clamp", "minmax")


class Case:
    """A batch of images, masks and places, and both ways to fill it."""

    def __init__(self, num: int, side: int, shape: list[int], device: str) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(highs: list[int], lows: list[int]) -> Tensor:
            axes = [
                torch.randint(low, high + 1, (num,), generator=generator)
                for low, high in zip(lows, highs, strict=True)
            ]
            return torch.stack(axes, dim=1).to(device)

        self.size = (side, side, side)
        self.templates = {
            rescale: ModalityTemplates(
                PUBLISHED_MODALITIES, (shape[0], shape[1], shape[2]), rescale
            ).to(device)
            for rescale in RESCALES
        }
        self.indices = draw([len(PUBLISHED_MODALITIES) - 1], [0])[:, 0]
        self.origins = draw([n - n // 2 - side for n in shape], [-(n // 2) for n in shape])
        self.image = torch.rand(num, 1, *self.size, device=device)
        self.mask = torch.rand(num, 1, *self.size, device=device) < 0.875
        for templates in self.templates.values():
            torch.nn.init.uniform_(templates.values)

    def batched(self, rescale: Rescale) -> Tensor:
        """Fill all at once."""
        fill = self.templates[rescale].crop(self.indices, self.origins, self.size)
        return torch.where(self.mask, fill, self.image)

    def loop(self, rescale: Rescale) -> Tensor:
        """Fill one after the other."""
        templates = self.templates[rescale]
        corners = (self.origins + templates.reference_voxel).tolist()
        views = []
        for row, (index, corner) in enumerate(zip(self.indices.tolist(), corners, strict=True)):
            volume = templates.values[index]
            if rescale == "clamp":
                volume = volume.clamp(0, 1)
            if rescale == "minmax":
                volume = (volume - volume.min()) / (volume.max() - volume.min() + 1e-9)
            x, y, z = (slice(n, n + side) for n, side in zip(corner, self.size, strict=True))
            views.append(torch.where(self.mask[row], volume[x, y, z], self.image[row]))
        return torch.stack(views)

    def with_backward(self, fill: Callable[[Rescale], Tensor], rescale: Rescale) -> None:
        """Fill, then make the gradient of the templates."""
        self.templates[rescale].values.grad = None
        fill(rescale).backward(self.image)


def main() -> None:
    """Print times and their ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[3])
    parser.add_argument("--size", type=int, default=96, help="edge of the crop in voxels")
    parser.add_argument("--shape", type=int, nargs=3, default=[240, 240, 155])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[tuple[str | int | float, ...]] = []
    for num in options.batch:
        case = Case(num, options.size, options.shape, options.device)
        for rescale in RESCALES:
            rows.extend(_rows(case, rescale, num, options.rounds, options.device))
    shape = "x".join(map(str, options.shape))
    print(
        f"\n{len(PUBLISHED_MODALITIES)} templates of {shape}, crops of {options.size}^3, medians "
        f"of {options.rounds} rounds, {describe(options.device)}\n"
    )
    print_table(("rescale", "pass", "batch", "batched ms", "loop ms", "loop / batched"), rows)


def _rows(
    case: Case, rescale: Rescale, num: int, num_rounds: int, device: str
) -> list[tuple[str | int | float, ...]]:
    if not torch.allclose(case.batched(rescale), case.loop(rescale), atol=1e-6):
        raise AssertionError(f"both ways to fill with {rescale!r} templates must agree")
    rows: list[tuple[str | int | float, ...]] = []
    passes: dict[str, dict[str, Callable[[], object]]] = {
        "forward": {
            "batched": lambda: case.batched(rescale),
            "loop": lambda: case.loop(rescale),
        },
        "forward + backward": {
            "batched": lambda: case.with_backward(case.batched, rescale),
            "loop": lambda: case.with_backward(case.loop, rescale),
        },
    }
    for name, rivals in passes.items():
        taken = median_ms(rivals, num_rounds=num_rounds, device=device)
        ratio = taken["loop"] / taken["batched"]
        rows.append((rescale, name, num, taken["batched"], taken["loop"], ratio))
    return rows


if __name__ == "__main__":
    main()
