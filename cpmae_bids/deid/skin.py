"""Skin: a smooth and closed surface for a generated head.

Codes of sites place the surface of a decoded head a little differently in each of them, and detail drawn on
top makes it rough; real skin is smooth. The mean head, deformed by the codes of shape, is smooth whatever
they are, and decoded heads differ from it by their shape above all. So the surface is taken from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cpmae_bids.deid import geometry, masks

LEVEL = 0.25
"""Intensity (white matter 1) half-way between air and skin."""

MEAN_HEIGHTS, MEAN_LEVELS = (-10.0, 30.0), (0.25, 0.175)
"""Intensity at which the mean head has its surface, below and above these heights in the template's world
(mm). Scalps of many heads do not lie on each other to the millimetre, and their mean is dim where they are
thin. With these, heads in their own shape are as large as they were scanned (``benchmarks.outline``)."""

SMOOTHING_MM = 1.5
"""Standard deviation of the Gaussian that smooths the surface."""

BRIDGED_MM = 6.0
"""Gaps up to twice this width are closed: nostrils, lips, ear canals."""

SHELL_MM = 4.0
"""Thickness of what is never empty beneath the surface."""

SHARE, LEAST = 0.85, 0.5
"""Skin has this share of the brightness of the tissue around it, and at least this intensity. Scans of two
training heads at 1 mm have 0.8 and 0.9 of what lies 2 mm deeper, in a third head it is brighter than that."""

SHARPNESS = 3.0
"""Slope of the edge, which is a little wider than a voxel of 1 mm."""

_SIZE = 2.0  # mm: surfaces are found in the cube of 128 voxels


@dataclass(frozen=True)
class Skin:
    """Surface of a head in the cube at 2 mm.

    Attributes
    ----------
    inside : ndarray of float32, shape (128, 128, 128)
        The surface is where it is 0.5; above that is the head, cavities included.
    least : ndarray of float32, shape (128, 128, 128)
        Intensity at the surface, and the least beneath it; fades to 0 below the shell. Goes on outside of
        the head, so that it is even across the surface.
    """

    inside: np.ndarray
    least: np.ndarray


def find(decoded: np.ndarray, mean: np.ndarray) -> Skin:
    """Surface of a head.

    Parameters
    ----------
    decoded : ndarray of float32, shape (128, 128, 128)
        Decoded head, before detail, which says how bright its skin is; white matter is about 1.
    mean : ndarray of float32, shape (128, 128, 128)
        The mean head in the shape of this one.

    Returns
    -------
    skin : Skin
    """
    inside = _smooth(occupancy(mean), SMOOTHING_MM)
    head = solid(inside > 0.5)
    inside[~ndimage.binary_dilation(head)] = 0  # nothing floats in the air
    deep = ndimage.binary_erosion(head, iterations=round(SHELL_MM / _SIZE), border_value=1)
    tissue = (decoded > LEVEL) & ndimage.binary_erosion(head)  # without voxels that air has a share in
    brightness = _smooth(np.where(tissue, decoded, 0), 4) / _smooth(tissue, 4).clip(0.01)
    return Skin(inside, (SHARE * brightness).clip(LEAST, 1) * (1 - _smooth(deep, SMOOTHING_MM)))


def cover(volume: np.ndarray, skin: Skin) -> np.ndarray:
    """Give a head its skin: air outside of the surface, no texture at it, and no pits beneath it.

    Texture would move the place at which a head has a certain brightness in and out, which shows as rings
    and pits where the surface is rendered.

    Parameters
    ----------
    volume : ndarray of float32, shape (256, 256, 256)
    skin : Skin

    Returns
    -------
    covered : ndarray of float32, shape (256, 256, 256)
    """
    inside, least = double(skin.inside), double(skin.least)
    texture = np.clip(2 * inside - 1, 0, 1)
    weight = np.clip(0.5 + SHARPNESS * (inside - 0.5), 0, 1)
    return (least + texture * np.maximum(volume - least, 0)) * weight


def occupancy(mean: np.ndarray) -> np.ndarray:
    """How much of a voxel of the mean head lies within it, cavities included; 0 to 1, shape (n, n, n)."""
    to_world = geometry.cube_affine(len(mean))[2]
    level = np.interp(to_world[2] * np.arange(len(mean)) + to_world[3], MEAN_HEIGHTS, MEAN_LEVELS)
    share = np.clip(mean / (2 * level.astype(np.float32)), 0, 1)
    bright = share > 0.5
    head = solid(bright)
    share[head & ~bright] = 1
    share[~ndimage.binary_dilation(head, iterations=2)] = 0
    share[ndimage.binary_erosion(head, iterations=2, border_value=1)] = 1
    return share.astype(np.float32)


def solid(mask: np.ndarray) -> np.ndarray:
    """Largest component, its gaps closed and its cavities filled, slice by slice in each direction."""
    steps = round(BRIDGED_MM / _SIZE)
    closed = ndimage.binary_closing(np.pad(mask, steps + 1), iterations=steps)
    closed = masks.largest_component(closed[(slice(steps + 1, -steps - 1),) * 3])
    filled = closed.copy()
    for axis in range(3):
        slices = [ndimage.binary_fill_holes(part) for part in np.moveaxis(closed, axis, 0)]
        filled |= np.stack(slices, axis)
    return filled


def double(field: np.ndarray) -> np.ndarray:
    """Voxels of half the edge; (n, n, n) to (2 n, 2 n, 2 n).

    Cubic B-splines bend evenly, where linear interpolation bends at voxels alone. They smooth as a Gaussian
    of 0.6 voxels does.
    """
    for axis in range(3):
        padded = np.pad(field, [(2 * (a == axis),) * 2 for a in range(3)], 'edge')
        taps = [padded[(slice(None),) * axis + (slice(i, i + field.shape[axis]),)] for i in range(5)]
        before = sum(w * tap for w, tap in zip(_QUARTER[::-1], taps[:4], strict=True))
        after = sum(w * tap for w, tap in zip(_QUARTER, taps[1:], strict=True))
        pair = np.stack([before, after], axis + 1)
        field = pair.reshape([size * (1 + (a == axis)) for a, size in enumerate(field.shape)])
    return field


_QUARTER = tuple(np.array([27, 235, 121, 1], np.float32) / 384)
"""Cubic B-spline weights of the voxels -1, 0, 1 and 2 for a point at 0.25."""


def _smooth(field: np.ndarray, mm: float) -> np.ndarray:
    return ndimage.gaussian_filter(field.astype(np.float32), mm / _SIZE)
