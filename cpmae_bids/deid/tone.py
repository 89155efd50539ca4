"""Tone: generated heads are as dark and as bright as real ones, near the brain and far from it.

A decoder gives means: fluid and bone, which are thin, come out grey, and marrow and fat dim. What the network
for detail adds mends only a part of that. The curves here take the quantiles of drawn training heads to those
of the same heads as scanned, at the same distance from the brain (`python -m benchmarks.tone`).
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
from scipy import ndimage

from cpmae_bids.deid import geometry, intensity
from cpmae_bids.deid.skin import double

AIR = 0.03
"""Least intensity: training heads are 0 below 0.06, and the air of sinuses and throat lies between."""

DISTANCES_MM = (1.5, 3.5, 5.5, 7.5, 10.0, 14.0, 20.0, 30.0)
"""Distances from the brain that have curves of their own; between two of them curves are interpolated."""

HEIGHTS_MM = (-25.0, 5.0)
"""Heights in the template's world below and above which curves are those of the base and of the vault."""

LEVELS = 1501
"""Intensities that are looked up, from 0 to `intensity.CEILING`: nearer ones are alike."""

STEPS = 32
"""Curves that are looked up from one of `DISTANCES_MM` to the next."""

_SIZE = 2.0  # mm: distances are found in the cube of 128 voxels


def distance_mm(brain: np.ndarray) -> np.ndarray:
    """Distance of the voxels of the cube to the nearest one of the brain; float32, (128, 128, 128)."""
    if not brain.any():
        return np.full(brain.shape, DISTANCES_MM[-1], np.float32)
    return ndimage.distance_transform_edt(~brain, sampling=_SIZE).astype(np.float32)


def height(n: int) -> np.ndarray:
    """Share of the vault's curves, 0 to 1, along the last axis of a cube of n voxels; shape (n,)."""
    affine = geometry.cube_affine(n)
    return np.interp(affine[2, 2] * np.arange(n) + affine[2, 3], HEIGHTS_MM, (0, 1))


def correct(volume: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Give a drawn head, still without its skin, the tones of a scanned one.

    Parameters
    ----------
    volume : ndarray of float32, shape (n, n, n)
        Head in the cube of 128 or 256 voxels; white matter is about 1.
    brain : ndarray of bool, shape (128, 128, 128)
        Brain mask in the cube.

    Returns
    -------
    corrected : ndarray of float32, shape (n, n, n)
    """
    place = np.interp(distance_mm(brain), DISTANCES_MM, STEPS * np.arange(len(DISTANCES_MM)))
    if len(volume) > len(brain):
        place = double(place.astype(np.float32))
    index = np.rint(place).astype(np.int32) * LEVELS
    index += np.rint(volume * np.float32((LEVELS - 1) / intensity.CEILING)).astype(np.int32)
    base, vault = _curves()
    shares = height(len(volume))
    corrected = np.empty_like(volume)
    for share in np.unique(shares):
        first, *_, last = np.flatnonzero(np.isclose(shares, share)).repeat(2)
        part = (..., slice(first, last + 1))
        corrected[part] = ((1 - share) * base + share * vault).ravel()[index[part]]
    return corrected


@cache
def _curves() -> np.ndarray:
    """Intensities of scans for `LEVELS` of drawn heads; shape (2, `STEPS` per distance, levels)."""
    learnt = json.loads((files('cpmae_bids') / 'data' / 'tone.json').read_text('utf-8'))
    levels = np.linspace(0, intensity.CEILING, LEVELS)
    places = np.arange(STEPS * (len(DISTANCES_MM) - 1) + 1) / STEPS
    row, share = np.divmod(places, 1)
    row, share = row.astype(int), share[:, None]
    parts = []
    for part in ('base', 'vault'):
        curves = np.array(
            [
                np.interp(levels, [0, *drawn, intensity.CEILING], [AIR, *scanned, intensity.CEILING])
                for drawn, scanned in zip(
                    learnt[part]['drawn'], np.maximum(learnt[part]['scanned'], AIR), strict=True
                )
            ]
        )
        parts.append((1 - share) * curves[row] + share * curves[np.minimum(row + 1, len(curves) - 1)])
    return np.array(parts, np.float32)
