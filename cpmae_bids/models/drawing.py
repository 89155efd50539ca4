"""From the codes of a head to the head around a brain, at 1 mm."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cpmae_bids.models.diffeomorphism import gaussian, points, resize, sample
from cpmae_bids.models.frame import BELOW, BOX, GRID
from cpmae_bids.models.head import HeadVQVAE
from cpmae_bids.models.superresolution import SuperResolution

SHARPEN = 1.5
"""Share of what is finer than 2 mm (one standard deviation) that is added before a head gets its shape and
lies on the grid of a scan: two interpolations take a quarter of the finest contrast."""

NOISE = 0.17
"""Range (standard deviation, white matter 1) of the bilateral filter that takes the noise of donors' scans
out of a head: the noise of the scan at hand is added later."""

_SLAB = 26  # planes that are looked up at a time


@torch.no_grad()
def draw(
    head: HeadVQVAE,
    finer: SuperResolution,
    codes: list[Tensor],
    brain: np.ndarray,
    *,
    seed: int,
    millimetre: bool,
) -> Tensor:
    """Decode a head, draw it at 1 mm, and lay it around a brain.

    Detail is drawn in the frame, before the one interpolation that gives the head its shape.

    Parameters
    ----------
    head : HeadVQVAE
    finer : SuperResolution
    codes : list of Tensor of int64
        See `HeadVQVAE.encode`.
    brain : ndarray of bool, shape (128, 128, 128)
        Brain mask on the template grid, 2 mm.
    seed : int
        Of the detail.
    millimetre : bool
        Draw detail of 1 mm; otherwise the head is interpolated from 2 mm.

    Returns
    -------
    volume : Tensor of float32, shape (1, 1, 256, 256, 288)
        White matter is about 1, air 0; the last axis begins 32 mm below the template grid.
    """
    volume = sharpened(denoised(head.decode(codes)))
    if millimetre:
        fine = finer(volume, generator=torch.Generator().manual_seed(seed))
    else:
        fine = F.interpolate(volume, scale_factor=2, mode='trilinear', align_corners=False)
    return lay_around(fine, head.field(codes, brain))


def denoised(volume: Tensor, times: int = 2) -> Tensor:
    """Bilateral filter of 3 x 3 x 3 voxels (Tomasi and Manduchi, ICCV 1998), applied twice; edges stay."""
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


def sharpened(volume: Tensor) -> Tensor:
    """A head of 2 mm with the contrast that interpolation takes away later; air stays 0."""
    fine = volume - gaussian(volume, 1.0)
    return (volume + SHARPEN * fine).clamp_(min=0) * (volume > 0)


@torch.no_grad()
def lay_around(volume: Tensor, field: Tensor) -> Tensor:
    """A head of the frame on the template grid.

    Parameters
    ----------
    volume : Tensor of float32, shape (1, 1, X, Y, Z)
        In the frame, at 2 mm or 1 mm.
    field : Tensor, shape (1, 3, *FIELD)
        See `HeadVQVAE.field`.

    Returns
    -------
    laid : Tensor of float32, shape (1, 1, n, n, n + n / 8)
        At the same resolution; 0 where the frame does not reach.
    """
    shape = tuple(volume.shape[2:])
    finer = shape[1] // GRID
    result = torch.zeros(1, 1, finer * GRID, finer * GRID, finer * (GRID + BELOW))
    box = result[:, :, finer * BOX.start : finer * BOX.stop]
    whole, base = resize(field, shape), points(shape)
    for start in range(0, shape[0], _SLAB):
        part = slice(start, start + _SLAB)
        box[:, :, part] = sample(volume, whole[:, :, part], base=base[:, :, part])
    return result.clamp_(min=0)
