"""Put the generated head around the original brain, on the raw values of the scan.

From the original come stored values inside the preserved region, verbatim; a feather of about 2 mm just
outside of it; the statistics of the air and the range of stored values. Nothing else: sharpness and
the noise of tissue follow from the preserved region, the feather and a voxel beyond (`sharpness`, `seam`,
`noise.in_brain`).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from cpmae_bids.deid.images import masks, nifti
from cpmae_bids.deid.space import geometry
from cpmae_bids.deid.synthesis import air as air_model
from cpmae_bids.deid.synthesis import neck
from cpmae_bids.deid.synthesis.air import AirStatistics

RANGE_STEP = 0.1  # step, as a share of the range of the preserved region, by which the rest may be brighter
AIR_LEVEL = 0.02  # generated intensities (brain scale 1) below this are air: a decoder never gives an exact 0


def place(
    head: np.ndarray,
    scale: float,
    affine: np.ndarray,
    world_to_template: np.ndarray,
    shape: tuple[int, int, int],
) -> np.ndarray:
    """A generated head on the grid of a scan.

    Parameters
    ----------
    head : ndarray, shape (n, n, m)
        Generated head on the template grid and below it, air 0.
    scale : float
        Intensity of the scan that is 1 on the template grid.
    affine, world_to_template : ndarray, shape (4, 4)
        See `geometry`.
    shape : tuple of int
        Shape of the scan.

    Returns
    -------
    clean : ndarray of float32, shape `shape`
        Scaled intensities; 0 in the air and beyond the template grid, but for the neck below it.
    """
    lowest = geometry.lowest_slice(len(head), affine, world_to_template, shape)
    longer, below = neck.lengthen(head, lowest)
    # linear interpolation would take two thirds of the finest texture away
    clean = geometry.from_template(longer, affine, world_to_template, shape, below=below, order=3)
    clean[clean < AIR_LEVEL] = 0
    clean *= np.float32(scale)
    return clean


def soften(clean: np.ndarray, mm: float, scale: float, voxel_sizes: ArrayLike) -> np.ndarray:
    """Blur a head on the grid of a scan, (X, Y, Z), by a Gaussian of so many mm; air stays 0."""
    softer = ndimage.gaussian_filter(clean, mm / np.asarray(voxel_sizes), truncate=3.0)
    softer[softer < AIR_LEVEL * scale] = 0
    return softer


def add_air(
    clean: np.ndarray, scale: float, affine: np.ndarray, air: AirStatistics, sigma: float, seed: int
) -> np.ndarray:
    """Air and noise like those of a scan on a head that was placed on its grid; scaled intensities, float32.

    `scale` is the intensity of the scan that is 1 on the template grid, `affine` leads from its voxels to
    world, `sigma` is the noise in tissue (`noise.in_brain`), and `seed` that of what is drawn.
    """
    generator = np.random.default_rng(seed)
    drawn = air_model.draw(air, clean, geometry.voxel_sizes(affine), scale, generator)
    return add_noise(clean, drawn, sigma, generator)


def add_noise(clean: np.ndarray, air: np.ndarray, sigma: float, generator: np.random.Generator) -> np.ndarray:
    """Noise a generated volume as a magnitude image: air where it is empty, Rician in tissue.

    `clean` and `air`, float32, (X, Y, Z), are the generated intensities in the units of the scan, 0 in the
    air, and what lies there; `sigma` is that of the noise in tissue.
    """
    if sigma == 0:
        # the background was removed: nothing to model
        return np.where(clean > 0, np.maximum(clean, air), air)
    tissue = np.clip(clean / (4 * sigma), 0, 1)
    tissue = tissue * tissue * (3 - 2 * tissue)  # smoothstep: no edge where tissue begins
    signal = generator.standard_normal(clean.shape, dtype=np.float32)
    signal *= np.float32(sigma) * tissue
    signal += clean
    # Where nothing was generated this is the air itself, which may be negative after filtering
    return np.hypot(signal, air) * tissue + air * (1 - tissue)


def blend(
    scan: nifti.Image, preserved: np.ndarray, generated: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Raw values of the refaced scan, of the data type, byte order and range of the original.

    They are whole numbers where the preserved region has no others.

    Parameters
    ----------
    preserved : ndarray of bool, shape (X, Y, Z)
        Where stored values are copied.
    generated : ndarray of float32, shape (X, Y, Z)
        Scaled intensities of the generated head.
    weights : ndarray of float32, shape (X, Y, Z), optional
        Of the original, by `masks.feather_weights`, if they are known already.
    """
    if weights is None:
        width = masks.feather_width(scan.voxel_sizes)
        weights = masks.feather_weights(masks.distance_outside(preserved, scan.voxel_sizes, width), width)
    mixed = (weights > 0) & ~preserved
    original = scan.raw[mixed].astype(np.float32) * np.float32(scan.slope) + np.float32(scan.inter)
    values = generated.copy()
    values[mixed] += weights[mixed] * (original - generated[mixed])

    raw = to_raw(values, scan, preserved)
    raw[preserved] = scan.raw[preserved]
    return raw


def to_raw(values: np.ndarray, scan: nifti.Image, preserved: np.ndarray | None = None) -> np.ndarray:
    """Stored values of scaled intensities under a scan's type, scaling and range.

    Rounded for integer types and clipped to the least and largest stored value of the scan, so that the
    result neither overflows nor sticks out. With a preserved region, the brightest value is known in steps,
    and numbers of floating point are as whole as those in the mask.
    """
    dtype = scan.raw.dtype
    # float32 holds every stored value of the small types; the others need the wider one for exact limits
    working: Any = np.float32 if dtype.itemsize <= 2 or dtype.type is np.float32 else np.float64
    raw = values.astype(working)
    raw -= working(scan.inter)
    raw /= working(scan.slope)
    stored = scan.raw[preserved] if preserved is not None else scan.raw[:0]
    low, high = (_representable(limit, working) for limit in (scan.raw.min(), scan.raw.max()))
    if stored.size:
        least, largest = stored_range(scan, stored)
        low, high = max(low, working(least)), min(high, working(largest))
    if dtype.kind in 'iu' or (stored.size and np.array_equal(stored, np.rint(stored))):
        np.rint(raw, out=raw)
    np.clip(raw, low, high, out=raw)
    return raw.astype(dtype)


def stored_range(scan: nifti.Image, stored: np.ndarray) -> tuple[float, float]:
    """Least and largest stored value of a generated head; the largest is known to a step only.

    `stored`, shape (n,), are the values in the preserved region.
    """
    low, high = float(scan.raw.min()), float(scan.raw.max())
    least, largest = float(stored.min()), float(stored.max())
    step = RANGE_STEP * (largest - least)
    if step and scan.slope > 0:
        high = largest + (high - largest) // step * step
    elif step:
        low = least - (least - low) // step * step
    return low, high


def _representable(limit: Any, working: Any) -> Any:
    """A stored value as a number of the wider type that does not round to one beyond it."""
    value = working(limit)
    beyond = limit.dtype.kind in 'iu' and abs(int(value)) > abs(int(limit))
    return np.nextafter(value, working(0)) if beyond else value
