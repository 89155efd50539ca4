"""Depth of the skin of the face, seen from the front, and its distance to the mean of many faces.

On the template grid all heads share the frame of their brains, so that the depth of the skin in front of
each point of a frontal plane can be compared with the mean of many heads (`data/face_depth.json`).
"""

from functools import cache

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.space import geometry, regions
from cpmae_bids.runtime.packaged import packaged_json

MIN_SEEN = 0.3  # share of the mean face that must be in view to compare with it


@cache
def mean_depth() -> np.ndarray:
    """Position of the skin of the mean head, in mm to the front of the template's world; not to be changed.

    A value per voxel of x and z of `regions.FACE` at 2 mm; NaN where heads differ too much, as beside the
    cheeks.
    """
    mean = np.array(packaged_json('face_depth')['depth_mm'], dtype=float)
    mean.setflags(write=False)
    return mean


def foremost(head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays from the front meet a head mask (X, Y, Z), y to the front.

    The index along y of the first voxel from the front, and whether there is one; both of shape (X, Z).
    """
    return head.shape[1] - 1 - head[:, ::-1].argmax(axis=1), np.any(head, axis=1)


def depth(head: np.ndarray) -> np.ndarray:
    """Position of the foremost voxels of a head mask, in mm to the front; as `mean_depth`.

    The back of the box where it holds no head.
    """
    window, front = _window(head.shape[0])
    index, there = foremost(head[window])
    return np.where(there, front[index], front[0])


def distance_to_mean(head: np.ndarray, in_fov: np.ndarray) -> float | None:
    """Mean distance (mm, to front or back) of a face to the mean face, as far as that is in view.

    Head mask and field of view lie on the template grid at 2 mm. None if too little of the face is in view.
    """
    seen = _seen(in_fov)
    if seen.sum() < MIN_SEEN * np.isfinite(mean_depth()).sum():
        return None
    return float(np.abs(depth(head) - mean_depth())[seen].mean())


def in_view(in_fov: np.ndarray, margin_mm: float = 0.0) -> float:
    """Fraction of the mean face that is in view at 2 mm, with `margin_mm` of room in front of it."""
    return float(_seen(in_fov, margin_mm).sum() / np.isfinite(mean_depth()).sum())


def _seen(in_fov: np.ndarray, margin_mm: float = 0.0) -> np.ndarray:
    """Points of the mean face whose skin, moved to the front by a margin, is in view; shape as `depth`."""
    mean = mean_depth() + margin_mm
    window, front = _window(in_fov.shape[0])
    compared = np.isfinite(mean)
    index = np.abs(front[:, None, None] - np.where(compared, mean, front[0])).argmin(axis=0)
    return compared & np.take_along_axis(in_fov[window], index[:, None], axis=1)[:, 0]


def _window(n: int) -> tuple[tuple[slice, ...], np.ndarray]:
    """Voxels of the face box, and their positions from back to front (mm)."""
    window = ndimage.find_objects(regions.box(regions.FACE, n).astype(np.uint8))[0]
    affine = geometry.grid_affine(n)
    return window, (affine[1, 1] * np.arange(n) + affine[1, 3])[window[1]]
