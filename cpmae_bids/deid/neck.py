"""Neck: what lies below the cube, for scans that reach further down."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cpmae_bids.deid import geometry

LENGTH_MM = 96.0
"""How far a neck goes on below the cube."""

NAPE_MM, CHIN_MM = -40.0, 20.0
"""Positions (y in the template's world): behind the first a neck goes straight down; in front of the second
it recedes as fast as it descends, as the floor of the mouth does beneath a chin."""

TEXTURE_MM = 40.0
"""Height above the lowest slice from which the texture of the neck is taken, there and back."""

SMOOTH_MM = 5.0
"""Standard deviation of the Gaussian that takes texture away."""

DEEP_MM = (4.0, 8.0)
"""Depths beneath the skin between which texture sets in."""

FLESH = 0.15
"""Intensity (white matter 1) above which there is flesh."""

LEAST = 0.5
"""Share of the form that texture leaves at least: what is darker has its place above, and is a pit here."""


def lengthen(head: np.ndarray) -> tuple[np.ndarray, int]:
    """Let a head go on below the cube: by the form of its lowest slice, and the texture of those above it.

    Parameters
    ----------
    head : ndarray, shape (n, n, n)
        Generated head in the cube.

    Returns
    -------
    longer : ndarray, shape (n, n, n + added)
    added : int
        Slices added before the first.
    """
    n = len(head)
    voxel = geometry.CUBE_EDGE / n
    added = round(LENGTH_MM / voxel)
    affine = geometry.cube_affine(n)
    y = affine[1, 1] * np.arange(n) + affine[1, 3]
    receding = np.clip((y - NAPE_MM) / (CHIN_MM - NAPE_MM), 0, 1)
    height = min(round(TEXTURE_MM / voxel), n)
    form, texture = _parts(np.asarray(head[:, :, : height + 1], np.float32), voxel)
    slices = []
    for depth in range(added, 0, -1):
        source = np.minimum(np.arange(n) + depth * receding, n - 1)
        before = np.minimum(source.astype(int), n - 2)
        share = (source - before).astype(np.float32)
        mirrored = height - abs(depth % (2 * height) - height)  # up, and down again
        level = np.maximum(form + texture[:, :, mirrored], LEAST * form)
        slices.append(level[:, before] * (1 - share) + level[:, before + 1] * share)
    below = np.maximum(np.stack(slices, -1), 0).astype(head.dtype)
    return np.concatenate([below, head], axis=2), added


def _parts(slices: np.ndarray, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """Form of the lowest slice, and texture of all slices that fits into it.

    Parameters
    ----------
    slices : ndarray of float32, shape (n, n, slices)
    voxel : float
        mm.

    Returns
    -------
    form : ndarray of float32, shape (n, n)
    texture : ndarray of float32, shape (n, n, slices)
    """
    smooth = ndimage.gaussian_filter(slices, (SMOOTH_MM / voxel, SMOOTH_MM / voxel, 0))
    deep = np.stack([_deep(part, voxel) for part in np.moveaxis(slices, -1, 0)], -1)
    lowest, share = slices[:, :, 0], deep[:, :, 0]
    form = lowest + share * (smooth[:, :, 0] - lowest)
    return form, share[:, :, None] * deep * (slices - smooth)


def _deep(level: np.ndarray, voxel: float) -> np.ndarray:
    """0 near the skin and outside, 1 deep inside; float32, shape (n, n)."""
    body = ndimage.binary_fill_holes(level > FLESH)
    depth = ndimage.distance_transform_edt(body) * voxel
    return np.clip((depth - DEEP_MM[0]) / (DEEP_MM[1] - DEEP_MM[0]), 0, 1).astype(np.float32)
