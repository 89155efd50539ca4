"""Intensities: the scale of the template grid, and the level of the skin.

The scale depends on the brain alone: otherwise it would tell the generator about the original head. The level
of the skin is for looking at scans, before and after.
"""

import numpy as np

from cpmae_bids.exceptions import InputError

# Least divisor of intensities: scans may have any unit, and values far below 1
TINY = float(np.finfo(np.float32).tiny)
CEILING = 2.5  # largest intensity on the template grid; white matter is about 1, fat and vessels reach 2

# Training heads and exemplars are stored as the root of intensity in this many steps: finer near air, where
# noise is small
STORED_LEVELS = 63
TISSUE = 0.12  # tissue threshold (brain scale 1): brighter than air and noise
# Intensity (brain scale 1) at the surface between air and skin: about half that of the darkest scalp
SKIN = 0.15
HOLE = 0.3  # intensity that fills the brain in volumes of the head without brain
# Multiple of the brain's median beyond which a voxel is a fault: fluid of a T2w scan reaches 5
MAX_BRIGHT = 10.0
SKIN_HEIGHT = 0.45  # of the skin between air and Otsu's threshold: lower draws noise, higher leaves holes


def brain_scale(values_in_brain: np.ndarray) -> float:
    """Intensity that becomes 1 on the template grid: the mean of the brain voxels above the brain's median.

    That is close to white matter on a T1-weighted scan, and needs no segmentation. `values_in_brain` are
    scaled intensities. Raises InputError if they are none, constant or not positive.
    """
    values = np.asarray(values_in_brain, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise InputError('no finite intensity inside the brain mask: check the scan and its brain mask')
    median = np.median(values)
    bright = values[values > median]
    if median > 0:  # a single hot voxel must not scale the head
        bright = np.minimum(bright, MAX_BRIGHT * median)
    scale = float(bright.mean()) if bright.size else 0.0
    if scale <= 0:
        raise InputError('the brain has no positive contrast: is this a T1-weighted scan?')
    return scale


def without_spikes(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Clip what lies far beyond all but a thousandth of the voxels of a non-empty mask, at either end."""
    low, high = np.percentile(values[mask], (0.1, 99.9))
    return np.clip(values, 2 * low - high, 2 * high - low)


def normalize(data: np.ndarray, scale: float) -> np.ndarray:
    """Divide by the scale and clip to the range of the template grid, ``[0, CEILING]``; float32."""
    return np.clip(np.asarray(data, dtype=np.float32) / np.float32(scale), 0, CEILING)


def to_levels(volume: np.ndarray) -> np.ndarray:
    """Intensities in ``[0, CEILING]`` to `STORED_LEVELS` + 1 steps of their root, uint8."""
    return np.round(np.sqrt(np.clip(volume, 0, CEILING) / CEILING) * STORED_LEVELS).astype(np.uint8)


def from_levels(stored: np.ndarray) -> np.ndarray:
    """Inverse of `to_levels`, float32."""
    return CEILING * np.square(stored.astype(np.float32) / STORED_LEVELS)


def otsu_threshold(values: np.ndarray) -> float:
    """Threshold that best separates two classes of values (Otsu, 1979), in their unit.

    The brightest percent is clipped first, so that a few vessels or spikes do not stretch the histogram.

    Raises ValueError if all values are the same or none is finite.
    """
    values = np.asarray(values, dtype=np.float32).ravel()
    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() == values.max():
        raise ValueError('cannot separate head from air: the volume is constant or not finite')
    low = float(values.min())
    high = float(np.percentile(values, 99)) or float(values.max())
    if high <= low:  # less than one percent of the volume is not background
        high = float(values.max())
    counts, edges = np.histogram(np.clip(values, low, high), bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    sum_below = np.cumsum(counts * centres)[:-1]
    sum_above = (counts * centres).sum() - sum_below
    with np.errstate(divide='ignore', invalid='ignore'):
        between = below * above * (sum_below / below - sum_above / above) ** 2
    return float(edges[1:-1][np.nanargmax(between)])


def skin_level(values: np.ndarray) -> float:
    """Intensity half way between air and skin.

    Otsu's threshold lies half way between air and the mean tissue, but in a T1w scan the skin is darker than
    that mean: its surface is at about half of the threshold's height above the air.
    """
    threshold = otsu_threshold(values)
    air = float(np.median(values[values < threshold]))
    return air + SKIN_HEIGHT * (threshold - air)
