"""Denoise and sharpen the tissue of a decoded head before it gets its skin, which would show voxels."""

import itertools

import torch
from torch import Tensor

from cpmae_bids.models.diffeomorphism import gaussian

# Share of what is finer than 2 mm (one standard deviation) that is added before a head gets its shape and
# lies on the grid of a scan: two interpolations take a quarter of the finest contrast. At 1 mm edges are
# sharpened once more (`models.edges`).
SHARPEN, SHARPEN_COARSE = 0.7, 1.6

# Range (standard deviation, white matter 1) of the bilateral filter that takes the noise of donors' scans out
# of a head: the noise of the scan at hand is added later
NOISE = 0.17


def refined(volume: Tensor, *, coarse: bool) -> Tensor:
    """Tissue as a head is drawn from; `coarse`: for a scan of 2 mm, whose voxels average noise away."""
    if coarse:
        return sharpened(denoised(volume, times=1), SHARPEN_COARSE)
    return sharpened(denoised(volume, times=2))


def denoised(volume: Tensor, times: int) -> Tensor:
    """Bilateral filter of 3 x 3 x 3 voxels (Tomasi and Manduchi, ICCV 1998), applied so often; edges stay."""
    near = [offset for offset in itertools.product((-1, 0, 1), repeat=3) if any(offset)]
    for _ in range(times):
        total, weights = volume.clone(), torch.ones_like(volume)
        for offset in near:
            other = volume.roll(offset, (2, 3, 4))  # the rim of the frame is air
            weight = ((other - volume) / NOISE).square_().add_(sum(map(abs, offset))).mul_(-0.5).exp_()
            total.addcmul_(weight, other)
            weights += weight
        volume = total / weights
    return volume


def sharpened(volume: Tensor, share: float = SHARPEN) -> Tensor:
    """Tissue with the contrast that interpolation takes away later."""
    fine = volume - gaussian(volume, 1.0)
    return (volume + share * fine).clamp_(min=0)
