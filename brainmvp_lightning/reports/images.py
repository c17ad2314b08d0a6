"""Pictures as small files for a page."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

_WIDEST = 1400
_QUALITY = 82

# Colours of label values 1, 2, ...: told apart by people with any colour vision (Okabe and Ito).
# Annotations are cool, predictions warm, so that both can lie over one image.
ANNOTATION_COLOURS = ((86, 180, 233), (0, 158, 115), (0, 114, 178), (148, 203, 236))
PREDICTION_COLOURS = ((230, 159, 0), (213, 94, 0), (204, 121, 167), (240, 228, 66))


def shrink_picture(path: Path) -> bytes:
    """Return a picture of a run as WebP of moderate width.

    Raises:
        ValueError: If it is damaged or no picture.
    """
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise ValueError("it is no picture, or cut off") from error
    if picture.width > _WIDEST:
        height = round(picture.height * _WIDEST / picture.width)
        picture = picture.resize((_WIDEST, height), Image.Resampling.LANCZOS)
    return _encode(picture)


def draw_planes(
    image: NDArray[np.uint8],
    overlays: Mapping[str, NDArray[np.uint8]],
    voxel_mm: tuple[float, float, float],
    height: int = 160,
) -> bytes:
    """Draw the three planes through the middle of what is annotated; one row for each overlay.

    Front and top are up, right is right. The first row is the bare image.

    Args:
        image: ``x y z`` in RAS+, 0 to 255.
        overlays: Label maps on the same voxels, ``annotation`` and ``prediction``.
        voxel_mm: Edges of a voxel, so that nothing looks stretched.
        height: Pixels of a row.
    """
    place = focus(image, overlays)
    colours = {"annotation": ANNOTATION_COLOURS, "prediction": PREDICTION_COLOURS}
    rows = [_row(_planes(image[..., None].repeat(3, axis=3), place), voxel_mm, height)]
    for name, label in overlays.items():
        painted = paint(image, label, colours[name])
        rows.append(_row(_planes(painted, place), voxel_mm, height))
    sheet = Image.new("RGB", (max(row.width for row in rows), height * len(rows)))
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * height))
    return _encode(sheet)


def focus(
    image: NDArray[np.uint8], overlays: Mapping[str, NDArray[np.uint8]]
) -> tuple[int, int, int]:
    """Return the voxel where most of the first overlay with anything in it lies."""
    for label in overlays.values():
        if label.any():
            x, y, z = (
                int((label > 0).sum(axis=tuple(a for a in range(3) if a != axis)).argmax())
                for axis in range(3)
            )
            return x, y, z
    x, y, z = (size // 2 for size in image.shape)
    return x, y, z


def paint(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    colours: tuple[tuple[int, int, int], ...],
    opacity: float = 0.6,
) -> NDArray[np.uint8]:
    """Return an image with a label map over it, ``x y z 3``."""
    grey = image[..., None].repeat(3, axis=3).astype(np.float32)
    table = np.array(colours, np.float32)
    painted = (1 - opacity) * grey + opacity * table[(label.astype(np.int64) - 1) % len(table)]
    chosen: NDArray[np.uint8] = np.where(label[..., None] > 0, painted, grey).astype(np.uint8)
    return chosen


def _planes(volume: NDArray[np.uint8], place: tuple[int, int, int]) -> list[tuple[str, NDArray]]:  # type: ignore[type-arg]
    x, y, z = place
    return [("xy", volume[:, :, z]), ("xz", volume[:, y]), ("yz", volume[x])]


def _row(
    planes: list[tuple[str, NDArray]],  # type: ignore[type-arg]
    voxel_mm: tuple[float, float, float],
    height: int,
) -> Image.Image:
    edges = dict(zip("xyz", voxel_mm, strict=True))
    tiles = []
    for axes, plane in planes:
        picture = Image.fromarray(np.ascontiguousarray(plane.swapaxes(0, 1)[::-1]))
        wide, high = plane.shape[0] * edges[axes[0]], plane.shape[1] * edges[axes[1]]
        width = max(1, round(height * wide / high))
        tiles.append(picture.resize((width, height), Image.Resampling.BILINEAR))
    row = Image.new("RGB", (sum(tile.width + 4 for tile in tiles) - 4, height))
    left = 0
    for tile in tiles:
        row.paste(tile, (left, 0))
        left += tile.width + 4
    return row


def _encode(picture: Image.Image) -> bytes:
    """Return WebP without metadata, which could name a machine or a person."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue()
