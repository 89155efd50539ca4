"""Regions of the head: boxes in template coordinates (range of x, y and z in mm, RAS)."""

from collections.abc import Iterable

import numpy as np

from cpmae_bids.deid.space import geometry

FACE = ((-75, 75), (25, 116), (-120, 5))  # from the brows to the chin
NOSE = ((-10, 10), (60, 76), (-80, -34))  # what the nose fills in every whole head
VAULT = ((-128, 128), (-140, 116), (15, 104))  # above brows and ears: a brain has but scalp around it
ABOVE_EARS = ((-128, 128), (-140, 116), (15, 112))  # the same, and the air above
FRONT = ((-128, 128), (30, 116), (-144, 0))  # all in front of the skull base, from brows to neck
REAR = ((-128, 128), (-140, 10), (-144, 0))  # the rest of the head at the height of the face


def box(region: Iterable[tuple[float, float]], n: int) -> np.ndarray:
    """Voxels of the template grid, ``n`` along an edge, within a region; bool, shape (n, n, n)."""
    affine = geometry.grid_affine(n)
    inside = np.ones((n, n, n), bool)
    for axis, (low, high) in enumerate(region):
        position = affine[axis, axis] * np.arange(n) + affine[axis, 3]
        shape = [1, 1, 1]
        shape[axis] = n
        inside &= ((position >= low) & (position <= high)).reshape(shape)
    return inside
