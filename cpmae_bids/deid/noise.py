"""Noise like the scan's own, from tables of 101 numbers.

The statistics of the air, with the range of stored values that `blending` clips to, are all that the output
takes from outside the kept mask. They say how noisy the scan is, and how that fades away from the head; of
positions they know the level at ten points along each axis of the field of view, hence no shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from cpmae_bids.deid import grain
from cpmae_bids.exceptions import InputError

BLOCK_MM = 5.0
"""Statistics are gathered in blocks of about this edge: air is a property of a region, not of a voxel."""

HEAD_LEVEL = 0.12
"""Blocks whose mean is above this share of the brain scale belong to the head."""

FAINT_LEVEL = 0.06
"""The same for sites near the skin, where the noise allows it: the edges of flesh are no air."""

CLEARANCE_MM = 10.0
"""Distance from the head within which blocks are no air: ringing, motion ghosts and thin skin lie there."""

QUIET_SHARE = 0.95
"""Share of the air blocks, by ascending mean, that is used: the rest holds ghosts and wrap-around."""

MIN_AIR_ML = 5.0
"""Least volume of air to take statistics from."""

SITE_MM = 2.0
"""Distances from the head are taken between sites of about this edge."""

SHELLS_MM = (4.0, 7.0, 11.0, 17.0, 27.0, 42.0, 65.0, 100.0)
"""Distances from the head, the middles of the shells of air that have a table each: blur, ghosts and smoothed
noise fade with it, and scanners blank what is far away."""

MIN_SHELL_ML = 20.0
"""Least volume of a shell that gets a table of its own."""

MIN_SHELL_VOXELS = 2000
"""Least number of its voxels: fewer say nothing about `TAIL`."""

MAX_SAMPLES = 100_000
"""Voxels of a shell that its table is made of, evenly spaced: more do not change it."""

TAIL = 0.999
"""Upper end of a table, as a quantile: single bright voxels (zippers, vendor marks) are not noise."""

FILLED_SHARE = 0.9
"""Share of voxels other than 0 beyond which planes of zeros around them are padding."""

EDGE_SHARE = 0.5
"""Least share of voxels other than 0 in the outermost planes of what is padded, of the fullest plane."""

FLOOR_RANGE = (0.08, 0.25)
"""Levels of the air, as shares of the brain scale, that count: below, a tenth of all blocks may as well be
bone, and above, as in ratios of images, they are no air. 0.13 at a signal-to-noise ratio of 8."""

FLOOR_SHARE = 0.1
"""Share of all blocks, by ascending mean, that are air in any scan of a head."""

ABOVE_FLOOR = 1.5
"""Multiple of the floor that averages over few voxels of air do not exceed."""

MAX_SIGMA = 0.15
"""Largest sigma of tissue noise, as a share of the brain scale."""


_LINES = np.array([sum((n // 3**axis % 3 > 0) << axis for axis in range(3)) for n in range(27)])
"""Which lines meet the head on each of `Surroundings.sides`, as the sum of 1, 2 and 4."""


@dataclass(frozen=True)
class Surroundings:
    """Where voxels lie about a head: which of `AirNoise.shells` is theirs.

    Attributes
    ----------
    distance : ndarray of float32, shape (X, Y, Z)
        From 0, at the first distance of `SHELLS_MM` or nearer, to 7.
    sides : ndarray of uint8, shape (X, Y, Z)
        Where along the scan's axes the head is: the sum over the axes of 0 where the line through the voxel
        misses it, 1 where it is ahead and 2 where it is behind, times 1, 3 and 9.
    voxel_sizes : ndarray, shape (3,)
        mm.
    """

    distance: np.ndarray
    sides: np.ndarray
    voxel_sizes: np.ndarray


@dataclass(frozen=True)
class AirNoise:
    """Noise of a scan, in its scaled intensities.

    Attributes
    ----------
    quantiles : ndarray of float32, shape (101,)
        Ascending quantiles of the air at a distance from the head, evenly spaced in probability.
    shells : ndarray of float32, shape (27, 8, 101)
        The same by the side of the head (`Surroundings`), since its ghosts and ringing lie on lines through
        it and the air before a moving face is not that above the crown, at each distance of `SHELLS_MM`; or
        (1, 1, 101), for all of them.
    sigma : float
        Standard deviation of the noise in tissue.
    busy_share : float
        Share of the air above its least value: near 1 for noise, 0 where software removed the background.
    grain : Grain
        Where it is brighter, and how alike neighbouring voxels are.
    blank : tuple of tuple of int, shape (3, 2)
        Planes of zeros at both ends of each axis: padding, which no head reaches into. None where zeros lie
        between them as well: they may end where a mask around the head does.
    """

    quantiles: np.ndarray
    shells: np.ndarray
    sigma: float
    busy_share: float
    grain: grain.Grain = field(default_factory=grain.Grain)
    blank: tuple[tuple[int, int], ...] = ((0, 0),) * 3

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


def floor(values: np.ndarray, voxel_sizes: ArrayLike, scale: float) -> float:
    """Level of the air of a noisy scan, at its lower end, in its intensities; 0 where it does not matter.

    The magnitude of noise alone is not 0 but 1.25 sigma. Where that comes near to the levels that tell tissue
    from air, those have to be lifted.

    Parameters
    ----------
    values : ndarray of float32, shape (X, Y, Z)
    voxel_sizes : sequence of 3 float
        mm.
    scale : float
        Brain scale.
    """
    means = _blocks(values, _block_size(voxel_sizes, BLOCK_MM)).mean(axis=-1)
    level = float(np.quantile(means, FLOOR_SHARE)) if means.size else 0.0
    low, high = FLOOR_RANGE
    return level if low * scale < level < high * scale else 0.0


def above_floor(values: np.ndarray, level: float) -> np.ndarray:
    """A noisy volume of about 2 mm or coarser, smoothed, without the share of the noise in its power.

    Parameters
    ----------
    values : ndarray of float32, shape (n, n, n)
    level : float
        See `floor`; with 0 the volume is returned as it is.
    """
    if not level:
        return values
    smooth = ndimage.gaussian_filter(values, 1)
    return np.sqrt(np.maximum(smooth * smooth - np.float32(ABOVE_FLOOR * level) ** 2, 0))


def measure(
    values: np.ndarray,
    brain_mask: np.ndarray,
    voxel_sizes: ArrayLike,
    scale: float,
    *,
    shells: bool = True,
) -> AirNoise:
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
    shells : bool
        False where nothing will be drawn: the tables by distance, which take most of the time, are left out.

    Returns
    -------
    noise : AirNoise

    Raises
    ------
    InputError
        If there is too little air around the head.
    """
    size = _block_size(voxel_sizes, BLOCK_MM)
    blocks = _blocks(values, size)
    means = blocks.mean(axis=-1)
    loud = floor(values, voxel_sizes, scale)
    level = np.hypot(HEAD_LEVEL * scale, ABOVE_FLOOR * loud)
    above = means > level
    head = (ndimage.binary_opening(above) if loud else above) | _blocks(brain_mask, size).any(axis=-1)
    block_mm = size * voxel_sizes
    air = _distance(head, block_mm) > CLEARANCE_MM + block_mm.max()
    if air.sum() * np.prod(block_mm) < MIN_AIR_ML * 1000:
        raise InputError('hardly any air around the head: the field of view is too tight to replace the head')
    quiet = air & (means <= np.quantile(means[air], QUIET_SHARE))
    samples = blocks[quiet].ravel()
    quantiles = _table(samples)
    sigma = min(_sigma(_table(_without_padding(blocks[quiet]))), MAX_SIGMA * scale)
    busy = float((samples > quantiles[0]).mean())
    # what is brighter is flesh that was missed: it may not be sown into the air
    brightest = float(quantiles[-1]) if loud else level
    if not shells:
        return AirNoise(quantiles, quantiles[None, None], sigma, busy)
    near, likeness = _near(
        values, brain_mask, np.asarray(voxel_sizes), level, brightest, quantiles, bool(loud)
    )
    return AirNoise(quantiles, near, sigma, busy, likeness, _blank(values))


def _blank(values: np.ndarray) -> tuple[tuple[int, int], ...]:
    """See `AirNoise.blank`."""
    filled = values != 0
    ends = []
    for axis in range(3):
        shares = filled.mean(axis=tuple({0, 1, 2} - {axis}))
        planes = np.flatnonzero(shares)
        if shares[planes[[0, -1]]].min() < EDGE_SHARE * shares.max():
            return ((0, 0),) * 3  # the tip of a mask around the head
        ends.append((int(planes[0]), int(values.shape[axis] - 1 - planes[-1])))
    within = filled[
        tuple(slice(first, n - last) for n, (first, last) in zip(values.shape, ends, strict=True))
    ]
    return tuple(ends) if within.mean() > FILLED_SHARE else ((0, 0),) * 3


def _near(
    values, brain_mask, voxel_sizes, head_level: float, brightest: float, far: np.ndarray, loud: bool
) -> tuple[np.ndarray, grain.Grain]:
    """Tables of the air by side and distance (27, 8, 101), `far` where there is none; and its grain."""
    level = np.clip(2 * far.mean(), head_level * FAINT_LEVEL / HEAD_LEVEL, head_level)
    size = _block_size(voxel_sizes, SITE_MM)
    head = _head(values, size, level, noisy=loud) | _blocks(brain_mask, size).any(axis=-1)
    distance = _distance(head, size * voxel_sizes)
    edges = np.convolve(SHELLS_MM, [0.5, 0.5], 'valid')
    number = np.digitize(distance, edges)
    number[distance < SHELLS_MM[0] - (edges[0] - SHELLS_MM[0])] = len(SHELLS_MM)  # skin
    sides = _sides(head)
    lines = _LINES[sides]
    blocks = _blocks(values, size)
    blocks = blocks.reshape(-1, blocks.shape[-1])
    enough = max(MIN_SHELL_ML * 1000 / np.prod(size * voxel_sizes), MIN_SHELL_VOXELS / blocks.shape[-1])

    def table(where: np.ndarray, instead: np.ndarray) -> np.ndarray:
        sites = np.flatnonzero(where)
        if len(sites) < enough:
            return instead
        sites = sites[:: 1 + len(sites) * blocks.shape[-1] // MAX_SAMPLES]
        return _table(np.minimum(blocks[sites], brightest))

    shells = np.empty((len(_LINES), len(SHELLS_MM), 101), np.float32)
    everywhere = far
    for shell in range(len(SHELLS_MM)):
        here = number == shell
        everywhere = table(here, everywhere)  # beyond the field of view, or all of it head: as nearer to it
        for lines_met in range(8):
            on_lines = table(here & (lines == lines_met), everywhere)
            for side in np.flatnonzero(lines_met == _LINES):
                # flesh that is as dim as loud noise is found on some sides more than on others
                shells[side, shell] = on_lines if loud else table(here & (sides == side), on_lines)
    kinds = np.where(number < len(SHELLS_MM), sides.astype(int) * len(SHELLS_MM) + number, -1)
    return shells, grain.measure(values, kinds, size, voxel_sizes)


def surroundings(head: np.ndarray, voxel_sizes: np.ndarray, scale: float) -> Surroundings:
    """Where the air around a head lies among the tables of `AirNoise.shells`.

    Parameters
    ----------
    head : ndarray of float32, shape (X, Y, Z)
        Intensities of a generated head, 0 in the air.
    voxel_sizes : sequence of 3 float
        mm.
    scale : float
        Brain scale.
    """
    size = _block_size(voxel_sizes, SITE_MM)
    sites = _head(head, size, FAINT_LEVEL * scale)
    distance = np.interp(_distance(sites, size * voxel_sizes), SHELLS_MM, np.arange(len(SHELLS_MM)))
    return Surroundings(
        _on_voxels(distance.astype(np.float32), size, head.shape),
        _on_voxels(_sides(sites), size, head.shape),
        np.asarray(voxel_sizes),
    )


def _sides(head: np.ndarray) -> np.ndarray:
    """See `Surroundings.sides`; of sites."""
    sides = np.zeros(head.shape, np.uint8)
    for axis in range(3):
        behind = np.logical_or.accumulate(head, axis)
        ahead = np.flip(np.logical_or.accumulate(np.flip(head, axis), axis), axis)
        sides += np.uint8(3**axis) * np.where(behind, 2, ahead).astype(np.uint8)
    return sides


def _on_voxels(sites: np.ndarray, size: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values of sites for each of their voxels; what is left at the end is like the last site."""
    for axis, edge in enumerate(size):
        sites = sites.repeat(edge, axis)
    rest = [(0, whole - part) for whole, part in zip(shape, sites.shape, strict=True)]
    return np.pad(sites, rest, mode='edge')


def _head(values: np.ndarray, size: np.ndarray, level: float, *, noisy: bool = False) -> np.ndarray:
    """Sites of the head: those above a level that do not stand alone, and what hangs on them.

    Ears are thin and hang on a head. So does noise, where it comes up to the level.
    """
    above = _blocks(values, size).mean(axis=-1) > level
    thick = ndimage.binary_opening(above)
    if noisy:
        return thick
    parts, _ = ndimage.label(above)
    kept = np.zeros(parts.max() + 1, bool)
    kept[parts[thick]] = True
    kept[0] = False
    return kept[parts]


def _block_size(voxel_sizes, mm: float) -> np.ndarray:
    return np.maximum(1, np.round(mm / np.asarray(voxel_sizes))).astype(int)


def _table(samples: np.ndarray) -> np.ndarray:
    return np.quantile(samples, np.linspace(0, TAIL, 101)).astype(np.float32)


def _blocks(values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Cut a volume into blocks: shape (bx, by, bz, voxels of a block); what is left at the end is dropped."""
    count = np.array(values.shape) // size
    cut = values[tuple(slice(0, c * s) for c, s in zip(count, size, strict=True))]
    cut = cut.reshape(count[0], size[0], count[1], size[1], count[2], size[2])
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(*count, -1)


def _distance(head: np.ndarray, block_mm: np.ndarray) -> np.ndarray:
    """Distance (mm) of blocks to the nearest one of the head; infinite where there is none."""
    if not head.any():
        return np.full(head.shape, np.inf)
    return ndimage.distance_transform_edt(~head, sampling=block_mm)


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


def draw_air(
    noise: AirNoise,
    shape: tuple[int, ...],
    generator: np.random.Generator,
    around: Surroundings | None = None,
) -> np.ndarray:
    """Draws from the air of a scan, by the inverse of its distribution.

    Parameters
    ----------
    noise : AirNoise
    shape : tuple of int
    generator : numpy.random.Generator
    around : Surroundings, optional
        Between two distances quantiles are interpolated. By default all air is alike, and has no grain.

    Returns
    -------
    air : ndarray of float32, shape `shape`
    """
    if around is None:
        return _look_up(noise.quantiles[None], np.zeros((), np.uint8), generator.random(shape, np.float32))
    kinds, shells = noise.shells.shape[:2]
    tables = noise.shells.reshape(kinds * shells, -1)
    probability = grain.draw(noise.grain, shape, around.voxel_sizes, generator)
    row = np.minimum(around.distance, max(shells - 2, 0)).astype(np.uint8)
    share = np.minimum(around.distance, shells - 1) - row
    if kinds > 1:
        row += np.uint8(shells) * around.sides
    air = _look_up(tables, row, probability)
    if shells > 1:
        air += share * (_look_up(tables, row + np.uint8(1), probability) - air)
    return air


def _look_up(tables: np.ndarray, rows: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Quantiles of the tables (n, 101) that are numbered in `rows`."""
    place = probability * np.float32(tables.shape[1] - 1)
    index = np.minimum(place, tables.shape[1] - 2).astype(np.uint8)
    place -= index
    steps = np.diff(tables, axis=1)
    return tables[rows, index] + steps[rows, index] * place


def add_noise(
    clean: np.ndarray,
    noise: AirNoise,
    generator: np.random.Generator,
    around: Surroundings | None = None,
) -> np.ndarray:
    """Noise a generated volume as a magnitude image: the scan's air where it is empty, Rician in tissue.

    Parameters
    ----------
    clean : ndarray of float32
        Generated intensities in the units of the scan; 0 in the air.
    noise : AirNoise
    generator : numpy.random.Generator
    around : Surroundings, optional
        See `draw_air`.

    Returns
    -------
    noisy : ndarray of float32
    """
    air = draw_air(noise, clean.shape, generator, around)
    inside = tuple(slice(first, n - last) for n, (first, last) in zip(clean.shape, noise.blank, strict=True))
    noisy = np.zeros_like(clean)
    noisy[inside] = _as_magnitude(clean[inside], air[inside], noise.sigma, generator)
    return noisy


def _as_magnitude(clean, air, sigma: float, generator: np.random.Generator) -> np.ndarray:
    """See `add_noise`, for what lies within the padding."""
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
