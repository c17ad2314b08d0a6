"""How far reconstructed images are from the true ones, sample by sample."""

from __future__ import annotations

from torch import Tensor

from brainmvp_lightning.losses.precision import at_least_float32


def mean_squared_error(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared error of each sample, ``b``, in float32 or finer.

    Args:
        prediction: Reconstructed images, ``b c x y z``.
        target: True images, ``b c x y z``.
        mask: Voxels to count, ``b 1 x y z``; all if none is given. A sample without any counts 0.

    Source:
        BrainMVP, equations 2 and 3, taken as the mean over all voxels as in the published code.
    """
    return _mean(_difference(prediction, target).square(), mask)


def mean_absolute_error(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean absolute error of each sample; arguments as in `mean_squared_error`."""
    return _mean(_difference(prediction, target).abs(), mask)


def _difference(prediction: Tensor, target: Tensor) -> Tensor:
    if prediction.shape != target.shape:
        raise ValueError(
            f"a reconstruction of shape {tuple(prediction.shape)} cannot be compared with an image "
            f"of shape {tuple(target.shape)}"
        )
    return at_least_float32(prediction) - at_least_float32(target)


def _mean(errors: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return errors.flatten(1).mean(dim=1)
    counted = mask.expand_as(errors).flatten(1)
    total = (errors.flatten(1) * counted).sum(dim=1)
    return total / counted.sum(dim=1).clamp(min=1)
