"""Masks on anisotropic grids: distances are in mm, not in voxels."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial import cKDTree

from cpmae_bids.deid.images.intensity import SKIN

# A distance that exceeds a limit by less than this (mm) is within it: affines come in single precision
ROUNDING = 1e-3


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Largest face-connected component; an empty mask stays empty. Bool, shape (X, Y, Z)."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return labels > 0
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Windows of a volume in which each voxel of the first has its neighbour along an axis in the second."""
    before, after = (slice(None),) * axis, (slice(None),) * (2 - axis)
    return (*before, slice(0, -1), *after), (*before, slice(1, None), *after)


def fill_head(mask: np.ndarray) -> np.ndarray:
    """Fill the cavities of a head, also those of the neck that leave the grid at its lower end (z = 0)."""
    lid = ndimage.binary_fill_holes(mask[:, :, 0])
    return ndimage.binary_fill_holes(np.concatenate([lid[:, :, None], mask], 2))[:, :, 1:]


def head_mask(
    volume: np.ndarray,
    threshold: float = SKIN,
    *,
    sigma: float = 1.0,
    brain: np.ndarray | None = None,
    within: np.ndarray | None = None,
    fill: bool = False,
) -> np.ndarray:
    """Segment a head by a threshold: the largest component, without what floats in the air; bool.

    Parameters
    ----------
    volume : ndarray of float, shape (X, Y, Z)
        Air 0; brain scale 1, or in the unit of the threshold.
    threshold : float
        `intensity.SKIN` or `intensity.TISSUE`, or the level of the skin of a scan (`intensity.skin_level`).
    sigma : float
        Standard deviation in voxels of the Gaussian that smooths the volume first.
    brain, within : ndarray of bool, shape (X, Y, Z), optional
        What belongs to the head, however dark, and where alone it may lie.
    fill : bool
        Whether cavities belong to it.
    """
    tissue = (ndimage.gaussian_filter(volume, sigma) if sigma else volume) > threshold
    if brain is not None:
        tissue = tissue | brain
    if within is not None:
        tissue = tissue & within
    head = largest_component(tissue)
    return ndimage.binary_fill_holes(head) if fill else head


def distance_outside(mask: np.ndarray, voxel_sizes: ArrayLike, limit: float) -> np.ndarray:
    """Distance (mm) between voxel centres to the nearest voxel of a mask, 0 inside; float32, shape (X, Y, Z).

    It is ``inf`` beyond the limit (mm): a distance transform of the whole grid takes ten times as long.
    """
    mask = np.asarray(mask, dtype=bool)
    sizes = np.asarray(voxel_sizes, dtype=float)
    distance = np.full(mask.shape, np.inf, np.float32)
    if not mask.any():
        return distance
    distance[mask] = 0
    reach = np.ceil(limit / sizes).astype(int)
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    window = tuple(slice(max(s.start - n, 0), s.stop + n) for s, n in zip(found, reach, strict=True))
    inside = box = mask[window]
    for axis, n in enumerate(reach):
        box = ndimage.maximum_filter1d(box, 2 * n + 1, axis=axis, mode='constant')
    start = [s.start for s in window]
    shell = np.argwhere(box & ~inside) + start
    rim = np.argwhere(inside & ~ndimage.binary_erosion(inside, border_value=1)) + start
    if len(shell) and len(rim):
        near, _ = cKDTree(rim * sizes).query(shell * sizes, distance_upper_bound=limit + ROUNDING)
        distance[tuple(shell.T)] = near
    return distance


def dilate(mask: np.ndarray, mm: float, voxel_sizes: ArrayLike) -> np.ndarray:
    """Add all voxels whose centre lies within `mm` of a voxel of the mask. Bool, shape (X, Y, Z)."""
    return np.isfinite(distance_outside(mask, voxel_sizes, mm))


def feather_width(voxel_sizes: ArrayLike) -> float:
    """Width of the feather: 2 mm, and at least one and a half voxels, or there would be no voxel to blend.

    Of thick slices the edges in plane count: across them, tissue is blurred already.
    """
    return max(2.0, 1.5 * float(np.median(np.asarray(voxel_sizes, float))))


def seam_width(voxel_sizes: ArrayLike) -> float:
    """Distance in mm from the preserved region to a voxel beyond the feather, where all is generated."""
    return feather_width(voxel_sizes) + float(np.max(voxel_sizes))


def feather_weights(distance: np.ndarray, width: float) -> np.ndarray:
    """Weight of the original: 1 in the preserved region, and half a cosine down to 0 at `width` (mm) from it.

    By the distances that `distance_outside` gave, up to `width` or more; float32, shape (X, Y, Z).
    """
    weights = np.zeros(distance.shape, np.float32)
    near = distance < width
    weights[near] = 0.5 * (1 + np.cos(np.pi * distance[near] / width))
    return weights
