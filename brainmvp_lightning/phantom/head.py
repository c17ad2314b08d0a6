"""What surrounds the brain: water, skull, scalp, face and neck, invented around its outline.

The templates hold the bare brain. Distances from its hull give the calvarium and the scalp;
below the brain a block of muscle with fat planes, air cavities and orbits stands for face and neck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_lightning.phantom.fields import distance_to, ellipsoid, inside, shell, smooth_noise
from brainmvp_lightning.phantom.grids import Floats, Grid

Mask = NDArray[np.bool_]

_SEED = 7  # the template's head is the same in every cohort
# Gaps of the brain narrower than twice this are inside the skull: above the skull base, below it.
_HULL_MM = 16.0
_BASE_HULL_MM = 5.0
_BASE_Z_MM = -14.0
_BONE_MM = 5.6
_FAT_MM = 4.0
_MUSCLE_MM = 0.8
_SKIN_MM = 1.9
# The section of the head at this height continues downwards as face and neck.
_SECTION_Z_MM = -8.0
# Centre and radii, MNI mm: nasal cavity, sphenoid sinus, throat, then both maxillary sinuses,
# frontal sinuses and mastoid cells.
_MIDLINE_AIR = (
    ((0, 58, -46), (9, 24, 17)),
    ((0, 24, -33), (11, 10, 7)),
    ((0, 20, -66), (8, 11, 14)),
)
_PAIRED_AIR = (
    ((27, 52, -60), (12, 15, 13)),
    ((9, 76, -20), (7, 4, 9)),
    ((52, -30, -46), (7, 9, 10)),
)
_ORBIT = ((31, 54, -36), (16, 20, 15))
_EYE = ((32, 59, -36), (12, 12, 12))


@dataclass(frozen=True, eq=False)
class _Space:
    """What all steps need: the grid, its spacing, random fields of a long and a short scale."""

    grid: Grid
    spacing_mm: float
    coarse: Floats
    fine: Floats

    def blob(self, centre: tuple[float, ...], radii: tuple[float, ...]) -> Floats:
        return ellipsoid(self.grid.axes_mm(), centre, radii, 1 + self.spacing_mm)


def extend_to_head(is_brain: Mask, grid: Grid) -> dict[str, Floats]:
    """Return the shares of water, bone, fat, soft tissue and dura around the brain.

    They do not know about the brain's own tissues: multiply by the share of non-brain.
    """
    rng = np.random.default_rng(_SEED)
    spacing_mm = float(grid.spacing_mm[0])
    coarse = smooth_noise(rng, grid.shape, 45, spacing_mm)[0]
    space = _Space(grid, spacing_mm, coarse, smooth_noise(rng, grid.shape, 11, spacing_mm)[0])
    cranium = _cranium(is_brain, space)
    outline = _outline(cranium, space)
    head = _skull(cranium, space)
    scalp = _scalp(outline, space)
    filling = _face_and_neck(outline, space)
    free = 1 - head["csf"] - head["bone"] - head["fat"]
    for name in ("bone", "fat", "soft", "csf"):
        head[name] = head.get(name, 0) + free.clip(0, 1) * (scalp.get(name, 0) + filling[name])
    return head


def _close(mask: Mask, radius_mm: float, spacing_mm: float) -> Mask:
    """Fill gaps narrower than twice the radius."""
    swollen = distance_to(mask, spacing_mm) <= radius_mm
    closed: Mask = distance_to(~swollen, spacing_mm) > radius_mm
    return closed | mask


def _smooth(mask: Mask, spacing_mm: float) -> Mask:
    """Round bumps of a few millimetres, such as gyri that show through."""
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 4.0 / spacing_mm)
    smooth: Mask = soft > 0.5
    return smooth


def _cranium(is_brain: Mask, space: _Space) -> Mask:
    """Return the space inside the skull."""
    z_mm = space.grid.axes_mm()[2]
    wide = _close(is_brain, _HULL_MM, space.spacing_mm) & (z_mm > _BASE_Z_MM)
    rough = wide | _close(is_brain, _BASE_HULL_MM, space.spacing_mm)
    return _smooth(rough, space.spacing_mm) | is_brain


def _outline(cranium: Mask, space: _Space) -> Mask:
    """Return skull, face and neck without the scalp."""
    x_mm, y_mm, z_mm = space.grid.axes_mm()
    outline: Mask = distance_to(cranium, space.spacing_mm) <= _BONE_MM + 0.6
    level = int(np.abs(z_mm.ravel() - _SECTION_Z_MM).argmin())
    section = ndimage.binary_fill_holes(outline[:, :, level])[:, :, None]
    # Cheeks and nape draw in on the way down.
    depth_mm = np.clip(-36 - z_mm, 0, None)
    front_mm, back_mm = 90.0, -112 + 0.9 * depth_mm
    along = (y_mm - (front_mm + back_mm) / 2) / ((front_mm - back_mm) / 2)
    across = x_mm / (80 - 0.3 * depth_mm)
    is_inside = np.abs(along) ** 2.5 + np.abs(across) ** 2.5 < 1
    return _smooth(outline | (section & (z_mm < _SECTION_Z_MM) & is_inside), space.spacing_mm)


def _skull(cranium: Mask, space: _Space) -> dict[str, Floats]:
    """Return water around the brain, dura, and the bone with its fatty marrow."""
    distance = distance_to(cranium, space.spacing_mm)
    inner = 0.6 + 0.3 * space.coarse.clip(-1, 1)
    outer = _BONE_MM + 0.6 + 0.8 * space.coarse.clip(-2, 2)
    bone = shell(distance, inner, outer, space.spacing_mm)
    marrow = shell(distance, inner + 1.8, outer - 1.6, space.spacing_mm)
    marrow *= (0.6 + 0.4 * space.fine).clip(0, 1)
    water = shell(distance, -1.0, inner, space.spacing_mm)
    water[cranium] = 1
    dura = 0.35 * shell(distance, inner - 0.4, inner + 0.4, space.spacing_mm)
    return {"csf": water, "dura": dura, "bone": bone - marrow, "fat": 0.9 * marrow}


def _scalp(outline: Mask, space: _Space) -> dict[str, Floats]:
    """Return fat under the skin, thin muscle and skin."""
    distance = distance_to(outline, space.spacing_mm)
    fat_mm = _FAT_MM + 0.6 * space.coarse.clip(-2, 2)
    fat = shell(distance, 0.0, fat_mm, space.spacing_mm) * (0.8 + 0.2 * space.fine).clip(0, 1)
    muscle = shell(distance, fat_mm, fat_mm + _MUSCLE_MM, space.spacing_mm)
    skin_mm = fat_mm + _MUSCLE_MM
    skin = shell(distance, skin_mm, skin_mm + _SKIN_MM, space.spacing_mm)
    return {"fat": fat, "soft": 0.5 * muscle + skin}


def _face_and_neck(outline: Mask, space: _Space) -> dict[str, Floats]:
    """Return muscle with fat planes, cavities with bony walls, and orbits inside the outline."""
    whole = outline.astype(np.float32)
    air, wall = _cavities(space)
    orbit = _pair(space, *_ORBIT) * whole
    eye = _pair(space, *_EYE) * whole
    wall = wall * whole * (1 - air) * (1 - orbit)
    air = air * whole * (1 - orbit)
    # Planes of fat lie where a random field crosses zero, so that they bound closed bundles.
    distance: Floats = np.abs(space.fine + np.float32(0.4) * space.coarse)
    planes = 0.75 * inside(distance - 0.2, 0.4)
    solid = whole * (1 - air) * (1 - wall) * (1 - orbit)
    fat = solid * planes + orbit * 0.8 * (1 - eye)
    return {"bone": wall, "fat": fat, "soft": solid * (1 - planes), "csf": eye}


def _cavities(space: _Space) -> tuple[Floats, Floats]:
    """Return the air of nose, sinuses, throat and mastoids, and their bony walls."""
    air = np.zeros(space.grid.shape, np.float32)
    walled = np.zeros(space.grid.shape, np.float32)
    rooms = [(centre, radii, False) for centre, radii in _MIDLINE_AIR]
    rooms += [(centre, radii, True) for centre, radii in _PAIRED_AIR]
    for centre, radii, is_paired in rooms:
        draw = _pair if is_paired else _Space.blob
        np.maximum(air, draw(space, centre, radii), out=air)
        thick = tuple(radius + 2.5 for radius in radii)
        np.maximum(walled, draw(space, centre, thick), out=walled)
    cells = np.clip(1.2 - 1.5 * space.fine, 0, 1)  # thin septa divide the cavities
    return air * cells, walled


def _pair(space: _Space, centre: tuple[float, ...], radii: tuple[float, ...]) -> Floats:
    """Return the same blob on both sides."""
    x, y, z = centre
    right: Floats = np.maximum(space.blob((x, y, z), radii), space.blob((-x, y, z), radii))
    return right
