"""Affine map to the template from the shape of the brain mask alone.

An attacker knows the brain of a refaced scan, so heads have to be compared in its frame. This map comes
within about 2 mm of the one by intensities (`cpmae_bids.steps.register`), in a second and with scipy alone.
"""

from functools import cache

import numpy as np
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage
from scipy.spatial import cKDTree

from cpmae_bids.deid.images import masks
from cpmae_bids.deid.space import geometry
from cpmae_bids.steps.skullstrip import GUARD_MM
from cpmae_bids.templates import find_template

POINTS = 3000  # of each surface, drawn at random with a fixed seed
ROUNDS = 60
TOLERANCE = 1e-3  # change of the matrix below which the fit has come to rest


def world_to_template(preserved: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Affine map (4, 4) from the world of a scan to that of the template, by iterated closest points.

    Parameters
    ----------
    preserved : ndarray of bool, shape (X, Y, Z)
        The preserved region of an output: brain and guard rim; not empty.
    affine : ndarray, shape (4, 4)
        Voxel indices to world (RAS mm).
    """
    target, tree = _template_surface()
    points = _draw(_surface(preserved, affine))
    fixed = _draw(target)
    matrix = _by_moments(points, target)
    homogeneous = np.column_stack([points, np.ones(len(points))])
    for _ in range(ROUNDS):
        moved = (homogeneous @ matrix.T)[:, :3]
        # Both ways, or a part of the brain could shrink to a patch of the template
        forth, back = tree.query(moved)[1], cKDTree(moved).query(fixed)[1]
        rows, *_ = np.linalg.lstsq(
            np.concatenate([homogeneous, homogeneous[back]]), np.concatenate([target[forth], fixed])
        )
        before, matrix = matrix, np.vstack([rows.T, [0, 0, 0, 1]])
        if np.abs(matrix - before).max() < TOLERANCE:
            break
    return matrix


def _by_moments(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Map that matches the centres and the extent along each axis."""
    scale = np.diag(target.std(axis=0) / points.std(axis=0))
    return from_matvec(scale, target.mean(axis=0) - scale @ points.mean(axis=0))


def _surface(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World coordinates of the outermost voxels of a mask, shape (N, 3)."""
    rim = mask & ~ndimage.binary_erosion(mask)
    return apply_affine(affine, np.argwhere(rim))


def _draw(points: np.ndarray) -> np.ndarray:
    if len(points) <= POINTS:
        return points
    return points[np.random.default_rng(0).choice(len(points), POINTS, replace=False)]


@cache
def _template_surface() -> tuple[np.ndarray, cKDTree]:
    template = find_template()
    # The rim of the preserved region, which the template's brain gets too
    mask = masks.dilate(template.mask, GUARD_MM, geometry.voxel_sizes(template.affine))
    surface = _surface(mask, template.affine)
    return surface, cKDTree(surface)
