"""Noise of a scan: how loud it is far from the head."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from cpmae_bids.exceptions import InputError

# Statistics are gathered in blocks of about this edge: air is a property of a region, not of a voxel
BLOCK_MM = 5.0
HEAD_LEVEL = 0.12  # blocks whose mean is above this share of the brain scale belong to the head
# Distance from the head within which blocks are no air: ringing, motion ghosts and thin skin lie there
CLEARANCE_MM = 10.0
# Share of the air blocks, by ascending mean, that is used: the rest holds ghosts and wrap-around
QUIET_SHARE = 0.95
MIN_AIR_ML = 5.0  # least volume of air to take statistics from
TAIL = 0.999  # upper end of the quantiles: single bright voxels (zippers, vendor marks) are not noise

# Levels of the air, as shares of the brain scale, that count: below, a tenth of all blocks may as well be
# bone, and above, as in ratios of images, they are no air. 0.13 at a signal-to-noise ratio of 8.
FLOOR_RANGE = (0.08, 0.25)
FLOOR_SHARE = 0.1  # share of all blocks, by ascending mean, that are air in any scan of a head
ABOVE_FLOOR = 1.5  # multiple of the floor that averages over few voxels of air do not exceed
# Quantiles of the intensities of the brain between which it is white matter, as far as that is bright
BRIGHT = (0.6, 0.97)
EVEN_VOXELS = 5  # edge of the window in which noise is measured
EVEN = 0.2  # quantile of the windows: in others there are edges
MAX_SIGMA = 0.15  # largest sigma of tissue noise, as a share of the brain scale


@dataclass(frozen=True)
class FarAir:
    """Air far from the head, in scaled intensities."""

    quantiles: np.ndarray  # float32, shape (101,): ascending, evenly spaced in probability up to `TAIL`
    # share of the air above its least value: near 1 for noise, 0 where software removed the background
    busy_share: float
    head_level: float  # what is brighter is head
    loud: bool  # whether the noise comes near to that


def floor(values: np.ndarray, voxel_sizes: ArrayLike, scale: float) -> float:
    """Level of loud air in a scan's intensities (X, Y, Z), at its lower end; 0 where it does not matter.

    The mean magnitude of noise is 1.25 sigma. Where that nears the thresholds between tissue and air, those
    have to rise. Voxel sizes are in mm, `scale` is the brain scale.
    """
    return _floor(blocks(values, block_size(voxel_sizes, BLOCK_MM)).mean(axis=-1), scale)


def _floor(means: np.ndarray, scale: float) -> float:
    level = float(np.quantile(means, FLOOR_SHARE)) if means.size else 0.0
    low, high = FLOOR_RANGE
    return level if low * scale < level < high * scale else 0.0


def above_floor(values: np.ndarray, level: float) -> np.ndarray:
    """Smooth a volume (n, n, n) of about 2 mm or coarser, and subtract the noise's power (`floor`)."""
    if not level:
        return values
    smooth = ndimage.gaussian_filter(values, 1)
    return np.sqrt(np.maximum(smooth * smooth - np.float32(ABOVE_FLOOR * level) ** 2, 0))


def far_air(values: np.ndarray, brain_mask: np.ndarray, voxel_sizes: ArrayLike, scale: float) -> FarAir:
    """Measure the air far from the head, where there is hardly anything but noise.

    Raises InputError if there is too little air around the head.

    Parameters
    ----------
    values : ndarray of float32, shape (X, Y, Z)
        Scaled intensities.
    brain_mask : ndarray of bool, shape (X, Y, Z)
    voxel_sizes : sequence of 3 float
        mm.
    scale : float
        Brain scale (`intensity.brain_scale`).
    """
    size = block_size(voxel_sizes, BLOCK_MM)
    cut = blocks(values, size)
    means = cut.mean(axis=-1)
    loud = _floor(means, scale)
    level = float(np.hypot(HEAD_LEVEL * scale, ABOVE_FLOOR * loud))
    above = means > level
    head = (ndimage.binary_opening(above) if loud else above) | blocks(brain_mask, size).any(axis=-1)
    block_mm = size * voxel_sizes
    air = distance(head, block_mm) > CLEARANCE_MM + block_mm.max()
    if air.sum() * np.prod(block_mm) < MIN_AIR_ML * 1000:
        raise InputError('hardly any air around the head: the field of view is too tight to replace the head')
    quiet = air & (means <= np.quantile(means[air], QUIET_SHARE))
    samples = cut[quiet].ravel()
    quantiles = np.quantile(samples, np.linspace(0, TAIL, 101)).astype(np.float32)
    return FarAir(quantiles, float((samples > quantiles[0]).mean()), level, bool(loud))


def in_brain(values: np.ndarray, preserved: np.ndarray) -> float:
    """Standard deviation of the noise in the brightest, most even parts of the brain; 0 if there are none.

    Noise differs in all directions from one voxel to the next; of tissue little does: third differences,
    one along each axis, show hardly anything else (Donoho's finest diagonal band of wavelets).

    `values` are scaled intensities, float32, (X, Y, Z), and `preserved` is the preserved region, bool.
    """
    box = ndimage.find_objects(preserved.view(np.uint8))[0]
    values, preserved = values[box], preserved[box]
    low, high = np.quantile(values[preserved], BRIGHT)
    even = preserved & (values > low) & (values < high)
    detail = values
    for axis in range(3):
        detail = np.diff(detail, axis=axis)
        even = np.delete(even, 0, axis) & np.delete(even, -1, axis)
    known = even.astype(np.float32)
    share = ndimage.uniform_filter(known, EVEN_VOXELS)
    power = ndimage.uniform_filter(detail * detail * known, EVEN_VOXELS)
    inside = even & (share > 0.5)
    return float(np.sqrt(np.quantile(power[inside] / share[inside], EVEN) / 8)) if inside.any() else 0.0


def block_size(voxel_sizes: ArrayLike, mm: float) -> np.ndarray:
    """Voxels along the edges of blocks of about that edge; shape (3,)."""
    return np.maximum(1, np.round(mm / np.asarray(voxel_sizes))).astype(int)


def blocks(values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Cut a volume into blocks: shape (bx, by, bz, voxels of a block); what is left at the end is dropped."""
    count = np.array(values.shape) // size
    cut = values[tuple(slice(0, c * s) for c, s in zip(count, size, strict=True))]
    cut = cut.reshape(count[0], size[0], count[1], size[1], count[2], size[2])
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(*count, -1)


def distance(head: np.ndarray, block_mm: np.ndarray) -> np.ndarray:
    """Distance (mm) of blocks to the nearest one of the head; infinite where there is none."""
    if not head.any():
        return np.full(head.shape, np.inf)
    return ndimage.distance_transform_edt(~head, sampling=block_mm)
