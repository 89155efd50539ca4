"""Neck: what lies below the cube, for scans that reach further down."""

from __future__ import annotations

import numpy as np

from cpmae_bids.deid import geometry

LENGTH_MM = 96.0
"""How far a neck goes on below the cube."""

NAPE_MM, CHIN_MM = -40.0, 20.0
"""Positions (y in the template's world): behind the first a neck goes straight down; in front of the second
it recedes as fast as it descends, as the floor of the mouth does beneath a chin."""


def lengthen(head: np.ndarray) -> tuple[np.ndarray, int]:
    """Let a head go on below the cube, by its lowest slice.

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
    lowest = np.asarray(head[:, :, 0], np.float32)
    slices = []
    for depth in range(added, 0, -1):
        source = np.minimum(np.arange(n) + depth * receding, n - 1)
        before = np.minimum(source.astype(int), n - 2)
        share = (source - before).astype(np.float32)
        slices.append(lowest[:, before] * (1 - share) + lowest[:, before + 1] * share)
    return np.concatenate([np.stack(slices, -1).astype(head.dtype), head], axis=2), added
