"""Map T1w intensities to another contrast by a table, learnt on the two scans of one head.

For eleven T1w intensities the table has three quantiles of the other contrast: 33 rounded numbers. A
generated head of that contrast takes nothing else from the original one, its air aside. They hold no
position, hence no shape.
"""

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from cpmae_bids.deid.images import intensity, masks
from cpmae_bids.deid.synthesis.blending import AIR_LEVEL
from cpmae_bids.exceptions import InputError

# T1w intensities (white matter 1) of the rows of a table
LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.1, 2.5)
# Of the quantiles in a row. The tails are what registration and motion mismatch.
PROBABILITIES = (0.3, 0.5, 0.8)
ROUNDING = 0.05  # numbers of a table are rounded to this
MIN_VOXELS = 100  # voxels of 2 mm that it takes to fill a row; others are interpolated
MIN_ROWS = 4  # rows that must be filled, or the two scans have no head in common

# Depth in voxels of 2 mm of zeros that are no bone, and their share of the head from which on they are
# padding: a slab that was resampled to another grid has zeros where it shows nothing
PADDING_VOXELS, MIN_PADDED_SHARE = 3, 0.05

# Standard deviation of the Gaussian that makes what a T1w intensity leaves open vary in space: tissue varies
# from organ to organ, and less within, where the T1w head has detail of its own
TEXTURE_MM = 8.0
_CUBE_MM = 2.0


def learn(t1w: np.ndarray, other: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Table of a contrast, from what lies around the brain.

    Raises InputError if the scans have too little of a head in common.

    Parameters
    ----------
    t1w, other : ndarray, shape (128, 128, 128)
        The head in both contrasts, on the template grid, in units of the brain scale of each.
    where : ndarray of bool, shape (128, 128, 128)
        What both show, without the brain.

    Returns
    -------
    table : ndarray of float32, shape (11, 3)
        Quantiles of the other contrast (`PROBABILITIES`), by T1w intensity (`LEVELS`).
    """
    head = masks.head_mask(np.where(where, t1w, intensity.HOLE).astype(np.float32), fill=True)
    inside = ndimage.binary_erosion(where & head)  # the outermost voxels are half air
    padding = ndimage.binary_opening(where & (other == 0), iterations=PADDING_VOXELS)
    if (padding & inside).sum() > MIN_PADDED_SHARE * inside.sum():
        inside &= ~ndimage.binary_dilation(padding, iterations=2)
    rows = np.round(np.interp(t1w[inside], LEVELS, range(len(LEVELS)))).astype(int)
    values = other[inside].astype(np.float32)
    table = np.full((len(LEVELS), len(PROBABILITIES)), np.nan, np.float32)
    for row in range(len(LEVELS)):
        chosen = values[rows == row]
        if len(chosen) >= MIN_VOXELS:
            table[row] = np.quantile(chosen, PROBABILITIES)
    filled = np.flatnonzero(np.isfinite(table[:, 0]))
    if len(filled) < MIN_ROWS:
        raise InputError('shows too little of the head that the T1w shows: check that it is a whole head')
    for column in table.T:
        column[:] = np.interp(LEVELS, np.take(LEVELS, filled), column[filled])
    return np.round(table / ROUNDING) * np.float32(ROUNDING)


def apply(head: np.ndarray, table: np.ndarray, seed: int) -> np.ndarray:
    """A generated head in another contrast, in units of its brain scale; float32, shape (n, n, m).

    As a T1w it lies on the template grid, white matter about 1, air 0. `table` is of `learn`, and `seed` that
    of what a T1w intensity leaves open.
    """
    head = np.asarray(head, np.float32)
    row = np.interp(head, LEVELS, range(len(LEVELS)))
    chance = ndtr(_texture(head.shape, seed))
    column = np.interp(chance, PROBABILITIES, range(len(PROBABILITIES)))
    recoloured = ndimage.map_coordinates(table.astype(np.float32), [row, column], order=1, output=np.float32)
    recoloured[head < AIR_LEVEL] = 0
    return recoloured.clip(0, intensity.CEILING)


def _texture(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Gaussian field of unit variance that is smooth over some mm; float32."""
    factor = shape[0] // 128
    field = np.random.default_rng(seed).standard_normal([n // factor for n in shape], dtype=np.float32)
    field = ndimage.gaussian_filter(field, TEXTURE_MM / _CUBE_MM)
    field = field if factor == 1 else ndimage.zoom(field, factor, order=1, grid_mode=True, mode='nearest')
    return field / field.std()
