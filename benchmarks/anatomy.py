"""Is generated tissue anatomy? Coherence, fine contrast, bright tissue, power and globes of a head.

Everything is measured outside of the brain and on the own grid of the image: resampling smooths.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from cpmae_bids.deid.space import geometry

FROM_BRAIN_MM = 6.0
"""What lies nearer to the brain may be original, or is blended with it."""

FROM_SKIN_MM = 6.0
"""The skin has the strongest gradient of a head, and every method has one."""

TISSUE = 0.12
"""Intensity (75th percentile of the brain is 1) of the head after a low-pass filter of 2 mm."""

WINDOW_MM = 3.0
"""Standard deviation of the window of the structure tensor, and of the low-pass filter of fine contrast."""

VOXELS = 60_000
"""Sampled of the tissue: the eigenvalues of all would take most of the time."""

BANDS_MM = (32.0, 16.0, 8.0, 4.0, 2.5)
"""Limits of the bands of the power spectrum, as wavelengths."""

TILE_MM = 32.0
TISSUE_IN_TILE = 0.15
"""Intensity (white matter is 1) above which a voxel of a tile is tissue."""

EYES = ((-34.0, 56.0, -40.0), (34.0, 56.0, -40.0))
"""Middles of the globes in the template (mm), of the mean of a dozen heads aligned by their brains."""

EYE_REACH_MM = 14.0
"""How far a globe may be from its place, along each axis: sockets differ, and so does the slant of a head."""

GLOBE_RADII_MM = (10.0, 11.0, 12.0, 13.0, 14.0)
"""Of globes; an adult's is 12 mm."""

SHELL_MM = (1.0, 4.0)
"""The surroundings of a globe that are compared with it, from its surface outwards."""

GLOBE_CONTRAST = 0.2
"""Least difference between surroundings and globe (75th percentile of the brain is 1)."""

ROUND = 0.7
"""Least share of the directions from the middle of a globe in which the surroundings are brighter: in front
is the lid, which is thin, and on the sides the bone may come near."""

EVEN = 3.0
"""Least contrast of a globe over the standard deviation within it. The vitreous body is even: training heads
have 3.1 to 7, but for one that moved its eyes, and grain of the right mean intensity has 1.9 to 2.7."""


class Structure(NamedTuple):
    """Structure of the tissue of a head.

    Attributes
    ----------
    coherence : float
        Median over voxels of (e1 - e2) / (e1 + e2) of the largest two eigenvalues of the structure tensor: 1
        for layers, less the more directions there are at one place, about 0.27 for filtered noise.
    fine : float
        Standard deviation of what a low-pass filter of 3 mm removes (75th percentile of the brain is 1).
    bright : float
        95th percentile of the tissue, in the same unit.
    """

    coherence: float
    fine: float
    bright: float


def structure(values: np.ndarray, brain: np.ndarray, sizes: np.ndarray) -> Structure:
    """Measure the tissue between brain and skin.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
    brain : ndarray of bool, shape (X, Y, Z)
    sizes : ndarray, shape (3,)
        Voxel edges, mm.

    Returns
    -------
    Structure

    Raises
    ------
    ValueError
        If the brain is empty or dark, or there is no tissue around it.
    """
    scaled = values.astype(np.float32) / scale(values, brain)
    where = tissue(scaled, brain, sizes)
    if not where.any():
        raise ValueError('there is no tissue between brain and skin')
    # Everything below looks at most 4 standard deviations of all its filters far
    reach = np.ceil(4 * (WINDOW_MM + np.maximum(1, sizes / 2)) / sizes).astype(int) + 1
    box = tuple(
        slice(max(part.start - more, 0), part.stop + more)
        for part, more in zip(ndimage.find_objects(where.view(np.uint8))[0], reach, strict=True)
    )
    # drawn before the box is cut out: the order of the voxels is that of the whole volume either way
    chosen = _sample(where)[box]
    scaled = scaled[box]
    fine = (scaled - ndimage.gaussian_filter(scaled, WINDOW_MM / sizes))[chosen]
    return Structure(
        coherence(scaled, chosen, sizes),
        float(fine.std(dtype=np.float64)),
        float(np.percentile(scaled[chosen], 95)),
    )


def scale(values: np.ndarray, brain: np.ndarray) -> np.float32:
    """75th percentile of the brain.

    Raises
    ------
    ValueError
        If it is not positive.
    """
    found = np.percentile(values[brain], 75) if brain.any() else 0
    if not found > 0:
        raise ValueError('the brain is empty or dark')
    return np.float32(found)


def tissue(scaled: np.ndarray, brain: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Tissue away from brain and skin; bool, shape (X, Y, Z)."""
    from_brain = ndimage.distance_transform_edt(~brain, sampling=sizes)
    head = (ndimage.gaussian_filter(scaled, 2 / sizes) > TISSUE) & (from_brain > FROM_BRAIN_MM)
    from_air = ndimage.distance_transform_edt(head | (from_brain <= FROM_BRAIN_MM), sampling=sizes)
    return head & (from_air > FROM_SKIN_MM)


def _sample(where: np.ndarray) -> np.ndarray:
    """At most `VOXELS` of a mask; bool, of the same shape."""
    index = np.flatnonzero(where)
    chosen = np.zeros(where.size, bool)
    chosen[np.random.default_rng(0).choice(index, min(VOXELS, len(index)), replace=False)] = True
    return chosen.reshape(where.shape)


def coherence(scaled: np.ndarray, where: np.ndarray, sizes: np.ndarray) -> float:
    """Median coherence of the structure tensor over a mask; see `Structure`.

    Bigün and Granlund, Optimal orientation detection of linear symmetry, 1987.
    """
    gradient = []
    for axis in range(3):
        order = [int(axis == other) for other in range(3)]
        slope = ndimage.gaussian_filter(scaled, np.maximum(1 / sizes, 0.5), order=order)
        gradient.append(slope / np.float32(sizes[axis]))
    tensor = np.empty((int(where.sum()), 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            product = ndimage.gaussian_filter(gradient[i] * gradient[j], WINDOW_MM / sizes)
            tensor[:, i, j] = tensor[:, j, i] = product[where]
    values = np.linalg.eigvalsh(tensor)
    first, second = values[:, 2], values[:, 1]
    return float(np.median((first - second) / (first + second + 1e-9)))


def spectrum(volume: np.ndarray, kept: np.ndarray, sizes: np.ndarray) -> list[float]:
    """Power of the tissue outside of the kept mask, by wavelength.

    The volume is cut into tiles of `TILE_MM`. Those that touch the kept mask, and those of which less than
    half is tissue, are left out; the others are windowed (Hann) after their mean is taken away.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
        White matter is about 1.
    kept : ndarray of bool, shape (X, Y, Z)
    sizes : sequence of 3 float
        mm.

    Returns
    -------
    power : list of float
        Mean power of a frequency in each of `BANDS_MM`; ``nan`` where there is no tile, or no frequency.
    """
    edge = np.maximum(1, np.round(TILE_MM / np.asarray(sizes))).astype(int)
    window = np.ones(())
    for size in edge:
        window = window[..., None] * np.hanning(size + 1)[:-1]
    frequency = np.sqrt(
        sum(axis**2 for axis in np.meshgrid(*map(np.fft.fftfreq, edge, sizes), indexing='ij', sparse=True))
    )
    powers = []
    for start in np.ndindex(*(np.array(volume.shape) // edge)):
        box = tuple(slice(i * size, (i + 1) * size) for i, size in zip(start, edge, strict=True))
        tile = volume[box].astype(np.float64)
        if not kept[box].any() and np.mean(tile > TISSUE_IN_TILE) >= 0.5:
            powers.append(np.abs(np.fft.fftn((tile - tile.mean()) * window)) ** 2)
    if not powers:
        return [np.nan] * (len(BANDS_MM) - 1)
    power = np.mean(powers, axis=0)
    nyquist = 1 / (2 * np.max(sizes))
    found = []
    for high, low in pairwise(BANDS_MM):
        band = (frequency >= 1 / high) & (frequency < 1 / low)
        seen = 1 / low <= nyquist * 1.01 and band.any()
        found.append(float(power[band].mean()) if seen else np.nan)
    return found


class Globe(NamedTuple):
    """The best sphere near the place of an eye.

    Attributes
    ----------
    contrast : float
        Of the shell (fat) over the sphere (75th percentile of the brain is 1).
    round : float
        Share of the directions in which the shell is brighter than the sphere.
    even : float
        Contrast over the standard deviation within the sphere.
    diameter_mm : float
    in_fov : bool
        Whether the scan covers the place of the eye.
    """

    contrast: float
    round: float
    even: float
    diameter_mm: float
    in_fov: bool

    @property
    def found(self) -> bool:
        """Whether this is a globe: dark, even, and in bright surroundings on most sides."""
        return self.contrast >= GLOBE_CONTRAST and self.round >= ROUND and self.even >= EVEN


def globes(
    values: np.ndarray, brain: np.ndarray, affine: np.ndarray, world_to_template: np.ndarray
) -> list[Globe]:
    """Look for dark spheres of 20 to 28 mm in fat, where the template has the eyes: right one first.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
    brain : ndarray of bool, shape (X, Y, Z)
        Gives the intensity scale.
    affine, world_to_template : ndarray, shape (4, 4)
        Voxel indices to world, world to template (mm).
    """
    unit = scale(values, brain)
    found = []
    for eye in EYES:
        reach = EYE_REACH_MM + GLOBE_RADII_MM[-1] + SHELL_MM[1]
        box, seen = around(values, affine, world_to_template, eye, reach)
        best = Globe(0.0, 0.0, 0.0, 0.0, False)
        if seen.mean() > 0.9:  # a cut through the outer part of a socket leaves the globe in view
            best = _best_sphere(box / unit)
        found.append(best)
    return found


_DIRECTIONS = 26


def _best_sphere(box: np.ndarray) -> Globe:
    """The sphere that differs most from its surroundings; box of 1 mm, its middle the expected place."""
    shape = box.shape
    spectra = [fft.rfftn(part, axes=(0, 1, 2)) for part in (box, box**2)]
    found = []
    for radius in GLOBE_RADII_MM:
        inside, shell, kernels = _kernels(radius, shape)
        edge = len(inside)

        def mean(which: int, kernel: np.ndarray, edge: int = edge) -> np.ndarray:
            """Of the box or its square under a kernel, wherever the kernel lies within the box."""
            return fft.irfftn(spectra[which] * kernel, shape)[edge - 1 :, edge - 1 :, edge - 1 :]

        # the kernels are symmetric: convolution is correlation
        sphere, around_it = mean(0, kernels[0]), mean(0, kernels[1])
        spread = np.sqrt(np.maximum(mean(1, kernels[0]) - sphere**2, 0))
        score = around_it - sphere - spread  # a globe is even
        best = np.unravel_index(score.argmax(), score.shape)
        window = box[tuple(slice(at, at + edge) for at in best)]
        sector = _nearest_direction(np.argwhere(shell) - edge // 2)
        counts = np.bincount(sector, minlength=_DIRECTIONS)
        bright = np.bincount(sector, window[shell], minlength=_DIRECTIONS) / np.maximum(counts, 1)
        brighter = bright > sphere[best] + GLOBE_CONTRAST / 2
        contrast = float(around_it[best] - sphere[best])
        even = contrast / max(float(spread[best]), 1e-6)
        found.append(Globe(contrast, float(brighter[counts > 0].mean()), even, 2 * radius, in_fov=True))
    return max(found, key=lambda one: one.contrast)


@cache
def _kernels(radius: float, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Masks of a sphere and its surroundings, and the spectra of their means in a box of a shape."""
    reach = int(np.ceil(radius + SHELL_MM[1]))
    distance = np.sqrt(np.square(np.indices((2 * reach + 1,) * 3) - reach).sum(axis=0))
    inside = distance <= radius - 1
    shell = (distance >= radius + SHELL_MM[0]) & (distance <= radius + SHELL_MM[1])
    spectra = []
    for part in (inside, shell):
        padded = np.zeros(shape, np.float32)
        padded[tuple(slice(0, size) for size in part.shape)] = part / part.sum()
        spectra.append(fft.rfftn(padded))
    return inside, shell, spectra


def _nearest_direction(offsets: np.ndarray) -> np.ndarray:
    """Which of the 26 neighbours of a voxel lies nearest to the direction of each offset; shape (N,)."""
    directions = np.array([d for d in np.ndindex(3, 3, 3) if d != (1, 1, 1)]) - 1.0
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    return (offsets @ directions.T).argmax(axis=1)


def around(
    values: np.ndarray,
    affine: np.ndarray,
    world_to_template: np.ndarray,
    place: tuple[float, float, float],
    reach_mm: float,
    axes: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a cube with voxels of 1 mm out of a scan, turned as the template is, but in the size of the scan.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
    affine, world_to_template : ndarray, shape (4, 4)
    place : tuple of 3 float
        Middle of the cube in the template (mm).
    reach_mm : float
        Half of an edge of the cube.
    axes : ndarray, shape (3, 3), optional
        Directions of the axes of the cube in the template, a column each; those of the template by default.

    Returns
    -------
    cube : ndarray of float32
    in_fov : ndarray of bool
    """
    count = int(np.ceil(reach_mm))
    grid = np.eye(4)
    grid[:3, :3] = rotation(world_to_template).T @ (np.eye(3) if axes is None else axes)
    middle = np.linalg.solve(world_to_template, [*place, 1])[:3]
    grid[:3, 3] = middle - grid[:3, :3] @ np.full(3, float(count))
    to_voxels = np.linalg.inv(affine) @ grid
    shape = (2 * count + 1,) * 3
    seen = geometry.resample(np.ones(values.shape, np.uint8), to_voxels, shape, order=0) > 0
    return geometry.resample(values, to_voxels, shape), seen


def rotation(matrix: np.ndarray) -> np.ndarray:
    """Rotation of an affine map, without its scales and shears (polar decomposition); shape (3, 3)."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    return left @ right
