"""Smooth deformations of the cube: applying, inverting and finding them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CUBE_EDGE = 256.0
"""Edge of the cube in mm."""

GRID = 32
"""Edge of the grid (8 mm spacing) on which a displacement field is stored."""

WORKING = 64
"""Edge of the grid (4 mm) at which heads are registered."""

SCHEDULE = ((8, 16, 30), (16, 32, 40), (GRID, 32, 30), (GRID, WORKING, 15))
"""Edges of the grid of displacements and of the volumes, and steps, from coarse to fine."""

RATE_MM = 0.8
"""Length of a step of the registration along each axis, at most and at first."""

_SLAB = 32  # points of the first axis that are looked up at a time: a cube at 1 mm has 17 million


def upsample(field: Tensor, n: int) -> Tensor:
    """Displacement field (1, 3, g, g, g) on ``n`` points an edge, linear."""
    return F.interpolate(field, size=(n, n, n), mode='trilinear', align_corners=False)


def smooth(field: Tensor) -> Tensor:
    """Displacement field (B, 3, g, g, g), smoothed: 1, 2, 1 along each axis, a Gaussian of 0.7 nodes."""
    padded = F.pad(field, (1,) * 6, mode='replicate')
    return F.avg_pool3d(F.avg_pool3d(padded, 2, 1), 2, 1)


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


def deform(volume: Tensor, displacement_mm: Tensor) -> Tensor:
    """Volume (B, C, n, n, n) at points displaced by a field (B, 3, g, g, g); same shape as the volume."""
    n = volume.shape[-1]
    field = upsample(displacement_mm, n)
    whole = slice(None)
    slabs = [slice(start, min(start + _SLAB, n)) for start in range(0, n, _SLAB)]
    return torch.cat([sample(volume, field, (slab, whole, whole)) for slab in slabs], 2)


def invert(displacement_mm: Tensor, *, iterations: int = 15) -> Tensor:
    """Displacement ``e`` that undoes ``d``: ``e(y) = -d(y + e(y))``; shape (B, 3, g, g, g) both."""
    inverse = torch.zeros_like(displacement_mm)
    for _ in range(iterations):
        inverse = -sample(displacement_mm, inverse)
    return inverse


def mirror(displacement_mm: Tensor) -> Tensor:
    """Displacement (B, 3, g, g, g) of the mirror image (left and right exchanged)."""
    sign = displacement_mm.new_tensor([-1.0, 1, 1]).view(1, 3, 1, 1, 1)
    return displacement_mm.flip(2) * sign


@torch.enable_grad()
def find_warp(head: Tensor, template: Tensor, *, stiffness: float = 4e-4) -> Tensor:
    """Smooth displacement that takes points of a head to a template.

    Least squares of intensities under a penalty on the gradient of the displacement, from coarse to fine.

    Parameters
    ----------
    head, template : Tensor of float32, shape (1, 1, 64, 64, 64)
        Cubes at 4 mm, RAS axis order.
    stiffness : float
        Weight of the penalty.

    Returns
    -------
    displacement : Tensor of float32, shape (1, 3, 32, 32, 32)
        ``d(x)`` in mm (RAS), on the 8 mm grid: ``head(x)`` corresponds to ``template(x + d(x))``.
    """
    pair = [volume.detach().float().clamp_min(0).sqrt() for volume in (head, template)]
    field = torch.zeros(1, 3, *(SCHEDULE[0][0],) * 3, device=head.device)
    for nodes, n, steps in SCHEDULE:
        target, moving = (F.adaptive_avg_pool3d(volume, n) for volume in pair)
        field = upsample(field, nodes)
        mean, square = torch.zeros_like(field), torch.zeros_like(field)
        for step in range(1, steps + 1):
            field.requires_grad_()
            error = F.mse_loss(sample(moving, upsample(field, n)), target)
            bend = (
                sum(torch.diff(field, dim=axis).square().mean() for axis in (2, 3, 4)) * (nodes / GRID) ** 2
            )
            (gradient,) = torch.autograd.grad(error + stiffness * bend, field)
            # Adam (Kingma and Ba, ICLR 2015): that of torch.optim takes longer to import than all this
            mean = mean.lerp(gradient, 0.1)
            square = square.lerp(gradient.square(), 0.001)
            spread = (square / (1 - 0.999**step)).sqrt() + 1e-8
            field = field.detach() - RATE_MM * mean / (1 - 0.9**step) / spread
    return field
