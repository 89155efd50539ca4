"""Deformations to the mean head: what turns a list of heads into a space of heads.

With a smooth warp from every head to the mean, a head can be given part of the shape of another one (see
`cpmae_bids.training.augment`). The warps are found once, at 4 mm.
"""

from __future__ import annotations

import numpy as np
import torch

from cpmae_bids.models.warps import find_warp


def mean_head(volumes: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    """Average of volumes, each where it was seen; float32, shape (n, n, n)."""
    total = np.zeros(volumes[0].shape, np.float32)
    count = np.zeros_like(total)
    for volume, weight in zip(volumes, weights, strict=True):
        total += volume * weight
        count += weight
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def half(volume: np.ndarray) -> np.ndarray:
    """Mean of 2x2x2 blocks."""
    n = volume.shape[0] // 2
    return volume.reshape(n, 2, n, 2, n, 2).mean((1, 3, 5), dtype=np.float32)


def warp_to_mean(head: np.ndarray, mean: np.ndarray, *, stiffness: float = 4e-4) -> np.ndarray:
    """Smooth displacement that takes points of a head to the mean head.

    Least squares of intensities under a penalty on the gradient of the displacement, from coarse to fine.

    Parameters
    ----------
    head, mean : ndarray of float32, shape (64, 64, 64)
        Cubes at 4 mm, RAS axis order.
    stiffness : float
        Weight of the penalty.

    Returns
    -------
    displacement : ndarray of float32, shape (3, 32, 32, 32)
        ``d(x)`` in mm (RAS), on the 8 mm grid of the cube: ``head(x)`` corresponds to ``mean(x + d(x))``.
    """
    pair = [torch.from_numpy(volume)[None, None] for volume in (head, mean)]
    return find_warp(*pair, stiffness=stiffness)[0].numpy()
