"""Diffeomorphic registration of volumes on one grid: greedy, by demons forces of several channels.

A field holds displacements in voxels of its grid: the result at ``x`` is the moving volume at ``x + d(x)``.
Updates are composed, not added, and smoothed before (fluid) and after (elastic), so that the map stays
invertible. Forces may be computed on a grid twice as fine as that of the field: the field is smooth anyway,
and most of the time goes into it.

References
----------
Vercauteren et al., Diffeomorphic demons, NeuroImage 2009; Yushkevich et al., greedy, 2016.
"""

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FLOOR = 1e-3  # squared gradient below which nothing is matched: that of noise
STEP_VOXELS = 0.5  # longest update of one iteration
# By which a field is inverted, damped at first: how many at most, and the change that ends them
ITERATIONS, EXACT_VOXELS = 20, 1e-3


@dataclass(frozen=True)
class Level:
    """One level of the pyramid."""

    pool: int  # volumes are averaged over blocks of so many voxels
    field: int  # voxels of the volume along one of the field; a multiple of `pool`
    iterations: int
    # fluid, elastic: standard deviations of the Gaussians on updates and on the field, in its voxels
    fluid: float = 1.5
    elastic: float = 0.5


def gaussian(volume: Tensor, sigma: float) -> Tensor:
    """Smooth (B, C, X, Y, Z) along all axes; edges are repeated. ``sigma`` in voxels."""
    x, y, z = (_blur_matrix(n, sigma).to(volume) for n in volume.shape[2:])
    # dense products: three times faster on CPUs than convolutions with one channel
    volume = volume @ z.T
    volume = y @ volume
    return (x @ volume.flatten(3)).view_as(volume)


@functools.cache
def _blur_matrix(n: int, sigma: float) -> Tensor:
    radius = max(1, int(3 * sigma + 0.5))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    line = line / line.sum()
    matrix = torch.zeros(n, n)
    rows = torch.arange(n)
    for offset, weight in zip(range(-radius, radius + 1), line, strict=True):
        matrix[rows, (rows + offset).clamp(0, n - 1)] += weight
    return matrix


def points(shape: tuple[int, ...]) -> Tensor:
    """Voxel indices (1, 3, X, Y, Z) as float."""
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing='ij'))[None]


def sample(volume: Tensor, field: Tensor, corner: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
    """Volume (1, C, X, Y, Z) at points displaced by a field (1, 3, x, y, z) in voxels; edges are repeated.

    ``corner`` is the voxel of the volume at which a field begins that covers a part of it.
    """
    shape = field.shape[2:]
    grid = field.new_empty(shape[0], 1, *shape[1:], 3)
    for axis, size in enumerate(volume.shape[2:]):
        line = torch.arange(shape[axis], device=field.device, dtype=field.dtype) + corner[axis]
        line = line.view([-1 if other == axis else 1 for other in range(3)])
        torch.add(line, field[0, axis], out=grid[:, 0, ..., 2 - axis])
        grid[..., 2 - axis].mul_(2.0 / max(size - 1, 1)).sub_(1)
    # plane by plane: on CPUs, torch gives each thread some of a batch
    planes = volume.expand(shape[0], *volume.shape[1:])
    planes = F.grid_sample(planes, grid, padding_mode='border', align_corners=True)
    return planes[:, :, 0].transpose(0, 1)[None]


def resize(field: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Field on another grid over the same box; displacements stay in voxels of the respective grid."""
    if tuple(field.shape[2:]) == tuple(shape):
        return field
    factor = torch.tensor([n / m for n, m in zip(shape, field.shape[2:], strict=True)], device=field.device)
    resized = F.interpolate(field, size=tuple(shape), mode='trilinear', align_corners=False)
    return resized * factor.view(1, 3, 1, 1, 1)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Field of ``x -> y + first(y)`` at ``y = x + second(x)``, both on one grid."""
    return second + sample(first, second)


def invert(field: Tensor) -> Tensor:
    """Field ``e`` that undoes ``d``, by iteration: ``e(y) = -d(y + e(y))``."""
    inverse = torch.zeros_like(field)
    for damping in (0.5, 1.0):
        for _ in range(ITERATIONS):
            change = damping * (sample(field, inverse) + inverse)
            inverse = inverse - change
            if change.abs().max() < EXACT_VOXELS:
                break
    return inverse


def mirror(field: Tensor) -> Tensor:
    """Field of the mirror image, left and right exchanged; the grid is centred on the midline."""
    return field.flip(2) * field.new_tensor([-1.0, 1, 1]).view(1, 3, 1, 1, 1)


def gradient(volume: Tensor) -> Tensor:
    """Central differences (B, C, 3, X, Y, Z) in units per voxel; 0 at the edges."""
    result = volume.new_zeros(*volume.shape[:2], 3, *volume.shape[2:])
    for axis in range(3):
        n = volume.shape[2 + axis]
        inner = result[:, :, axis].narrow(2 + axis, 1, n - 2)
        torch.sub(volume.narrow(2 + axis, 2, n - 2), volume.narrow(2 + axis, 0, n - 2), out=inner).mul_(0.5)
    return result


def expansion(field: Tensor) -> Tensor:
    """Determinant of the Jacobian (B, X, Y, Z) of a field: 1 keeps volumes, below 0 the map folds."""
    jacobian = gradient(field).movedim((1, 2), (-2, -1))
    return torch.linalg.det(jacobian + torch.eye(3, device=field.device))


@torch.no_grad()
def register(
    fixed: Tensor,
    moving: Tensor,
    levels: tuple[Level, ...],
    *,
    weights: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Field that brings a moving volume onto a fixed one.

    Parameters
    ----------
    fixed, moving : Tensor of float32, shape (1, C, X, Y, Z)
        Channels in comparable units: each counts by its square.
    levels : tuple of Level
        From coarse to fine.
    weights : Tensor of float32, shape (1, C, X, Y, Z), optional
        On the grid of the moving volume: 0 where it knows nothing.
    start : Tensor, shape (1, 3, x, y, z), optional
        Field to begin with.

    Returns
    -------
    field : Tensor of float32, shape (1, 3, x, y, z)
        On the grid of the last level, in its voxels.
    """
    shape = tuple(n // levels[0].field for n in fixed.shape[2:])
    field = fixed.new_zeros(1, 3, *shape) if start is None else start
    for level in levels:
        target, source = (F.avg_pool3d(volume, level.pool) for volume in (fixed, moving))
        known = None if weights is None else F.avg_pool3d(weights, level.pool)
        shape = tuple(n // level.field for n in fixed.shape[2:])
        ratio = level.field // level.pool
        field = resize(field, shape)
        slope = gradient(target)
        inside = None
        for number in range(level.iterations):
            fine = resize(field, target.shape[2:])
            warped = sample(source, fine)
            if known is not None and number % 5 == 0:
                inside = sample(known, fine)
            difference = target - warped
            if inside is not None:
                difference = difference * inside
            toward = 0.5 * (slope + gradient(warped))
            push = target.new_zeros(1, 3, *target.shape[2:])
            size = target.new_full((1, 1, *target.shape[2:]), FLOOR)
            for c in range(fixed.shape[1]):
                push += difference[:, c : c + 1] * toward[:, c]
                size += toward[:, c].square().sum(1, keepdim=True)
            size += difference.square().sum(1, keepdim=True) / (4 * STEP_VOXELS**2)
            update = push / size
            if ratio > 1:
                update = F.avg_pool3d(update, ratio) / ratio
            update = gaussian(update, level.fluid)
            field = gaussian(compose(field, update), level.elastic)
    return field
