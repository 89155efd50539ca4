"""Neck: extend a generated head downwards, for scans that reach further than training heads.

The outline of the head a little above the lowest slice continues downwards and becomes rounder; within it
lies the tissue of the slices above, mirrored.
"""

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images.intensity import SKIN
from cpmae_bids.deid.space import geometry

LENGTH_MM = 96.0  # how far a neck goes on below the grid
START_MM = 14.0  # height above the lowest slice at which it begins: few training heads reach down to that one

# Positions in mm (y in the template's world), and how much faster than it descends a neck recedes there: the
# nape goes straight down, beneath the chin lies the floor of the mouth
RECEDES = ((-40.0, 20.0, 45.0), (0.0, 1.0, 3.0))
TEXTURE_MM = 40.0  # height of the slices that are mirrored, there and back
# Standard deviations of the Gaussians that smooth the outline, at the start and `ROUND_AFTER_MM` below
ROUND_MM = (2.0, 12.0)
ROUND_AFTER_MM = 40.0
DEPTH_MM = 3.0  # depth below the skin from which on intensities are no partial volume
EDGE_MM = 1.5  # half the width of the edge between skin and air
# Share of the local mean below which no tissue falls: mouth and airway are not mirrored into the neck
LEAST = 0.6


def lengthen(head: np.ndarray, lowest: int) -> tuple[np.ndarray, int]:
    """Extend a head below the template grid; also the number of slices by which the result reaches below it.

    The head, (n, n, m), lies on the template grid, and below it as far as training heads reach. `lowest` is
    the lowest slice that is needed, counted upwards; negative below the template grid.
    """
    n = len(head)
    longest = round(LENGTH_MM * n / geometry.GRID_EDGE_MM)
    longer = go_on(head, int(np.clip(n - head.shape[2] - lowest, 0, longest)))
    return longer, longer.shape[2] - n


def go_on(head: np.ndarray, added: int) -> np.ndarray:
    """Extend a head (m, n, k), along y on all of the template grid, by so many slices downwards."""
    m, n, _ = head.shape
    voxel = geometry.GRID_EDGE_MM / n
    start, height = (round(mm / voxel) for mm in (START_MM, TEXTURE_MM))
    slices = np.asarray(head[:, :, start : start + height + 1], np.float32)
    longer = np.concatenate([np.zeros((m, n, added), head.dtype), head], axis=2)
    if not (slices[:, :, 0] > SKIN).any():
        return longer
    outline = _outline(slices[:, :, 0], voxel)
    depths = range(1, added + start + 1)
    mirrored = [height - abs(below % (2 * height) - height) for below in depths]  # up, and down again
    tissue = {at: _continued(slices[:, :, at], voxel) for at in sorted(set(mirrored))}
    affine = geometry.grid_affine(n)
    y = affine[1, 1] * np.arange(n) + affine[1, 3]
    receding = np.interp(y, *RECEDES)
    for below, origin in zip(depths, mirrored, strict=True):
        source = np.minimum(np.arange(n) + below * receding, n - 1.0)
        before = np.minimum(source.astype(int), n - 2)
        share = (source - before).astype(np.float32)
        mm = np.interp(below * voxel, (0, ROUND_AFTER_MM), ROUND_MM)
        rounder = ndimage.gaussian_filter(outline, mm / voxel)
        level, edge = (
            part[:, before] * (1 - share) + part[:, before + 1] * share for part in (tissue[origin], rounder)
        )
        at = added + start - below
        kept = 1 - below / start
        if kept > 0:  # one outline turns into the other: two that fade would leave a haze
            there = np.asarray(longer[:, :, at], np.float32)
            level = kept * _beyond_skin(there, voxel) + (1 - kept) * level
            edge = kept * _outline(there, voxel) + (1 - kept) * edge
        longer[:, :, at] = level * np.clip(0.5 - edge / (2 * EDGE_MM), 0, 1)
    return longer


def _outline(level: np.ndarray, voxel: float) -> np.ndarray:
    """Distance to the skin of a slice in mm, negative inside; (m, n)."""
    body = ndimage.binary_fill_holes(level > SKIN)
    return (ndimage.distance_transform_edt(~body) - ndimage.distance_transform_edt(body)) * voxel


def _beyond_skin(level: np.ndarray, voxel: float) -> np.ndarray:
    """Tissue of a slice, continued beyond its skin; float32, shape (m, n)."""
    body = ndimage.binary_fill_holes(level > SKIN)
    reliable = ndimage.distance_transform_edt(body) * voxel > DEPTH_MM
    if not reliable.any():
        return level
    index = ndimage.distance_transform_edt(~reliable, return_distances=False, return_indices=True)
    return level[tuple(index)]


def _continued(level: np.ndarray, voxel: float) -> np.ndarray:
    """Tissue of a slice, continued beyond its skin and into its cavities; float32, shape (m, n)."""
    tissue = _beyond_skin(level, voxel)
    flesh = (tissue > SKIN).astype(np.float32)
    mean = ndimage.gaussian_filter(tissue * flesh, 6 / voxel) / np.maximum(
        ndimage.gaussian_filter(flesh, 6 / voxel), 1e-3
    )
    return np.maximum(tissue, LEAST * mean)
