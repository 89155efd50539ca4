"""The outer skin of a head in the frame of its brain, as maps that can be compared number by number.

The frame is the cube at the affine that the brain alone gives: an attacker who has the brain, which no method
takes away, has this frame for every head. Rays are followed from outside inwards to the first skin.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks.pairs import Pair
from cpmae_bids.deid.images import intensity, masks
from cpmae_bids.deid.images.intensity import SKIN
from cpmae_bids.deid.space import geometry
from cpmae_bids.steps.conform import read_affine

N = 128
STEP = 1.0
"""Of the samples along a ray, in mm; crossings are interpolated between them."""

SPACING = 2.0
"""Between rays, in mm."""

CENTRE = (0.0, -18.0, 10.0)
"""Middle of the brain in the template's world (mm)."""

REGIONS = ('face', 'ears', 'outline', 'brain')


def _grid(first: tuple[float, float], second: tuple[float, float]) -> np.ndarray:
    axes = [np.arange(low, high + SPACING / 2, SPACING) for low, high in (first, second)]
    return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 2)


def _sphere(count: int) -> np.ndarray:
    """Directions that are spread evenly (a Fibonacci lattice); shape (count, 3)."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def rays(region: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Rays of a region in the template's world.

    Parameters
    ----------
    region : {'face', 'ears', 'outline', 'brain'}
        ``face`` is seen from the front, from the brows to the chin; ``ears`` from both sides; ``outline`` is
        the scalp from above and behind; ``brain`` is seen from all around.

    Returns
    -------
    start : ndarray, shape (rays, 3)
        mm, outside of the head.
    direction : ndarray, shape (rays, 3)
        Unit vectors, inwards.
    length : float
        mm, as far as a ray is followed.
    """
    if region == 'face':
        xz = _grid((-74, 74), (-118, 4))
        start = np.stack([xz[:, 0], np.full(len(xz), 115.0), xz[:, 1]], axis=1)
        return start, np.tile([0.0, -1.0, 0.0], (len(xz), 1)), 115.0
    if region == 'ears':
        yz = _grid((-60, 20), (-80, 10))
        sides = []
        for side in (-1.0, 1.0):
            sides.append(np.column_stack([np.full(len(yz), 110 * side), yz]))
        inwards = np.repeat([[1.0, 0, 0], [-1.0, 0, 0]], len(yz), axis=0)
        return np.concatenate(sides), inwards, 65.0
    if region == 'outline':
        outwards = _sphere(4000)
        outwards = outwards[(outwards[:, 2] > 0) | ((outwards[:, 1] < -0.3) & (outwards[:, 2] > -0.3))]
        return np.array(CENTRE) + 150 * outwards, -outwards, 110.0
    if region == 'brain':
        outwards = _sphere(600)
        return np.array(CENTRE) + 120 * outwards, -outwards, 120.0
    raise ValueError(f'no region {region!r}')


def trace(cube: np.ndarray, in_fov: np.ndarray, region: str, level: float) -> np.ndarray:
    """How far rays come from outside before they meet something.

    Parameters
    ----------
    cube : ndarray, shape (n, n, n)
    in_fov : ndarray of bool, shape (n, n, n)
        Where the scan covers the cube.
    region : str
        See `rays`.
    level : float
        Intensity of the surface.

    Returns
    -------
    depth : ndarray of float32, shape (rays,)
        mm, at most the length of the rays; ``nan`` where the field of view ends before the surface.
    """
    start, direction, length = rays(region)
    to_cube = np.linalg.inv(geometry.grid_affine(cube.shape[0]))
    distance = np.arange(0, length + STEP, STEP)
    points = start[:, None] + distance[:, None] * direction[:, None]
    points = np.moveaxis(points @ to_cube[:3, :3].T + to_cube[:3, 3], -1, 0)
    values = ndimage.map_coordinates(cube, points, order=1, output=np.float32)
    covered = ndimage.map_coordinates(in_fov.astype(np.uint8), points, order=0) > 0

    inside = values >= level
    inside[:, 0] = False
    first = np.where(inside.any(axis=1), inside.argmax(axis=1), len(distance) - 1)
    row = np.arange(len(first))
    before, after = values[row, first - 1], values[row, first]
    hit = inside[row, first]
    share = np.where(hit, (after - level) / np.maximum(after - before, 1e-6), 0)
    depth = STEP * (first - np.clip(share, 0, 1))
    seen = covered[row, first] & covered[row, first - 1]
    return np.where(seen, depth, np.nan).astype(np.float32)


def skin(values: np.ndarray, brain: np.ndarray, affine: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A head in the cube, smoothed, with nothing floating around it.

    Parameters
    ----------
    values : ndarray of float32, shape (X, Y, Z)
    brain : ndarray of bool, shape (X, Y, Z)
        Gives the intensity scale.
    affine, matrix : ndarray, shape (4, 4)
        Voxel indices to world, world to template (mm).

    Returns
    -------
    cube : ndarray of float32, shape (N, N, N)
        In units of white matter; the skin is at `SKIN`.
    """
    cube = geometry.to_template(values, affine, matrix, N) / np.float32(intensity.brain_scale(values[brain]))
    return smooth(cube)


def smooth(cube: np.ndarray) -> np.ndarray:
    """The last part of `skin`; also for heads that are generated in the cube."""
    cube = ndimage.gaussian_filter(cube, 1)
    head = masks.largest_component(cube > SKIN)
    return np.where(ndimage.binary_dilation(head), cube, 0)


def maps(pair: Pair) -> dict[str, np.ndarray]:
    """Depths of all regions of the output of a pair, computed once; see `trace`.

    ``brain`` is the outer surface of the brain mask; ``scale`` (shape (3,)) are the sizes of the template
    relative to the brain, from the affine.
    """
    kept = pair.work / 'surface.npz'
    if not kept.exists():
        image = nib.load(pair.output)
        brain = np.asanyarray(nib.load(pair.brain_mask).dataobj) > 0
        matrix = read_affine(pair.affine)
        in_fov = geometry.field_of_view(image.shape, image.affine, matrix, N)
        cube = skin(image.get_fdata(dtype=np.float32), brain, image.affine, matrix)
        found = {region: trace(cube, in_fov, region, SKIN) for region in REGIONS if region != 'brain'}
        found['brain'] = trace(geometry.to_template(brain, image.affine, matrix, N), in_fov, 'brain', 0.5)
        found['scale'] = np.linalg.svd(matrix[:3, :3], compute_uv=False)
        part = kept.with_suffix('.part.npz')
        np.savez(part, **found)
        part.replace(kept)
    return read_maps(pair.work)


def read_maps(work: Path) -> dict[str, np.ndarray]:
    """What `maps` left in the folder of a pair."""
    with np.load(work / 'surface.npz') as arrays:
        return dict(arrays)


def mean_distances(probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Mean absolute difference of depths over the rays that are seen in both.

    Parameters
    ----------
    probes, gallery : ndarray, shape (heads, rays)
        ``nan`` where nothing is seen.

    Returns
    -------
    distances : ndarray, shape (probes, gallery)
        mm; ``nan`` for two heads that have less than a tenth of the rays in common.
    """
    distances = np.full((len(probes), len(gallery)), np.nan)
    for row, probe in enumerate(probes):
        difference = np.abs(gallery - probe)
        enough = np.isfinite(difference).mean(axis=1) >= 0.1
        distances[row, enough] = np.nanmean(difference[enough], axis=1)
    return distances
