"""Grids and the resampling between them.

Three spaces are in use. *Native* is the voxel grid of the scan. *World* is millimetres, RAS. The *template
grid* is a cube of 256 mm edge in the world of the template, ``n`` voxels along each edge, axes in RAS order.

An ``affine`` maps voxel indices to world millimetres; ``world_to_template`` maps the world of the scan to the
world of the template; ``target_to_source`` maps voxel indices of one grid to those of another. All are ``(4,
4)`` arrays that act on column vectors.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from nibabel.affines import from_matvec, voxel_sizes
from scipy import ndimage

from cpmae_bids.runtime import threads

GRID_EDGE_MM = 256.0  # edge of the template grid in mm
# Outer left, posterior, inferior corner of the template grid, in mm of the template's world
GRID_CORNER_MM = (-128.0, -140.0, -144.0)
_SLAB = 16  # planes of the first axis that are resampled at a time, whatever the number of threads
# Voxels from which on a voxel counts for nothing in cubic spline interpolation: less than 1 in 2000
_REACH = 6
_TAPS = 4  # voxels of a scan that a low-pass filter reaches to either side


def grid_affine(n: int) -> np.ndarray:
    """Affine (voxels to template world, mm) of the template grid with ``n`` voxels along each edge.

    The centre of voxel ``i`` lies at ``corner + (i + 0.5) * size``.
    """
    size = GRID_EDGE_MM / n
    return from_matvec(size * np.eye(3), np.add(GRID_CORNER_MM, size / 2))


def world_grid(
    shape: tuple[int, ...], affine: np.ndarray, size: float
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of the isotropic grid (mm) along the axes of the world that covers a whole scan."""
    low, high = extent(shape, affine)
    counts = np.ceil((high - low) / size - 1e-6).astype(int)
    grid = from_matvec(size * np.eye(3), low + size / 2)
    return grid, (int(counts[0]), int(counts[1]), int(counts[2]))


def extent(shape: Sequence[int], affine: np.ndarray, rim: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest coordinates (3,) of a grid, `rim` voxels around the outermost centres included."""
    corners = np.array(np.meshgrid(*[(-rim, n - 1 + rim) for n in shape])).reshape(3, -1)
    corners = affine[:3, :3] @ corners + affine[:3, 3:]
    return corners.min(axis=1), corners.max(axis=1)


def on_world_grid(
    values: np.ndarray, affine: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resample a scan, after smoothing, to the grid of `world_grid`, repeating the outermost voxels.

    Returns the volume (float32), the affine of its grid, and what of it the scan covers (bool).
    """
    grid, shape = world_grid(values.shape, affine, size)
    matrix = np.linalg.inv(affine) @ grid
    smoothed = smooth(values, antialias_sigma(affine, size))
    volume = resample(smoothed, matrix, shape, mode='nearest')
    return volume, grid, inside_grid(matrix, shape, values.shape)


def rotation(degrees: Sequence[float] | np.ndarray) -> np.ndarray:
    """Rotation matrix of angles about x, y and z, (3, 3)."""
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def resample(
    data: np.ndarray,
    target_to_source: np.ndarray,
    target_shape: tuple[int, int, int],
    *,
    order: int = 1,
    mode: str = 'constant',
) -> np.ndarray:
    """Sample a volume on another grid; float32, shape `target_shape`.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        The source volume; booleans and integers are sampled as float32.
    target_to_source : ndarray, shape (4, 4)
    target_shape : tuple of int
    order : int
        0 for the nearest voxel, 1 for linear, 3 for cubic spline interpolation, which overshoots at edges.
    mode : str
        What lies outside of the source, as in `scipy.ndimage.affine_transform`; a constant is 0.
    """
    if order not in (0, 1, 3):
        raise ValueError(f'order must be 0, 1 or 3, not {order}')
    to_source = np.array(target_to_source, dtype=float)
    if mode.endswith('constant'):  # the result is 0 wherever the source is
        reach = _REACH if order == 3 else 1
        window = _filled(data, _shadow(target_shape, to_source, data.shape, reach), reach)
        data = data[window]
        to_source[:3, 3] -= [part.start for part in window]
    resampled = np.zeros(target_shape, np.float32)
    if not data.size:
        return resampled
    source = np.ascontiguousarray(data, dtype=np.float32)
    if order == 3:  # SciPy's own filter would copy the volume in double precision
        source = ndimage.spline_filter(source, 3, output=np.float32)

    def fill(start: int) -> None:
        ndimage.affine_transform(
            source,
            to_source[:3, :3],
            offset=to_source[:3, 3] + to_source[:3, 0] * start,
            output=resampled[start : start + _SLAB],
            order=order,
            mode=mode,
            prefilter=False,
        )

    threads.each(fill, range(0, len(resampled), _SLAB))
    return resampled


def part_affine(affine: np.ndarray, window: Sequence[slice]) -> np.ndarray:
    """Affine of a part of a grid whose affine is known."""
    return affine @ from_matvec(np.eye(3), [part.start for part in window])


def _filled(data: np.ndarray, window: tuple[slice, ...], reach: int) -> tuple[slice, ...]:
    """The part of a window that holds what is not 0, and `reach` voxels around it."""
    filled = data[window] != 0
    if not filled.any():
        return (slice(0, 0),) * 3
    inner, _ = crop(filled, np.eye(4), margin=reach)
    return tuple(
        slice(part.start + own.start, part.start + own.stop) for part, own in zip(window, inner, strict=True)
    )


def template_to_native_voxels(n: int, affine: np.ndarray, world_to_template: np.ndarray) -> np.ndarray:
    """Matrix that takes voxel indices of the template grid to voxel indices of the scan, shape (4, 4)."""
    return np.linalg.inv(affine) @ np.linalg.inv(world_to_template) @ grid_affine(n)


def native_to_template_voxels(n: int, affine: np.ndarray, world_to_template: np.ndarray) -> np.ndarray:
    """Matrix that takes voxel indices of the scan to voxel indices of the template grid, shape (4, 4)."""
    return np.linalg.inv(grid_affine(n)) @ world_to_template @ affine


def lowest_slice(
    n: int, affine: np.ndarray, world_to_template: np.ndarray, shape: tuple[int, int, int]
) -> int:
    """Lowest slice of the template grid that a scan of a shape needs for interpolation; negative below it."""
    matrix = native_to_template_voxels(n, affine, world_to_template)
    return int(np.floor(matrix[2, 3] + np.minimum(matrix[2, :3] * shape, 0).sum())) - _REACH


def antialias_sigma(affine: np.ndarray, target_size: float) -> np.ndarray:
    """Gaussian that takes the resolution of a grid down to that of a coarser one; in its voxels, shape (3,).

    The voxel edge stands for the full width at half maximum, before and after. Axes that are already as
    coarse as the target (`target_size`, mm of the world that the affine leads to) are left alone.
    """
    size = voxel_sizes(affine)
    fwhm = np.sqrt(np.clip(target_size**2 - size**2, 0, None))
    return fwhm / np.sqrt(8 * np.log(2)) / size


def smooth(data: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Gaussian filter in float32; axes with a sigma below a tenth of a voxel are skipped."""
    result = np.asarray(data, dtype=np.float32)
    for axis, width in enumerate(sigma):
        if width > 0.1:
            lines = np.moveaxis(result, axis, -1)
            result = np.empty_like(result)
            smoothed = np.moveaxis(result, axis, -1)
            slabs = [slice(start, start + _SLAB) for start in range(0, len(lines), _SLAB)]
            threads.each(partial(_smooth_lines, lines, smoothed, width), slabs)
    return result


def _smooth_lines(lines: np.ndarray, smoothed: np.ndarray, width: float, part: slice) -> None:
    ndimage.gaussian_filter1d(lines[part], width, output=smoothed[part], mode='nearest', truncate=3.0)


def pool(volume: np.ndarray, factor: int) -> np.ndarray:
    """Mean of blocks of ``factor^3`` voxels; float32, shape (X / factor, Y / factor, Z / factor)."""
    if factor == 1:
        return np.asarray(volume, np.float32)
    pooled = np.zeros([n // factor for n in volume.shape], np.float32)
    for box in ndimage.find_objects((volume != 0).astype(np.uint8)):  # one, or none; elsewhere all is 0
        blocks = tuple(slice(s.start // factor, -(-s.stop // factor)) for s in box)
        part = volume[tuple(slice(s.start * factor, s.stop * factor) for s in blocks)]
        cells = [n for size in part.shape for n in (size // factor, factor)]
        pooled[blocks] = np.asarray(part, np.float32).reshape(cells).mean((1, 3, 5))
    return pooled


def crop(mask: np.ndarray, affine: np.ndarray, margin: int = 0) -> tuple[tuple[slice, ...], np.ndarray]:
    """Bounding box of a mask that is not empty, and the affine of the cropped grid.

    `margin` is the number of voxels added on each side, as far as the grid reaches.
    """
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    window = tuple(
        slice(max(0, s.start - margin), min(size, s.stop + margin))
        for s, size in zip(box, mask.shape, strict=True)
    )
    return window, part_affine(affine, window)


def to_template(
    data: np.ndarray,
    affine: np.ndarray,
    world_to_template: np.ndarray,
    n: int,
    *,
    mode: str = 'grid-constant',
    antialias: bool = True,
    order: int = 1,
) -> np.ndarray:
    """Resample a scan onto the template grid, low-pass filtered where that is coarser than the scan.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Volume on the native grid; of a mask, the box around it is looked at.
    mode : {'grid-constant', 'nearest'}
        Over the outer half voxel of the scan: fade to zero, or repeat the outermost voxel.
    antialias : bool
        Smooth before sampling.
    order : int
        Interpolation order, 0, 1 or 3.

    Returns
    -------
    volume : ndarray of float32, shape (n, n, n)
        Zero away from the field of view of the scan (see `field_of_view`).
    """
    sigma = antialias_sigma(world_to_template @ affine, GRID_EDGE_MM / n) if antialias else np.zeros(3)
    if data.dtype == bool and data.any():
        window, affine = crop(data, affine, margin=int(3 * sigma.max()) + 2)
        data = data[window]
    data = smooth(data, sigma)
    volume = np.zeros((n, n, n), np.float32)
    window = _shadow(data.shape, native_to_template_voxels(n, affine, world_to_template), volume.shape)
    matrix = part_affine(template_to_native_voxels(n, affine, world_to_template), window)
    if volume[window].size:  # else the scan lies outside the template grid altogether
        volume[window] = resample(data, matrix, volume[window].shape, order=order, mode=mode)
    return volume


def _shadow(
    shape: Sequence[int], to_grid: np.ndarray, grid_shape: Sequence[int], reach: int = 0
) -> tuple[slice, ...]:
    """Box of a grid that holds another one and `reach` voxels around it; empty where they do not meet."""
    low, high = extent(shape, to_grid, rim=1)
    low, high = np.floor(low).astype(int) - reach, np.ceil(high).astype(int) + 1 + reach
    return tuple(slice(int(a), int(b)) for a, b in zip(*np.clip([low, high], 0, grid_shape), strict=True))


def from_template(
    volume: np.ndarray,
    affine: np.ndarray,
    world_to_template: np.ndarray,
    shape: tuple[int, int, int],
    *,
    below: int = 0,
    order: int = 1,
) -> np.ndarray:
    """Resample a volume of the template grid onto the native grid, as a scanner of its resolution would.

    Along axes with longer voxels it is sampled more finely, low-pass filtered and decimated: otherwise what a
    voxel is too long for would be seen as coarser texture that is not there.

    Parameters
    ----------
    volume : ndarray, shape (n, n, n + below)
    shape : tuple of int
        Shape of the scan.
    below : int
        Slices by which the volume reaches below the template grid.
    order : int
        Interpolation order, 0, 1 or 3.

    Returns
    -------
    native : ndarray of float32, shape `shape`
        0 outside the volume.
    """
    matrix = native_to_template_voxels(volume.shape[0], affine, world_to_template)
    matrix[2, 3] += below
    factors = np.rint(np.linalg.norm(matrix[:3, :3], axis=0)).astype(int).clip(1)
    fine_shape = tuple((size - 1) * factor + 1 for size, factor in zip(shape, factors, strict=True))
    finer = matrix @ np.diag([*1 / factors, 1])
    native = resample(volume, finer, fine_shape, order=order)
    for axis, factor in enumerate(factors):
        native = _decimate(native, int(factor), axis)
    return native


def _decimate(data: np.ndarray, factor: int, axis: int) -> np.ndarray:
    """Low-pass filter and decimate along an axis."""
    if factor == 1:
        return data
    from scipy import signal  # slow to import

    window = signal.firwin(2 * _TAPS * factor + 1, 1 / factor, window='hann').astype(np.float32)
    return signal.resample_poly(data, 1, factor, axis=axis, window=window, padtype='edge')


def inside_grid(
    target_to_source: np.ndarray, target_shape: Sequence[int], source_shape: Sequence[int]
) -> np.ndarray:
    """Voxels of the target whose centre lies within the extent of the source grid; bool, `target_shape`."""
    inside = np.ones(target_shape, dtype=bool)
    index = [np.arange(size, dtype=np.float32) for size in target_shape]
    for row, size in zip(target_to_source[:3], source_shape, strict=True):
        coefficients = row.astype(np.float32)
        plane = coefficients[1] * index[1][:, None] + coefficients[2] * index[2][None, :] + coefficients[3]
        for i, x in enumerate(index[0]):  # one slab at a time: the coordinates of 256^3 would take 200 MB
            coordinate = plane + coefficients[0] * x
            inside[i] &= (coordinate >= -0.5) & (coordinate <= size - 0.5)
    return inside


def field_of_view(
    shape: Sequence[int], affine: np.ndarray, world_to_template: np.ndarray, n: int
) -> np.ndarray:
    """Voxels of the template grid that a scan of the given shape covers; bool, shape (n, n, n)."""
    return inside_grid(template_to_native_voxels(n, affine, world_to_template), (n, n, n), shape)
