"""Noise like the scan's own, from a table of 101 numbers.

The statistics of the air, with the range of stored values that `blending` clips to, are all that the output
takes from outside the kept mask. They say how noisy the scan is and carry no position, hence no shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cpmae_bids.exceptions import InputError

BLOCK_MM = 5.0
"""Statistics are gathered in blocks of about this edge: air is a property of a region, not of a voxel."""

HEAD_LEVEL = 0.12
"""Blocks whose mean is above this share of the brain scale belong to the head."""

CLEARANCE_MM = 10.0
"""Distance from the head within which blocks are no air: ringing, motion ghosts and thin skin lie there."""

QUIET_SHARE = 0.95
"""Share of the air blocks, by ascending mean, that is used: the rest holds ghosts and wrap-around."""

MIN_AIR_ML = 5.0
"""Least volume of air to take statistics from."""

TAIL = 0.999
"""Upper end of the table, as a quantile: single bright voxels (zippers, vendor marks) are not noise."""

MAX_SIGMA = 0.1
"""Largest sigma of tissue noise, as a share of the brain scale."""


@dataclass(frozen=True)
class AirNoise:
    """Noise of a scan, in its scaled intensities.

    Attributes
    ----------
    quantiles : ndarray of float32, shape (101,)
        Ascending quantiles of the air, evenly spaced in probability.
    sigma : float
        Standard deviation of the noise in tissue.
    busy_share : float
        Share of the air above its least value: near 1 for noise, 0 where software removed the background.
    """

    quantiles: np.ndarray
    sigma: float
    busy_share: float

    def summary(self) -> dict[str, float]:
        """The few numbers that go into the verdict."""
        low, median, high = (float(self.quantiles[i]) for i in (5, 50, 95))
        return {
            'air_p05': low,
            'air_p50': median,
            'air_p95': high,
            'sigma': self.sigma,
            'air_busy_share': self.busy_share,
        }


def measure(values: np.ndarray, brain_mask: np.ndarray, voxel_sizes, scale: float) -> AirNoise:
    """Measure the noise of a scan in the air around the head.

    Parameters
    ----------
    values : ndarray of float32, shape (X, Y, Z)
        Scaled intensities.
    brain_mask : ndarray of bool, shape (X, Y, Z)
    voxel_sizes : sequence of 3 float
        mm.
    scale : float
        Brain scale (`intensity.brain_scale`).

    Returns
    -------
    noise : AirNoise

    Raises
    ------
    InputError
        If there is too little air around the head.
    """
    size = np.maximum(1, np.round(BLOCK_MM / np.asarray(voxel_sizes))).astype(int)
    blocks = _blocks(values, size)
    means = blocks.mean(axis=-1)
    head = (means > HEAD_LEVEL * scale) | _blocks(brain_mask, size).any(axis=-1)
    air = ~_near(head, size * voxel_sizes, CLEARANCE_MM)
    if not air.any() or air.sum() * np.prod(size * voxel_sizes) < MIN_AIR_ML * 1000:
        raise InputError('hardly any air around the head: the field of view is too tight to replace the head')
    quiet = air & (means <= np.quantile(means[air], QUIET_SHARE))
    samples = _without_padding(blocks[quiet])
    quantiles = np.quantile(samples, np.linspace(0, TAIL, 101)).astype(np.float32)
    busy = float((samples > quantiles[0]).mean())
    return AirNoise(quantiles, min(_sigma(quantiles), MAX_SIGMA * scale), busy)


def _blocks(values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Cut a volume into blocks: shape (bx, by, bz, voxels of a block); what is left at the end is dropped."""
    count = np.array(values.shape) // size
    cut = values[tuple(slice(0, c * s) for c, s in zip(count, size, strict=True))]
    cut = cut.reshape(count[0], size[0], count[1], size[1], count[2], size[2])
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(*count, -1)


def _near(head: np.ndarray, block_mm: np.ndarray, distance: float) -> np.ndarray:
    if not head.any():
        return head
    return ndimage.distance_transform_edt(~head, sampling=block_mm) <= distance + block_mm.max()


def _without_padding(blocks: np.ndarray) -> np.ndarray:
    """Drop constant blocks if the others are clearly noise: zero filling beside noise is no part of it.

    A quantised scan with faint noise has constant blocks as well; there they are part of the distribution.
    """
    constant = blocks.min(axis=-1) == blocks.max(axis=-1)
    noisy = blocks[~constant]
    if noisy.size and constant.any() and np.median(noisy) != np.median(blocks[constant]):
        return noisy.ravel()
    return blocks.ravel()


def _sigma(quantiles: np.ndarray) -> float:
    """Sigma of the noise behind magnitude air: from the median where it looks Rayleigh, else the rms."""
    median, high = float(quantiles[50]), float(quantiles[95])
    if median > 0 and 1.7 < high / median < 2.5:  # 2.08 for Rayleigh
        return median / 1.1774
    return float(np.sqrt(np.mean((quantiles - quantiles[0]).astype(float) ** 2) / 2))


def draw_air(noise: AirNoise, shape, generator: np.random.Generator) -> np.ndarray:
    """Independent draws from the air of a scan, by the inverse of its distribution; float32."""
    probability = generator.random(shape, dtype=np.float32)
    probability *= len(noise.quantiles) - 1
    index = probability.astype(np.uint8)
    probability -= index
    step = np.append(np.diff(noise.quantiles), 0)
    return noise.quantiles[index] + step.astype(np.float32)[index] * probability


def add_noise(clean: np.ndarray, noise: AirNoise, generator: np.random.Generator) -> np.ndarray:
    """Noise a generated volume as a magnitude image: the scan's air where it is empty, Rician in tissue.

    Parameters
    ----------
    clean : ndarray of float32
        Generated intensities in the units of the scan; 0 in the air.
    noise : AirNoise
    generator : numpy.random.Generator

    Returns
    -------
    noisy : ndarray of float32
    """
    air = draw_air(noise, clean.shape, generator)
    if noise.sigma == 0:
        return np.maximum(clean, air)  # the background was removed: nothing to model
    tissue = np.clip(clean / (4 * noise.sigma), 0, 1)
    tissue = tissue * tissue * (3 - 2 * tissue)  # smoothstep: no edge where tissue begins
    signal = generator.standard_normal(clean.shape, dtype=np.float32)
    signal *= np.float32(noise.sigma) * tissue
    signal += clean
    # Where nothing was generated this is the air itself, which may be negative after filtering
    return np.hypot(signal, air) * tissue + air * (1 - tissue)
