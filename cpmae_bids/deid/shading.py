"""Shading: a generated head is as bright at the top, the sides and the neck as scans of such brains are.

Coils see what is near them better, and the brain is shaded as the head around it is. The smooth gain of a
head follows that of its brain as in the training heads (`python -m benchmarks.shading`); the rest is drawn.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
from scipy import ndimage

from cpmae_bids.deid import geometry, intensity

UNIT_MM = 100.0
"""Unit of coordinates from the middle of the cube; terms are 1, x, y, z, x y, x z and y z."""

LARGEST = 0.5
"""Largest logarithm of the gain, either way."""

FARTHEST = 2.5
"""Standard deviations from the mean of training beyond which a brain is taken to have no more shading."""

DEPTH = 2
"""Voxels of 2 mm beneath the surface of the brain from which on it counts."""

TISSUE = 0.3
"""Intensity (white matter 1) of a brain without its fluid."""

MIN_VOXELS = 5000
"""Voxels of 2 mm, deep in a brain, that say nothing about its shading if they are fewer."""


def terms(n: int) -> np.ndarray:
    """Terms at the middles of n x n x n parts of the cube; float32, shape (n^3, 7)."""
    axis = _axis(n)
    x, y, z = (part.ravel() for part in np.meshgrid(axis, axis, axis, indexing='ij'))
    return np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z], axis=1)


def of_brain(brain: np.ndarray) -> np.ndarray:
    """Shading of a brain: the logarithm of its intensities in `terms`, by least squares.

    Parameters
    ----------
    brain : ndarray of float32, shape (128, 128, 128)
        Brain in the cube, 0 elsewhere; white matter is about 1.

    Returns
    -------
    shading : ndarray, shape (7,)
        That of the mean brain if there is too little of this one.
    """
    deep = ndimage.binary_erosion(brain > 0, iterations=DEPTH) & (brain > TISSUE)
    some = np.flatnonzero(deep)
    if len(some) < MIN_VOXELS:
        return np.array(_learnt()['brain_mean'])
    some = some[::7]
    return np.linalg.lstsq(terms(len(brain))[some], np.log(brain.ravel()[some]), rcond=None)[0]


def draw(brain: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw the shading of a head around a brain.

    Parameters
    ----------
    brain : ndarray of float32, shape (128, 128, 128)
        See `of_brain`.
    generator : numpy.random.Generator

    Returns
    -------
    shading : ndarray, shape (7,)
        Logarithm of the gain, in `terms`.
    """
    learnt = {name: np.array(value) for name, value in _learnt().items() if isinstance(value, list)}
    unusual = (of_brain(brain) - learnt['brain_mean']) / learnt['brain_sd']
    follows = unusual.clip(-FARTHEST, FARTHEST) @ learnt['slopes']
    return learnt['mean'] + follows + generator.normal(0, learnt['free_sd'])


def apply(volume: np.ndarray, shading: np.ndarray) -> np.ndarray:
    """Shade a head.

    Parameters
    ----------
    volume : ndarray of float32, shape (n, n, n)
        Head in the cube.
    shading : ndarray, shape (7,)
        See `draw`.

    Returns
    -------
    shaded : ndarray of float32, shape (n, n, n)
    """
    axis = _axis(len(volume))
    x, y, z = axis[:, None, None], axis[:, None], axis
    one, dx, dy, dz, dxy, dxz, dyz = shading.astype(np.float32)
    gain = one + dx * x + (dy + dxy * x) * y + (dz + dxz * x + dyz * y) * z
    return np.minimum(volume * np.exp(gain.clip(-LARGEST, LARGEST)), intensity.CEILING)


def _axis(n: int) -> np.ndarray:
    return ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5) * np.float32(geometry.CUBE_EDGE / UNIT_MM)


@cache
def _learnt() -> dict:
    """How heads are shaded, as ``benchmarks.shading`` writes it."""
    return json.loads((files('cpmae_bids') / 'data' / 'shading.json').read_text('utf-8'))
