"""Draw edges at 1 mm: smooth along them, sharpen across them.

Layers that are thinner than two voxels of 2 mm come out of interpolation as steps and beads. Diffusion along
edges alone (Weickert, Coherence-enhancing diffusion filtering, IJCV 1999) makes them smooth, so that they can
be sharpened afterwards.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cpmae_bids.models.blocks import blocks_of_tissue, inner, scaled
from cpmae_bids.models.diffeomorphism import gaussian

GRADIENT, WINDOW = 1.0, 1.5  # Gaussians of the structure tensor, in voxels of 2 mm
SQUARINGS = 3  # of the tensor: its largest eigenvalue outgrows the others
# Steps of diffusion, in voxels of 1 mm, 1 in all: long and short ones together are stable (Weickert et al.,
# Cyclic schemes for PDE-based image analysis, IJCV 2016)
STEPS = (0.1315, 0.2045, 0.6638)
SHARPEN, FINE = 5.0, 0.7  # share that is added of what is finer than so many voxels of 1 mm
HALO = 3  # voxels of 2 mm that are computed around a block
BLOCK_VOXELS = 400_000  # voxels of 2 mm that are computed at once, with their halo: ten volumes of 10 MB

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
EVERYWHERE = torch.tensor([1.0, 1, 1, 0, 0, 0]).view(1, -1, 1, 1, 1)  # projection onto all directions


def _second_derivatives() -> Tensor:
    """Kernels of xx, yy, zz and of twice xy, xz, yz; shape (6, 1, 3, 3, 3)."""
    kernels = torch.zeros(len(PAIRS), 1, 3, 3, 3)
    line = torch.tensor([[0.0, 1.0, 0.0], [-0.5, 0.0, 0.5], [1.0, -2.0, 1.0]])  # of order 0, 1 and 2
    for number, pair in enumerate(PAIRS):
        x, y, z = (line[pair.count(axis)] for axis in range(3))
        kernels[number, 0] = (1 + (pair[0] != pair[1])) * torch.einsum('i,j,k->ijk', x, y, z)
    return kernels


DERIVATIVES = _second_derivatives()


@torch.no_grad()
def drawn(volume: Tensor, coarse: Tensor) -> Tensor:
    """A head at 1 mm with clean and sharp edges.

    Parameters
    ----------
    volume : Tensor of float32, shape (1, 1, 2 X, 2 Y, 2 Z)
        At 1 mm; air is 0, and stays so.
    coarse : Tensor of float32, shape (1, 1, X, Y, Z)
        The same at 2 mm: it says where edges lead.

    Returns
    -------
    drawn : Tensor of float32, shape (1, 1, 2 X, 2 Y, 2 Z)
        Not negative.
    """
    across = F.pad(normals(coarse), [HALO] * 6, mode='replicate')
    padded = F.pad(volume, [2 * HALO] * 6, mode='replicate')
    result, kernels = torch.zeros_like(volume), DERIVATIVES.to(volume)
    tissue = F.max_pool3d(volume, 2)[0, 0] > 0
    for block in blocks_of_tissue(tissue, HALO, BLOCK_VOXELS):
        direction = across[scaled(block, 1, HALO)]
        direction = F.interpolate(direction, scale_factor=2, mode='trilinear', align_corners=False)
        part = padded[scaled(block, 2, HALO)].clone()
        along = EVERYWHERE.to(volume) - inner(direction, 1)
        for step in STEPS:
            # the second derivatives but for that across the edge
            flow = torch.einsum('bnxyz,bnxyz->bxyz', F.conv3d(part, kernels), along)
            inner(part, 1).add_(flow[:, None], alpha=step)
        part += SHARPEN * (part - gaussian(part, FINE))
        result[scaled(block, 2)] = inner(part, 2 * HALO)
    return result.clamp_(min=0).mul_(volume > 0)


def normals(volume: Tensor) -> Tensor:
    """Projections onto the direction in which a volume (1, 1, X, Y, Z) varies most, by its structure tensor.

    They are xx, yy, zz, xy, xz, yz of n n^T, (1, 6, X, Y, Z); n of length 1, but where no direction prevails.
    """
    smooth = gaussian(volume, GRADIENT)
    slope = [(smooth.roll(-1, axis) - smooth.roll(1, axis)) / 2 for axis in (2, 3, 4)]
    tensor = gaussian(torch.cat([slope[i] * slope[j] for i, j in PAIRS], 1), WINDOW)
    for _ in range(SQUARINGS):
        xx, yy, zz, xy, xz, yz = (tensor / (tensor[:, :3].sum(1, keepdim=True) + 1e-12)).split(1, 1)
        tensor = torch.cat(
            [
                xx * xx + xy * xy + xz * xz,
                xy * xy + yy * yy + yz * yz,
                xz * xz + yz * yz + zz * zz,
                xx * xy + xy * yy + xz * yz,
                xx * xz + xy * yz + xz * zz,
                xy * xz + yy * yz + yz * zz,
            ],
            1,
        )
    return tensor / (tensor[:, :3].sum(1, keepdim=True) + 1e-12)
