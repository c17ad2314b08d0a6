"""From an ideal image to the voxels of a file: sampling, noise, skull stripping, grey levels."""

from __future__ import annotations

import numpy as np

from brainmvp_lightning.phantom.body import Body
from brainmvp_lightning.phantom.contrasts import WHITE_LEVEL
from brainmvp_lightning.phantom.grids import Floats, resample
from brainmvp_lightning.phantom.sites import Placement

# Signal-to-noise ratio of white matter in a voxel of 1 mm3.
_SNR = (22.0, 45.0)
# Larger voxels have less noise, but pictures of coarse cohorts should not look drawn.
_NOISE_FACTOR = (0.5, 1.25)
_DIFFUSION_NOISE = 0.055  # 1e-3 mm2/s


def acquire(
    image: Floats,
    body: Body,
    placement: Placement,
    modality: str,
    is_stripped: bool,
    rng: np.random.Generator,
) -> Floats:
    """Sample a rendered image on the grid of a series and bring it to the grey levels of files.

    Args:
        image: From `contrasts.render`, on the body's grid.
        body: Whose image it is.
        placement: Grid and motion of the series.
        modality: Decides about noise and grey level.
        is_stripped: Whether to blank all but the brain.
        rng: Source of the noise.
    """
    sampled = resample(image, body.grid, placement.grid, placement.motion)
    if modality == "adc":
        values = _noisy_diffusion(sampled, rng) * np.float32(1000)
    else:
        voxel_mm3 = float(placement.grid.spacing_mm.prod())
        deviation = np.clip(voxel_mm3**-0.5, *_NOISE_FACTOR) / rng.uniform(*_SNR)
        deviation *= 1.4 if modality == "dwi" else 1.0
        values = _rician(sampled, float(deviation), rng) * np.float32(WHITE_LEVEL[modality])
    if is_stripped:
        values *= resample(body.brain, body.grid, placement.grid, placement.motion) > 0.5
    return values


def _rician(image: Floats, deviation: float, rng: np.random.Generator) -> Floats:
    """Return the magnitude of the signal with complex Gaussian noise."""
    real = rng.standard_normal(image.shape, dtype=np.float32)
    real *= np.float32(deviation)
    real += image
    imaginary = rng.standard_normal(image.shape, dtype=np.float32)
    imaginary *= np.float32(deviation)
    return np.hypot(real, imaginary)


def _noisy_diffusion(image: Floats, rng: np.random.Generator) -> Floats:
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noisy = image + np.float32(_DIFFUSION_NOISE) * noise
    return np.where(image > 0.1, noisy, np.float32(0)).clip(0, 4)
