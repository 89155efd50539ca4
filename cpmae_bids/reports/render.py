"""Shaded renderings of the skin surface of a head scan, in plain numpy and scipy.

Orthographic views at a fixed scale, as a recognition attack, a detector or a person would see the scan.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage

from cpmae_bids.deid.images.intensity import TINY, skin_level
from cpmae_bids.deid.images.masks import largest_component

VIEW_MM = 256.0  # width and height of the view, whatever the size in pixels
VERTEX_TO_CENTRE_MM = 118.0  # the view's centre lies this far below the top: chin and vertex both fit
FINEST_MM = 1.0  # finer scans are averaged down to about this: below it there is noise, not shape
SMOOTHING_MM = 1.0  # standard deviation of the Gaussian that takes the noise out of the surface normals
MARGIN = 3  # voxels of air added on every side
DEPTH_STEP_MM = 2.0  # spacing of the samples along a ray; between two, the crossing is interpolated
_AT_A_TIME = 8  # samples along a ray that are read together
ANTIALIAS_PIXELS = 0.6  # standard deviation of the reconstruction filter
AMBIENT = 0.1
LIGHT = (0.0, -0.35, -1.0)  # from above the camera, in (right, down, away from the camera)


@dataclass(frozen=True)
class SkinField:
    """A smoothed head whose skin is the surface where ``values`` is 0."""

    # shape (X, Y, Z), float32: intensity above that of the skin surface: positive in the head, zero or
    # negative everywhere else
    values: np.ndarray
    affine: np.ndarray  # shape (4, 4): voxel indices to world coordinates (RAS, mm)
    box: np.ndarray  # shape (2, 3): lowest and highest world coordinates of the head, in mm
    # int, shape (3, n): indices of the voxels of the head that have neighbours outside of it
    surface: np.ndarray


def skin_field(volume: np.ndarray, affine: np.ndarray, level: float | None = None) -> SkinField:
    """Prepare a scan for rendering: average down, smooth, find the skin and drop what floats around it.

    `volume` (X, Y, Z) is a whole-head scan in any orientation, scaled values of any unit, and `affine` leads
    to RAS mm. `level` is the intensity of the skin; found from the histogram by default. Raises ValueError if
    `volume` is not three-dimensional, is constant, or has nothing above `level`.
    """
    volume = np.asarray(volume)
    if volume.ndim != 3:
        raise ValueError(f'a head volume has three axes, not {volume.ndim}')
    values = np.nan_to_num(volume.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    values, affine = _average_down(values, np.asarray(affine, dtype=float))
    if level is None:
        level = skin_level(values)
    values -= level
    air = min(float(np.median(values[values <= 0])), 0.0) if np.any(values <= 0) else -abs(float(level))
    values = np.pad(values, MARGIN, constant_values=air)  # a cut through the neck is a surface too
    affine = affine @ from_matvec(np.eye(3), [-MARGIN] * 3)
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    values = ndimage.gaussian_filter(values, SMOOTHING_MM / zooms, mode='nearest', truncate=3.0)

    head = largest_component(values > 0)
    if not head.any():
        raise ValueError(f'nothing in the volume is brighter than {level:g}')
    # what floats in the air may come up to the skin level but not cross it; the ramp from air to skin stays
    values = np.where(head, values, np.minimum(values, 0.0))

    (window,) = ndimage.find_objects(head.astype(np.uint8))
    corners = apply_affine(affine, list(product(*((part.start, part.stop - 1) for part in window))))
    surface = np.array(np.nonzero(head & ~ndimage.binary_erosion(head)))
    return SkinField(values, affine, np.array([corners.min(axis=0), corners.max(axis=0)]), surface)


def render_field(field: SkinField, *, yaw_deg: float = 0.0, size: int = 256) -> np.ndarray:
    """Render one view of a prepared head: a grey picture on black, (size, size), uint8, first row at the top.

    The subject's right is on the left, as when facing them; the view is always 256 mm wide.

    Parameters
    ----------
    yaw_deg : float
        Turn of the head about the vertical axis, in degrees: 0 faces the viewer, 90 faces the left of the
        picture (the subject's right).
    size : int
        Height and width of the picture in pixels.
    """
    pixel = VIEW_MM / size
    yaw = np.deg2rad(yaw_deg)
    right = np.array([-np.cos(yaw), -np.sin(yaw), 0.0])
    away = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    centre = field.box.mean(axis=0)
    centre[2] = field.box[1, 2] - VERTEX_TO_CENTRE_MM
    # world mm per row, column and sample along the ray
    steps = np.stack([down * pixel, right * pixel, away * DEPTH_STEP_MM])

    # only the part of the view that the head's box can fall into is sampled
    corners = np.array(list(product(*field.box.T))) - centre
    reach = corners @ (steps / np.square(np.linalg.norm(steps, axis=1))[:, None]).T
    middle = (size - 1) / 2
    lowest = np.floor(reach.min(axis=0)) - 2
    shape = np.ceil(reach.max(axis=0) + 2 - lowest).astype(int) + 1
    top_left = np.clip(np.floor(lowest[:2] + middle), 0, size).astype(int)
    bottom_right = np.clip(top_left + shape[:2], 0, size)
    shape[:2] = bottom_right - top_left

    start = centre + np.array([*(top_left - middle), lowest[2]]) @ steps
    to_voxel = np.linalg.inv(field.affine)
    matrix = to_voxel[:3, :3] @ steps.T
    offset = apply_affine(to_voxel, start)
    rows, columns, depth = _first_crossings(field, matrix, offset, shape)

    points = matrix @ np.stack([rows, columns, depth]) + offset[:, None]
    light = np.array(LIGHT) @ np.stack([right, down, away])
    lambert = np.clip(light / np.linalg.norm(light) @ _normals(field, points), 0.0, 1.0)
    picture = np.zeros((size, size), dtype=np.float32)
    picture[rows + top_left[0], columns + top_left[1]] = AMBIENT + (1.0 - AMBIENT) * lambert
    picture = ndimage.gaussian_filter(picture, ANTIALIAS_PIXELS)
    return np.round(255.0 * picture).astype(np.uint8)


def _first_crossings(
    field: SkinField, matrix: np.ndarray, offset: np.ndarray, shape: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find where rays meet the skin, sampled near their first surface voxels: rows, columns, depths."""
    places = np.linalg.solve(matrix, field.surface - offset[:, None])
    around = np.ceil(np.abs(np.linalg.inv(matrix)).sum(axis=1) * 2 + [0, 0, 1]).astype(int)
    pixels = np.rint(places[:2]).astype(int) + around[:2, None]
    nearest = np.full(shape[:2] + 2 * around[:2], np.inf)
    seen = np.all((pixels >= 0) & (nearest.shape > pixels.T).T, axis=0)
    np.minimum.at(nearest, tuple(pixels[:, seen]), places[2, seen])
    nearest = ndimage.minimum_filter(nearest, 2 * around[:2] + 1, mode='constant', cval=np.inf)
    nearest = nearest[tuple(slice(n, -n) for n in around[:2])]

    rows, columns = np.nonzero(np.isfinite(nearest))
    start = np.maximum(np.floor(nearest[rows, columns]).astype(int) - around[2], 0)
    air = float(field.values.min())
    met = []
    while len(rows):
        samples = start[:, None] + np.arange(_AT_A_TIME)
        indices = np.stack(np.broadcast_arrays(rows[:, None], columns[:, None], samples)).reshape(3, -1)
        values = ndimage.map_coordinates(
            field.values, matrix @ indices + offset[:, None], order=1, mode='constant', cval=air
        ).reshape(samples.shape)
        inside = (values > 0) & (samples < shape[2])
        hit = inside.any(axis=1)
        after = inside[hit].argmax(axis=1)
        value_before, value_after = (values[hit, np.maximum(at, 0)] for at in (after - 1, after))
        depth = start[hit] + after - value_after / np.maximum(value_after - value_before, value_after)
        met.append(np.stack([rows[hit], columns[hit], depth]))
        start += _AT_A_TIME - 1
        on = ~hit & (start < shape[2])
        rows, columns, start = rows[on], columns[on], start[on]
    crossings = np.concatenate(met, axis=1) if met else np.empty((3, 0))
    return crossings[0].astype(int), crossings[1].astype(int), crossings[2]


def _average_down(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of voxels along every axis that is at least twice as fine as FINEST_MM."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    factors = np.maximum(np.floor(FINEST_MM / zooms + 1e-3).astype(int), 1)
    if np.all(factors == 1):
        return values, affine
    shape = np.array(values.shape) // factors
    if np.any(shape == 0):
        return values, affine
    values = values[tuple(slice(0, n * f) for n, f in zip(shape, factors, strict=True))]
    blocks = values.reshape(shape[0], factors[0], shape[1], factors[1], shape[2], factors[2])
    coarse = from_matvec(affine[:3, :3] * factors, apply_affine(affine, (factors - 1) / 2))
    return blocks.mean(axis=(1, 3, 5)), coarse


def _normals(field: SkinField, points: np.ndarray) -> np.ndarray:
    """Outward unit normals in world axes, (3, n), at voxel coordinates (3, n)."""
    # Central differences of one voxel: interpolated slopes have none of the terraces of interpolated values
    slopes = np.stack(
        [
            _sample(field.values, points, axis, +1) - _sample(field.values, points, axis, -1)
            for axis in range(3)
        ]
    )
    # a gradient is a covector: it goes to world axes by the inverse transpose
    gradient = np.linalg.inv(field.affine[:3, :3]).T @ slopes
    return -gradient / np.maximum(np.linalg.norm(gradient, axis=0), TINY)


def _sample(values: np.ndarray, points: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Linear interpolation of values at voxel coordinates moved by step voxels along one axis."""
    moved = points.copy()
    moved[axis] += step
    return ndimage.map_coordinates(values, moved, order=1, mode='nearest')
