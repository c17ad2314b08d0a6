"""Images of a body: signals, texture, receive field, and the distortion of echo-planar imaging."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainmvp_lightning.phantom.body import Body
from brainmvp_lightning.phantom.fields import smooth_noise
from brainmvp_lightning.phantom.grids import Floats, Grid
from brainmvp_lightning.phantom.sequences import Sequence, SpinEcho
from brainmvp_lightning.phantom.tissues import INDEX, Numbers, Tissues

MODALITIES = ("t1", "t1ce", "t2", "flair", "pd", "dwi", "adc", "mra")
# Modalities read out by echo-planar imaging, with its blur and distortion.
ECHO_PLANAR = ("dwi", "adc")
# Grey level of white matter in the files, as scanners happen to choose; ADC is in 1e-6 mm2/s.
WHITE_LEVEL = {"t1": 420, "t1ce": 420, "t2": 300, "flair": 260, "pd": 600, "dwi": 180, "mra": 200}

_TEXTURE = ((3.2, 0.016), (18.0, 0.02))  # correlation length mm, relative deviation
_RECEIVE_FIELD_MM = 95.0
_ECHO_PLANAR_BLUR_MM = 0.75
# Distortion along y near air: centre and width, mm, and its peak, mm.
_SUSCEPTIBILITY = (
    ((0, 48, -24), (22, 22, 16), 5.0),
    ((45, -22, -32), (14, 18, 14), 3.0),
    ((-45, -22, -32), (14, 18, 14), 3.0),
)


@dataclass(frozen=True, eq=False)
class Scanner:
    """What all series of one study share.

    Args:
        field_tesla: Field strength; the receive field varies more at 3 T.
        tissues: The person's tissues at that field strength.
        sequences: Protocol by modality, without ADC.
        texture: Relative variation within tissues, ``x y z``.
    """

    field_tesla: float
    tissues: Tissues
    sequences: dict[str, Sequence]
    texture: Floats


def draw_texture(grid: Grid, rng: np.random.Generator) -> Floats:
    """Draw the relative variation of signals within a tissue."""
    spacing_mm = float(grid.spacing_mm[0])
    texture = np.zeros(grid.shape, np.float32)
    for length_mm, deviation in _TEXTURE:
        noise = smooth_noise(rng, grid.shape, length_mm, spacing_mm)[0]
        texture += np.float32(deviation) * noise
    return texture


def render(body: Body, scanner: Scanner, modality: str, rng: np.random.Generator) -> Floats:
    """Return the noise-free image on the body's grid.

    White matter is near 1; ADC is in 1e-3 mm2/s and 0 in air.
    """
    if modality == "adc":
        image = _diffusion_map(body, scanner)
    else:
        image = _weighted(body, scanner, modality)
        image *= _receive_field(body.grid, scanner.field_tesla, rng)
    return _echo_planar(image, body.grid, modality) if modality in ECHO_PLANAR else image


def class_signals(
    scanner_tissues: Tissues, sequence: Sequence, modality: str, inflow: float = 3.2
) -> Numbers:
    """Return the signal of every class relative to white matter.

    Args:
        scanner_tissues: Without contrast agent; it is added for T1CE.
        sequence: Of this modality.
        modality: Decides about flow, magnetisation transfer and fat saturation.
        inflow: Signal of fresh arterial blood in MRA relative to white matter.
    """
    tissues = scanner_tissues.enhanced() if modality == "t1ce" else scanner_tissues
    signals = sequence.signal(tissues)
    white, vessel = signals[INDEX["wm"]], INDEX["vessel"]
    if modality == "mra":
        signals *= 0.55  # magnetisation transfer dims tissue, not fresh blood
        signals[INDEX["fat"]] *= 0.5
        signals[vessel] = inflow * white
    elif modality == "t1":
        signals[vessel] = 0.75 * white
    elif modality != "t1ce" and isinstance(sequence, SpinEcho):
        signals[vessel] *= 0.15  # flow void
    if modality == "dwi":
        signals[INDEX["fat"]] *= 0.12  # fat saturation
        signals[INDEX["soft"]] *= 0.6
    relative: Numbers = signals / white
    return relative


def _weighted(body: Body, scanner: Scanner, modality: str) -> Floats:
    signals = class_signals(scanner.tissues, scanner.sequences[modality], modality)
    image = _mix(body.fractions, signals)
    if modality == "mra":  # a saturation band removes most of the veins
        vessel = INDEX["vessel"]
        image -= np.float32(0.9 * signals[vessel]) * np.minimum(body.vein, body.fractions[vessel])
    # Watery tissue is dark where T1 is weighted and bright where T2 is.
    sign = 1 if modality in ("t1", "t1ce", "mra") else -1
    image *= 1 + np.float32(sign) * scanner.texture
    return image


def _diffusion_map(body: Body, scanner: Scanner) -> Floats:
    filled = body.fractions.sum(axis=0)
    image = _mix(body.fractions, scanner.tissues.diffusion) / filled.clip(1e-3, None)
    image *= 1 + np.float32(1.2) * scanner.texture
    return np.where(filled > 0.3, image, np.float32(0))


def _mix(fractions: Floats, values: Numbers) -> Floats:
    """Sum the classes, each times its value; one by one, so that results repeat bit by bit."""
    image = np.zeros(fractions.shape[1:], np.float32)
    for fraction, value in zip(fractions, values, strict=True):
        image += np.float32(value) * fraction
    return image


def _receive_field(grid: Grid, field_tesla: float, rng: np.random.Generator) -> Floats:
    noise = smooth_noise(rng, grid.shape, _RECEIVE_FIELD_MM, float(grid.spacing_mm[0]))[0]
    deviation = np.float32(0.075 if field_tesla == 3.0 else 0.04)
    field: Floats = np.exp(deviation * noise.clip(-2.2, 2.2))
    return field


def _echo_planar(image: Floats, grid: Grid, modality: str) -> Floats:
    """Blur, shift along y where air is near, and pile up signal where voxels are squeezed."""
    spacing_mm = float(grid.spacing_mm[0])
    blurred = ndimage.gaussian_filter(image, _ECHO_PLANAR_BLUR_MM / spacing_mm)
    shift = _susceptibility_mm(grid) / spacing_mm
    position = np.arange(grid.shape[1], dtype=np.float32)[None, :, None] + shift
    lower = np.floor(position).astype(np.int32).clip(0, grid.shape[1] - 2)
    weight = (position - lower).clip(0, 1).astype(np.float32)
    result = np.take_along_axis(blurred, lower, 1) * (1 - weight)
    result += np.take_along_axis(blurred, lower + 1, 1) * weight
    if modality == "dwi":
        result *= 1 + np.gradient(shift, axis=1)
    distorted: Floats = result.astype(np.float32)
    return distorted


def _susceptibility_mm(grid: Grid) -> Floats:
    shift = np.zeros(grid.shape, np.float32)
    for centre, widths, peak_mm in _SUSCEPTIBILITY:
        terms = [
            ((axis - c) / w) ** 2 for axis, c, w in zip(grid.axes_mm(), centre, widths, strict=True)
        ]
        shift += np.float32(peak_mm) * np.exp(-(terms[0] + terms[1] + terms[2]))
    return shift
