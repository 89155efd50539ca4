"""Deformations to the mean head: what turns a list of heads into a space of heads.

With a smooth warp from every head to the mean, a head can be given part of the shape of another one (see
`cpmae_bids.training.augment`). The warps are found once, at 4 mm.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CUBE_EDGE = 256.0
"""Edge of the cube in mm."""

GRID = 32
"""Edge of the grid (8 mm spacing) on which a displacement field is stored."""


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


def upsample(field: Tensor, n: int) -> Tensor:
    """Displacement field (1, 3, g, g, g) on ``n`` points an edge, linear."""
    return F.interpolate(field, size=(n, n, n), mode='trilinear', align_corners=False)


def sample(
    volume: Tensor, displacement_mm: Tensor, region: tuple[slice, slice, slice] | None = None
) -> Tensor:
    """Volume at displaced points.

    Parameters
    ----------
    volume : Tensor, shape (B, C, m, m, m)
        Any resolution; its edges are those of the cube.
    displacement_mm : Tensor, shape (B, 3, n, n, n)
        Displacement (x, y, z) in mm at the points of the result.
    region : tuple of slice, optional
        Part of the n^3 points to compute.

    Returns
    -------
    sampled : Tensor, shape (B, C, n, n, n), or that of the region
    """
    n = displacement_mm.shape[-1]
    region = region or (slice(None),) * 3
    axis = (torch.arange(n, device=volume.device) + 0.5) * (2 / n) - 1
    base = torch.stack(torch.meshgrid(*[axis[part] for part in region], indexing='ij'))[None]
    displacement = displacement_mm[(slice(None), slice(None), *region)] * (2 / CUBE_EDGE)
    grid = (base + displacement).flip(1).movedim(1, -1)  # grid_sample wants the last axis first
    return F.grid_sample(volume, grid, padding_mode='border', align_corners=False)


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
    pair = [torch.from_numpy(np.sqrt(v))[None, None].float() for v in (head, mean)]
    field = torch.zeros(1, 3, 8, 8, 8)
    for nodes, n, steps in ((8, 16, 30), (16, 32, 40), (GRID, 32, 30), (GRID, 64, 15)):
        target, moving = (F.adaptive_avg_pool3d(volume, n) for volume in pair)
        field = upsample(field.detach(), nodes).requires_grad_()
        optimizer = torch.optim.Adam([field], lr=0.8)
        for _ in range(steps):
            error = F.mse_loss(sample(moving, upsample(field, n)), target)
            bend = (
                sum(torch.diff(field, dim=axis).square().mean() for axis in (2, 3, 4)) * (nodes / GRID) ** 2
            )
            optimizer.zero_grad()
            (error + stiffness * bend).backward()
            optimizer.step()
    return field.detach()[0].numpy()
