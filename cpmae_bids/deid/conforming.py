"""A scan as the models see it: brain and head, apart, in the cube."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cpmae_bids.deid import geometry, intensity


@dataclass(frozen=True)
class Conformed:
    """Brain and head of one scan in the cube of ``n`` voxels per edge.

    Attributes
    ----------
    brain : ndarray of float32, shape (n, n, n)
        Brain in units of `scale`, 0 outside the brain. Depends on voxels inside the brain mask alone.
    head : ndarray of float32, shape (n, n, n)
        Head in units of `scale`, `intensity.HOLE` inside the brain, 0 outside the field of view.
    in_fov : ndarray of bool, shape (n, n, n)
        Where the scan covers the cube.
    scale : float
        Intensity of the scan that is 1 in the cube.
    """

    brain: np.ndarray
    head: np.ndarray
    in_fov: np.ndarray
    scale: float


def conform(
    data: np.ndarray, brain_mask: np.ndarray, affine: np.ndarray, world_to_template: np.ndarray, n: int
) -> Conformed:
    """Bring a scan into the cube.

    Brain and head are smoothed and interpolated each within its own mask (normalised convolution), so that
    the brain in the cube does not change with the head around it.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Scaled intensities on the native grid; finite.
    brain_mask : ndarray of bool, shape (X, Y, Z)
    affine, world_to_template : ndarray, shape (4, 4)
        Native voxels to world, world to template world (mm).
    n : int
        Voxels along an edge of the cube.

    Returns
    -------
    conformed : Conformed

    Raises
    ------
    InputError
        If the brain is empty or has no positive intensity.
    """
    mask = np.asarray(brain_mask, dtype=bool)
    scale = intensity.brain_scale(data[mask])
    data = np.asarray(data, dtype=np.float32)

    # The margin holds the whole tail of the anti-alias filter of 0.5 mm voxels
    window, window_affine = geometry.crop(mask, affine, margin=8)
    brain_weight = geometry.to_cube(mask[window], window_affine, world_to_template, n)
    in_brain = brain_weight >= 0.5
    brain = geometry.to_cube(np.where(mask, data, 0)[window], window_affine, world_to_template, n)
    brain = _ratio(brain, brain_weight, in_brain)

    in_fov = geometry.field_of_view(mask.shape, affine, world_to_template, n)
    head = geometry.to_cube(np.where(mask, 0, data), affine, world_to_template, n, mode='nearest')
    head = intensity.normalize(_ratio(head, 1 - brain_weight, in_fov & ~in_brain), scale)
    head[in_brain] = intensity.HOLE
    return Conformed(intensity.normalize(brain, scale), head, in_fov, scale)


def _ratio(weighted: np.ndarray, weight: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.divide(weighted, weight, out=np.zeros_like(weighted), where=where)
