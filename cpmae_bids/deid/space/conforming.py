"""A scan as the models see it: brain and head, apart, on the template grid."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import intensity
from cpmae_bids.deid.space import geometry


@dataclass(frozen=True)
class ConformedHead:
    """Head of a scan on the template grid of ``n`` voxels per edge."""

    # float32, shape (n, n, n): in units of the brain scale; `intensity.HOLE` inside the brain, 0 outside the
    # field of view
    head: np.ndarray
    in_fov: np.ndarray  # bool, shape (n, n, n): where the scan covers the template grid
    in_brain: np.ndarray  # bool, shape (n, n, n)


def conform_brain(
    data: np.ndarray, brain_mask: np.ndarray, affine: np.ndarray, world_to_template: np.ndarray, n: int
) -> tuple[np.ndarray, float]:
    """Bring the brain of a scan onto the template grid, ``n`` voxels along each edge.

    Brain and head are smoothed and interpolated each within its own mask (normalised convolution), so that
    the brain on the template grid does not change with the head around it. Raises InputError if the brain is
    empty or has no positive intensity.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Scaled intensities on the native grid; finite.
    brain_mask : ndarray of bool, shape (X, Y, Z)
    affine, world_to_template : ndarray, shape (4, 4)
        See `geometry`.

    Returns
    -------
    brain : ndarray of float32, shape (n, n, n)
        In units of `scale`, 0 outside the brain. Depends on voxels inside the brain mask alone.
    scale : float
        Intensity of the scan that is 1 on the template grid.
    """
    mask = np.asarray(brain_mask, dtype=bool)
    scale = intensity.brain_scale(data[mask])
    window, window_affine = _around(mask, affine)
    weight = geometry.to_template(mask[window], window_affine, world_to_template, n)
    values = np.where(mask, np.asarray(data, dtype=np.float32), 0)[window]
    brain = geometry.to_template(values, window_affine, world_to_template, n)
    inside = weight >= 0.5
    for box in ndimage.find_objects(inside.astype(np.uint8)):  # one, or none; elsewhere all is 0
        part = _ratio(brain[box], weight[box], inside[box])
        brain[box] = intensity.normalize(part, scale)
    brain[~inside] = 0
    return brain, scale


def conform_head(
    data: np.ndarray,
    brain_mask: np.ndarray,
    affine: np.ndarray,
    world_to_template: np.ndarray,
    n: int,
    scale: float,
) -> ConformedHead:
    """Bring the head of a scan, without its brain, onto the template grid.

    `scale` is what `conform_brain` returns; see there for the other parameters.
    """
    mask = np.asarray(brain_mask, dtype=bool)
    window, window_affine = _around(mask, affine)
    weight = geometry.to_template(mask[window], window_affine, world_to_template, n)
    in_brain = weight >= 0.5
    in_fov = geometry.field_of_view(mask.shape, affine, world_to_template, n)
    values = np.where(mask, 0, np.asarray(data, dtype=np.float32))
    head = geometry.to_template(values, affine, world_to_template, n, mode='nearest')
    head = intensity.normalize(_ratio(head, 1 - weight, in_fov & ~in_brain), scale)
    head[in_brain] = intensity.HOLE
    return ConformedHead(head, in_fov, in_brain)


def _around(mask: np.ndarray, affine: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """Box of the brain, with room for the whole tail of the anti-alias filter of 0.5 mm voxels."""
    return geometry.crop(mask, affine, margin=8)


def _ratio(weighted: np.ndarray, weight: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.divide(weighted, weight, out=np.zeros_like(weighted), where=where)
