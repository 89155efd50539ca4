"""Background suppression: bring to 0 what scanners and software leave in place of dark air.

Software may add a constant to air, and padding may lie far below it: both become 0.

The uniform image of MP2RAGE is a ratio of two others: in air and bone it is noise from black to white
(Marques et al., NeuroImage 2010). The images by which it is usually removed (O'Brien et al., PLoS ONE 2014)
need not be there. But tissue is smooth, and in noise neighbours are independent.

Only measurements see 0 in place of the noise: stored values, also in the preserved region, stay.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import masks, nifti

LINE_STEP = 4  # step between lines along both other axes; that many suffice to recognise such scans
# Deviation from the median of a voxel and its two neighbours, as a share of the range, that is noise
ERRATIC = 0.2

# Share of such voxels from which on air is noise: up to 0.02 in 139 whole heads, 0.04 with noise at a
# signal-to-noise ratio of 8, 0.11 and more in uniform images made from the same heads
MIN_ERRATIC_SHARE = 0.07

# Median of the border of the field of view, as a share of the range, from which on it is no dark air, however
# noisy: 0.47 in uniform images, up to 0.24 at a signal-to-noise ratio of 3
BRIGHT_BORDER = 0.35

# Distance from 0 of the darkest voxels, or from them to padding, as a share of the range, from which on there
# is a constant to take off
OFF_LEVEL = 0.1

# Share of the border of the field of view that must be no padding, and the height of its median above the
# darkest voxels as a share of the range, for these to be air
AIR_SHARE, AIR_SPREAD = 0.1, 0.25
SIGMA_MM = 1.5  # of the Gaussian window in which roughness is taken: skin and bone are hardly thicker
# Of the roughness of all voxels: lies in the noise, of which there is far more than this leaves
NOISE_QUANTILE = 0.9
TISSUE_ROUGHNESS = 0.5  # roughness that is still tissue, as a share of that of the noise
MAX_OUTLIER = 2.5  # multiple of it by which a single voxel of tissue may deviate
MIN_NEIGHBOURS = 0.15  # share of tissue in the window of a voxel from which on it may belong to it
# Share of tissue among 3 x 3 x 3 voxels from which on the middle is tissue: smooths the outline
MAJORITY = 0.45
ROUNDS = 2  # times that voxels are reassigned. The first window over an edge holds noise as well as skin.


@dataclass(frozen=True)
class OffsetScan(nifti.Image):
    """A scan whose air is 0: the level of its air is ``low``, and taken off ``inter``."""

    low: float = 0.0

    def values(self) -> np.ndarray:
        """Scaled values as float32, shape (X, Y, Z), at least 0."""
        values = super().values()
        return np.maximum(values, 0, out=values)


@dataclass(frozen=True)
class DenoisedScan(OffsetScan):
    """A scan with 0 in place of bright noise; ``low`` is its least value, such as -0.5 for uniform images."""

    @cached_property
    def tissue(self) -> np.ndarray:
        """What `segment_tissue` finds; bool, shape (X, Y, Z)."""
        return segment_tissue(super().values(), self.voxel_sizes)

    def values(self) -> np.ndarray:
        """Scaled values as float32, shape (X, Y, Z), at least 0; 0 where there is noise."""
        values = super().values()
        # an edge of one voxel, as scanners give it: without, the face would seem to have been cut
        values *= ndimage.uniform_filter(self.tissue.astype(np.float32), 3)
        return np.where(values > 0, values, 0)


def suppress_background(scan: nifti.Image) -> nifti.Image:
    """The same scan, or where its air is off 0 a `OffsetScan`, or a `DenoisedScan` where it is noise."""
    noisy = has_bright_noise(scan.raw)
    low = float(scan.values().min()) if noisy else air_level(scan)
    if low is None:
        return scan
    kind = DenoisedScan if noisy else OffsetScan
    return kind(scan.path, scan.header, scan.raw, scan.affine, scan.slope, scan.inter - low, low)


def air_level(scan: nifti.Image) -> float | None:
    """Level of the air of a scan whose air is off 0, or that is padded below it; None of any other scan."""
    lines = scan.raw[:, ::LINE_STEP, ::LINE_STEP].astype(np.float32) * scan.slope + scan.inter
    padding = lines.min()
    rest = lines[lines > padding]
    if not rest.size:
        return None
    low, high = np.percentile(rest, (0.1, 99))
    span = high - low
    padded = low - padding > OFF_LEVEL * span
    if not padded:
        low = np.percentile(lines, 0.1)
    border = _border(lines)
    air = border[border > padding] if padded else border
    is_air = air.size > AIR_SHARE * border.size and np.median(air) < low + AIR_SPREAD * span
    if low < -OFF_LEVEL * span or (low > OFF_LEVEL * span and is_air):
        return float(low)
    return 0.0 if padded and padding < 0 else None


def in_units_of(original: nifti.Image, refaced: nifti.Image) -> nifti.Image:
    """A refaced scan whose values can be compared with those of its original (`suppress_background`)."""
    if not isinstance(original, OffsetScan):
        return refaced
    return replace(refaced, inter=refaced.inter - original.low)


def has_bright_noise(values: np.ndarray) -> bool:
    """Whether a good part of the voxels, and the border, are noise over the whole range (any unit)."""
    lines = values[:, ::LINE_STEP, ::LINE_STEP].astype(np.float32)
    low, high = np.percentile(lines, (1, 99))
    deviation = np.abs(lines - ndimage.median_filter(lines, (3, 1, 1), mode='nearest'))
    if (deviation > ERRATIC * (high - low)).mean() <= MIN_ERRATIC_SHARE:
        return False
    seen = values[ndimage.find_objects((values != values.min()).astype(np.uint8))[0]]  # without padding
    return bool(np.median(_border(seen).astype(np.float32)) > low + BRIGHT_BORDER * (high - low))


def _border(volume: np.ndarray) -> np.ndarray:
    return np.concatenate([np.take(volume, (0, -1), axis=axis).ravel() for axis in range(3)])


def segment_tissue(values: np.ndarray, voxel_sizes: np.ndarray) -> np.ndarray:
    """What is no noise, in one piece, of a scan for which `has_bright_noise` holds; bool, shape (X, Y, Z).

    `values` are scaled intensities, float32, (X, Y, Z); voxel sizes, (3,), are in mm.
    """

    def window(volume):
        return ndimage.gaussian_filter(volume, SIGMA_MM / voxel_sizes, mode='nearest', truncate=2)

    smooth = values
    for axis in range(3):
        # keeps edges, unlike a mean
        smooth = ndimage.median_filter(smooth, [3 if a == axis else 1 for a in range(3)], mode='nearest')
    deviation = np.abs(values - smooth)
    roughness = window(deviation)
    limit = TISSUE_ROUGHNESS * np.quantile(roughness[::2, ::2, ::2], NOISE_QUANTILE)
    tissue = roughness < limit
    for _ in range(ROUNDS):
        share = window(tissue.astype(np.float32))
        roughness = window(np.where(tissue, deviation, 0)) / np.maximum(share, MIN_NEIGHBOURS)
        tissue = (share > MIN_NEIGHBOURS) & (roughness < limit) & (deviation < MAX_OUTLIER * limit)
        tissue = ndimage.uniform_filter(tissue.astype(np.float32), 3) > MAJORITY
    return masks.largest_component(tissue & ~_padding(values))


def _padding(values: np.ndarray) -> np.ndarray:
    """Constant regions at the border of the scan: smooth, and no tissue."""
    flat = ndimage.maximum_filter(values, 3) == ndimage.minimum_filter(values, 3)
    pieces, count = ndimage.label(flat)
    at_border = np.zeros(count + 1, bool)
    for axis in range(3):
        at_border[np.take(pieces, (0, -1), axis=axis)] = True
    at_border[0] = False
    return ndimage.binary_dilation(at_border[pieces], np.ones((3, 3, 3)))
