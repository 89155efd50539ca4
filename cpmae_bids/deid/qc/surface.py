"""The outer surface of heads on the template grid, and how far it moved."""

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.space import geometry, regions

# Surface voxels of 2 mm below which a face is not in view, and the whole head is compared instead
MIN_FACE_VOXELS = 500


def outer_surface(head: np.ndarray, in_fov: np.ndarray) -> np.ndarray:
    """Voxels of the head that border on air within the field of view; bool, shape (n, n, n)."""
    return head & ndimage.binary_dilation(in_fov & ~head)


def mean_distance(a: np.ndarray, b: np.ndarray, voxel_size: float) -> float:
    """Symmetric mean distance between two surfaces in mm; ``inf`` if one is empty and ``nan`` if both are."""
    if not a.any() or not b.any():
        return np.inf if a.any() or b.any() else np.nan
    window = ndimage.find_objects((a | b).astype(np.uint8))[0]
    a, b = a[window], b[window]
    to_a = ndimage.distance_transform_edt(~a, sampling=voxel_size)
    to_b = ndimage.distance_transform_edt(~b, sampling=voxel_size)
    return float(0.5 * (to_b[a].mean() + to_a[b].mean()))


def compare(original: np.ndarray, refaced: np.ndarray, in_fov: np.ndarray) -> tuple[float, float]:
    """How far two heads' outer surfaces are apart: over the face, or the head where no face is in view.

    Filled head masks (`masks.head_mask`) and field of view are bool, (n, n, n). Returns the mean distance in
    mm, and the fraction of the original's surface that coincides with the refaced one, NaN if it has none. A
    part of a face that stayed, noised or resampled, shows in the latter first.
    """
    before, after = outer_surface(original, in_fov), outer_surface(refaced, in_fov)
    face = regions.box(regions.FACE, original.shape[0])
    if (before & face).sum() >= MIN_FACE_VOXELS:
        before, after = before & face, after & face
    same = float((before & after).sum() / before.sum()) if before.any() else np.nan
    return mean_distance(before, after, geometry.GRID_EDGE_MM / original.shape[0]), same


def roughness(head: np.ndarray, in_fov: np.ndarray) -> float:
    """Surface voxels of a head over the 2/3 power of its voxels; 3.5 to 7 for smooth heads."""
    return float(outer_surface(head, in_fov).sum() / max(head.sum(), 1) ** (2 / 3))
