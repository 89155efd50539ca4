"""Intensities of the cube: one scale per scan, taken from the brain alone.

Nothing outside the brain may steer the scale, or the scale would tell the generator about the original head.
"""

from __future__ import annotations

import numpy as np

from cpmae_bids.exceptions import InputError

CEILING = 2.5
"""Largest intensity in the cube; white matter is about 1, fat and vessels reach 2."""

HOLE = 0.3
"""Intensity that fills the brain in volumes of the head without brain."""


def brain_scale(values_in_brain: np.ndarray) -> float:
    """Intensity that becomes 1 in the cube: the mean of the brain voxels above the brain's median.

    That is close to white matter on a T1-weighted scan, and needs no segmentation.

    Parameters
    ----------
    values_in_brain : ndarray
        Scaled intensities (slope and intercept applied) inside the brain mask.

    Returns
    -------
    scale : float

    Raises
    ------
    InputError
        If the brain is empty, constant or not positive.
    """
    values = np.asarray(values_in_brain, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise InputError('no finite intensity inside the brain mask: check the scan and its brain mask')
    bright = values[values > np.median(values)]
    scale = float(bright.mean()) if bright.size else 0.0
    if scale <= 0:
        raise InputError('the brain has no positive contrast: is this a T1-weighted scan?')
    return scale


def normalize(data: np.ndarray, scale: float) -> np.ndarray:
    """Divide by the scale and clip to the range of the cube, ``[0, CEILING]``; float32."""
    return np.clip(np.asarray(data, dtype=np.float32) / np.float32(scale), 0, CEILING)
