"""How another contrast looks where a T1w scan looks so and so: a table, learnt on the two scans of one head.

The table says of each T1w intensity which intensities the other contrast has there, as quantiles. It is all
that a generated head of that contrast takes from the original one; it carries no position, hence no shape.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from cpmae_bids.deid.images import intensity
from cpmae_bids.deid.space import surface
from cpmae_bids.deid.synthesis.blending import AIR_LEVEL
from cpmae_bids.exceptions import InputError

STEP = 0.1
"""Width of the bins of T1w intensity (white matter 1)."""

BINS = round(intensity.CEILING / STEP) + 1

PROBABILITIES = np.linspace(0.05, 0.95, 19)
"""Of the quantiles in a row of the table. The tails are what registration and motion mismatch."""

MIN_VOXELS = 100
"""Voxels of 2 mm that it takes to fill a row; others are interpolated."""

MIN_ROWS = 5
"""Rows that must be filled, or the two scans have no head in common."""

TEXTURE_MM, FINE_MM = 5.0, 2.0
"""Standard deviations of the two Gaussians that make what a T1w intensity leaves open vary in space."""

SPREAD = 0.6
"""Share of that variation which is used: tissue varies from organ to organ, and less within."""

_CUBE_MM = 2.0


def learn(t1w: np.ndarray, other: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Table of a contrast, from what lies around the brain.

    Parameters
    ----------
    t1w, other : ndarray, shape (n, n, n)
        The head in both contrasts, in the cube, in units of the brain scale of each.
    where : ndarray of bool, shape (n, n, n)
        What both show, without the brain.

    Returns
    -------
    table : ndarray of float32, shape (BINS, 19)
        Quantiles of the other contrast (`PROBABILITIES`), by T1w intensity in steps of `STEP`.

    Raises
    ------
    InputError
        If the scans have too little of a head in common.
    """
    step = len(t1w) // 128
    part = (slice(None, None, step),) * 3
    t1w, other, where = (np.asarray(volume)[part] for volume in (t1w, other, where))
    head = surface.head_mask(np.where(where, t1w, intensity.HOLE).astype(np.float32))
    inside = ndimage.binary_erosion(where & head)  # the outermost voxels are half air
    rows = np.round(t1w[inside].astype(np.float32) / STEP).astype(int).clip(0, BINS - 1)
    values = other[inside].astype(np.float32)
    table = np.full((BINS, len(PROBABILITIES)), np.nan, np.float32)
    for row in range(BINS):
        chosen = values[rows == row]
        if len(chosen) >= MIN_VOXELS:
            table[row] = np.quantile(chosen, PROBABILITIES)
    filled = np.flatnonzero(np.isfinite(table[:, 0]))
    if len(filled) < MIN_ROWS:
        raise InputError('shows too little of the head that the T1w shows: check that it is a whole head')
    for column in table.T:
        column[:] = np.interp(np.arange(BINS), filled, column[filled])
    return table


def apply(head: np.ndarray, table: np.ndarray, seed: int) -> np.ndarray:
    """A generated head in another contrast.

    Parameters
    ----------
    head : ndarray, shape (n, n, m)
        Generated head in the cube, as a T1w; white matter is about 1, air 0.
    table : ndarray, shape (BINS, 19)
        See `learn`.
    seed : int
        Of what a T1w intensity leaves open.

    Returns
    -------
    recoloured : ndarray of float32, shape (n, n, m)
        In units of the brain scale of the other contrast.
    """
    head = np.asarray(head, np.float32)
    row = np.clip(head / STEP, 0, BINS - 1)
    chance = 0.5 + SPREAD * (ndtr(_texture(head.shape, seed)) - 0.5)
    span = PROBABILITIES[-1] - PROBABILITIES[0]
    column = np.clip((chance - PROBABILITIES[0]) / span, 0, 1) * (len(PROBABILITIES) - 1)
    recoloured = ndimage.map_coordinates(table.astype(np.float32), [row, column], order=1, output=np.float32)
    recoloured[head < AIR_LEVEL] = 0
    return recoloured.clip(0, intensity.CEILING)


def _texture(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Gaussian field of unit variance that is smooth over some mm; float32."""
    generator = np.random.default_rng(seed)
    parts, factor = [], shape[0] // 128
    for mm in (TEXTURE_MM, FINE_MM):
        field = generator.standard_normal([n // factor for n in shape], dtype=np.float32)
        field = ndimage.gaussian_filter(field, mm / _CUBE_MM)
        parts.append(field / field.std())
    field = (parts[0] + parts[1]) / np.float32(np.sqrt(2))
    field = field if factor == 1 else ndimage.zoom(field, factor, order=1, grid_mode=True, mode='nearest')
    return field / field.std()
