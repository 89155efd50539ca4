"""Neck: extend a generated head downwards, for scans that reach further than training heads.

The outline of the head a little above the lowest slice continues downwards and becomes rounder; within it
lies the tissue of the slices above, mirrored.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images.intensity import SKIN
from cpmae_bids.deid.space import geometry

LENGTH_MM = 96.0
"""How far a neck goes on below the grid."""

START_MM = 14.0
"""Height above the lowest slice at which it begins: few training heads reach down to that one."""

NAPE_MM, CHIN_MM = -40.0, 20.0
"""Positions (y in the template's world): behind the first a neck goes straight down; in front of the second
it recedes as fast as it descends, as the floor of the mouth does beneath a chin."""

TEXTURE_MM = 40.0
"""Height of the slices that are mirrored, there and back."""

ROUND_MM = (2.0, 12.0)
"""Standard deviations of the Gaussians that smooth the outline, at the start and `ROUND_AFTER_MM` below."""

ROUND_AFTER_MM = 40.0

DEPTH_MM = 3.0
"""Depth below the skin from which on intensities are no partial volume."""

EDGE_MM = 1.5
"""Half the width of the edge between skin and air."""

LEAST = 0.6
"""Share of the local mean below which no tissue falls: mouth and airway are not mirrored into the neck."""


def lengthen(head: np.ndarray, lowest: int) -> tuple[np.ndarray, int]:
    """Extend a head below the template grid.

    Parameters
    ----------
    head : ndarray, shape (n, n, m)
        Generated head on the template grid, and below it as far as training heads reach.
    lowest : int
        Lowest slice that is needed, counted upwards; negative below the template grid.

    Returns
    -------
    longer : ndarray, shape (n, n, n + below)
    below : int
        Slices by which it reaches below the template grid.
    """
    n = len(head)
    voxel = geometry.GRID_EDGE_MM / n
    longest, start, height = (round(mm / voxel) for mm in (LENGTH_MM, START_MM, TEXTURE_MM))
    added = int(np.clip(n - head.shape[2] - lowest, 0, longest))
    slices = np.asarray(head[:, :, start : start + height + 1], np.float32)
    body = ndimage.binary_fill_holes(slices[:, :, 0] > SKIN)
    longer = np.concatenate([np.zeros((n, n, added), head.dtype), head], axis=2)
    if not body.any():
        return longer, longer.shape[2] - n
    outline = (ndimage.distance_transform_edt(~body) - ndimage.distance_transform_edt(body)) * voxel
    depths = range(1, added + start + 1)
    mirrored = [height - abs(below % (2 * height) - height) for below in depths]  # up, and down again
    tissue = {at: _continued(slices[:, :, at], voxel) for at in sorted(set(mirrored))}
    affine = geometry.grid_affine(n)
    y = affine[1, 1] * np.arange(n) + affine[1, 3]
    receding = np.clip((y - NAPE_MM) / (CHIN_MM - NAPE_MM), 0, 1)
    for below, origin in zip(depths, mirrored, strict=True):
        source = np.minimum(np.arange(n) + below * receding, n - 1.0)
        before = np.minimum(source.astype(int), n - 2)
        share = (source - before).astype(np.float32)
        mm = np.interp(below * voxel, (0, ROUND_AFTER_MM), ROUND_MM)
        rounder = ndimage.gaussian_filter(outline, mm / voxel)
        level, edge = (
            part[:, before] * (1 - share) + part[:, before + 1] * share for part in (tissue[origin], rounder)
        )
        drawn = level * np.clip(0.5 - edge / (2 * EDGE_MM), 0, 1)
        kept = max(0.0, 1 - below / start)  # of the slices that the grid still has
        at = added + start - below
        longer[:, :, at] = kept * longer[:, :, at] + (1 - kept) * drawn
    return longer, longer.shape[2] - n


def _continued(level: np.ndarray, voxel: float) -> np.ndarray:
    """Tissue of a slice, continued beyond its skin and into its cavities; float32, shape (n, n)."""
    body = ndimage.binary_fill_holes(level > SKIN)
    reliable = ndimage.distance_transform_edt(body) * voxel > DEPTH_MM
    if not reliable.any():
        return level
    index = ndimage.distance_transform_edt(~reliable, return_distances=False, return_indices=True)
    tissue = level[tuple(index)]
    flesh = (tissue > SKIN).astype(np.float32)
    mean = ndimage.gaussian_filter(tissue * flesh, 6 / voxel) / np.maximum(
        ndimage.gaussian_filter(flesh, 6 / voxel), 1e-3
    )
    return np.maximum(tissue, LEAST * mean)
