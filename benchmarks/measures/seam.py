"""Is there a seam? Gradients at the border of what was kept, after over before."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from benchmarks import derived
from benchmarks.pairs import Pair

TISSUE = 0.15
"""Share of the brain's mean intensity above which there is tissue."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare the gradients of output and original at two borders.

    Returns
    -------
    numbers : dict
        ``kept``: at the border of the kept mask (brain and guard rim). ``cut``: at the border between the
        tissue that the method really left as it was and what it changed, which for defacing is the cut
        through the face. Both are `gradient_ratio`; 1 where nothing changed.
    """
    before, affine = derived.image(pair, 'original')
    after, _ = derived.image(pair, 'output')
    kept = derived.mask(pair.kept_mask)
    if np.array_equal(before, after):
        return {'kept': 1.0, 'cut': 1.0}
    return {
        'kept': gradient_ratio(before, after, kept, ~kept, affine),
        'cut': gradient_ratio(before, after, *left_and_changed(before, after, kept), affine),
    }


def left_and_changed(
    before: np.ndarray, after: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tissue around the brain that is as it was, and what is not; two masks, bool, shape (X, Y, Z).

    Neither has what is thinner than three voxels: some are equal by chance. Air is left out: 0 stays 0.
    """
    same = before == after
    tissue = before > TISSUE * before[kept].mean()
    components, count = ndimage.label(ndimage.binary_opening(same & tissue))
    inside = np.bincount(components[kept], minlength=count + 1)
    inside[0] = 0
    left = components == inside.argmax() if inside.any() else np.zeros_like(same)
    return left, ndimage.binary_opening(~same)


def gradient_ratio(
    before: np.ndarray, after: np.ndarray, left: np.ndarray, changed: np.ndarray, affine: np.ndarray
) -> float | None:
    """Mean gradient magnitude where two regions meet, after over before.

    Counted are the voxels of one region within 2 mm of the other (one and a half voxels, where they are
    large): on the outside, that is as wide as the feather of this tool.

    Parameters
    ----------
    before, after : ndarray, shape (X, Y, Z)
    left, changed : ndarray of bool, shape (X, Y, Z)
        The regions.
    affine : ndarray, shape (4, 4)

    Returns
    -------
    ratio : float or None
        1 without a seam, less where the output is smoother than the scan; None where the regions do not
        meet, or the scan has no gradient there.
    """
    from cpmae_bids.deid.images import masks
    from cpmae_bids.deid.space import geometry

    sizes = geometry.voxel_sizes(affine)
    width = masks.feather_width(sizes)
    shell = (masks.dilate(left, width, sizes) & changed) | (masks.dilate(changed, width, sizes) & left)
    if not shell.any():
        return None
    window, _ = geometry.crop(shell, affine, margin=1)
    old, new = (magnitude(values[window], sizes)[shell[window]].mean() for values in (before, after))
    return float(new / old) if old else None


def magnitude(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Gradient magnitude per mm, by central differences; shape (X, Y, Z)."""
    return np.sqrt(sum(part**2 for part in np.gradient(values.astype(np.float32), *sizes)))
