"""Air like the scan's own, from nine rounded numbers.

The air of a scan is noise, ghosts and blur: brighter near the head, and on lines through it along the axis of
phase encoding. `estimate` describes it by `AirStatistics`, `draw` draws it around another head. Rounding is
as coarse as looks allow: finer numbers would identify the scan (docs/privacy.md). At every place a fraction
of the air has the least value, and the rest exceeds it by a Weibull distribution, of which the magnitude of
noise (Rayleigh) is one, the long tail of ghosts is another, and the air of filtered scans, on both sides of
0, a third. A Gaussian field decides which voxels are bright; what varies from place to place is given in its
standard deviations.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage, optimize, special, stats

from cpmae_bids.deid.images import noise

# Distances from the head at which the air is described; in between, numbers are interpolated
SHELLS_MM = (5.0, 40.0)
# Standard deviations of the Gaussians by which patches are found. Ghosts are drawn in the larger ones.
PATCHES_MM = (4.0, 16.0)
# Distances at which voxels are compared to find out how much lies in patches
LAGS_MM = (4.0, 8.0, 16.0, 32.0)
SITE_MM = 2.0  # the air is looked at in sites of about this edge
# Share of the brain scale above which sites near the skin are head, where the noise allows it
FAINT_LEVEL = 0.06
SKIN_MM = 2.5  # distance from the head within which there is still skin
FILLED_SHARE = 0.9  # share of voxels other than 0 beyond which planes of zeros around them are padding
# Least share of voxels other than 0 in the outermost planes of what is padded, of the fullest plane
EDGE_SHARE = 0.5
# Step of levels: a factor of 1.4. They are those of the brain scale, so that 0 dB is white matter.
DECIBEL = 3.0
# Step of the odds of a voxel above the least value, a factor: 80 %, 50 %, 20 %, 6 % and so on
ODDS_STEP = 4.0
ALL = 0.9  # share from which on it is all of the air: values that are rounded to the least one do not show
# Step of the logarithm (base 2) of the shape of the Weibull distribution: 2 is Rayleigh, 1 exponential
SHAPE_STEP = 0.5

# How much brighter the air is in line with the head along the axis of ghosts, in standard deviations, and
# what of that is the least to tell such an axis
IN_LINE, LEAST_IN_LINE = 0.6, 0.3
LEAST_STEP = 0.01  # step of the least value, as a share of the brain scale
SHARE = 0.4  # share of the variance that lies in patches, where there are any
BLURS = (0.0, 1.0, 2.0)  # in voxels, as they are told apart; of the three axes, the middle one counts
RARE = 1e-4  # least share above the least value: rarer ones are single voxels
MAX_TIES = 0.95  # share of the least value beyond which the rest is too little to say where it lies
GAP = 0.5  # distance (brain scale 1) of a negative least value from all others that makes it padding, no air
MIN_SITES = 1000  # sites of air that say nothing if they are fewer


@dataclass(frozen=True)
class AirStatistics:
    """What the output knows of the air of a scan; every number is rounded."""

    least: float  # least value, as a share of the brain scale
    # share of the air above it, at each distance of `SHELLS_MM`; 0 where software removed the background
    busy: tuple[float, ...]
    level: tuple[float, ...]  # median of that, in excess of the least value: dB of the brain scale
    shape: float  # of its Weibull distribution
    in_line: int | None = None  # voxel axis along which lines that meet the head are brighter, by `IN_LINE`
    patches: float = 0.0  # share of the variance that lies in patches
    blur: float = 0.0  # standard deviation of the Gaussian that makes neighbours alike, in voxels

    def to_dict(self) -> dict[str, Any]:
        """Named numbers for a sidecar; lists are by distance. None stands for no axis."""
        return {
            ''.join(part.title() for part in name.split('_')): _plain(value)
            for name, value in asdict(self).items()
        }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value if value is None else round(value, 4)


def estimate(
    values: np.ndarray, preserved: np.ndarray, voxel_sizes: ArrayLike, scale: float
) -> AirStatistics:
    """Describe the air around a head.

    Raises InputError if there is too little air.

    Parameters
    ----------
    values : ndarray of float32, shape (X, Y, Z)
        Scaled intensities.
    preserved : ndarray of bool, shape (X, Y, Z)
        The preserved region.
    voxel_sizes : sequence of 3 float
        mm.
    scale : float
        Brain scale (`intensity.brain_scale`).
    """
    within = _unpadded(values)
    values, preserved = values[within], preserved[within]
    far = noise.far_air(values, preserved, voxel_sizes, scale)
    size = noise.block_size(voxel_sizes, SITE_MM)
    level = np.clip(2 * far.quantiles.mean(), far.head_level * FAINT_LEVEL / noise.HEAD_LEVEL, far.head_level)
    head = _head(values, size, level, noisy=far.loud) | noise.blocks(preserved, size).any(axis=-1)
    # what is brighter is flesh that was missed
    brightest = far.quantiles[-1] if far.loud else far.head_level
    found = np.minimum(_first_of_each(values, size), brightest)
    distance = noise.distance(head, size * voxel_sizes)
    shell = np.where((distance < SKIN_MM) | _is_gap(found, scale), -1, np.rint(_place(distance))).astype(int)
    least = float(np.quantile(found[shell >= 0], 0.001)) if (shell >= 0).any() else float(far.quantiles[0])

    rounded = _rounded(least / scale, LEAST_STEP)
    beyond = least - rounded * scale
    step = _step(values[preserved])
    told = [(0.0, -60.0, np.nan)]
    for number in range(len(SHELLS_MM)):
        excess = found[shell == number] - least
        told.append(_describe(excess, step, beyond, scale) if len(excess) >= MIN_SITES else told[-1])
    busy, levels, shapes = zip(*told[1:], strict=True)
    shape = round(2 ** _rounded(np.log2(np.nanmedian(shapes)), SHAPE_STEP), 2) if any(busy) else 1.0
    where = _where(values, found, head, shell, size, voxel_sizes) if max(busy) > 1 - MAX_TIES else ()
    return AirStatistics(rounded, busy, levels, shape, *where)


def _rounded(value: float, step: float) -> float:
    return round(float(np.rint(value / step) * step), 4) + 0.0  # no negative zero


def _step(stored: np.ndarray) -> float:
    """Step between values of the preserved region; next to nothing where they are not rounded."""
    steps = np.diff(np.unique(stored[:: 1 + len(stored) // 20_000]))
    return float(steps.min()) if len(steps) else 0.0


def _is_gap(found: np.ndarray, scale: float) -> np.ndarray:
    """Sites of a value below 0 and far below all others, with which software fills what it did not see."""
    gap = found == found.min()
    if found.min() >= 0 or gap.mean() > 0.5 or found[~gap].min() - found.min() < GAP * scale:
        return np.zeros(found.shape, bool)
    return gap


def _describe(excess: np.ndarray, step: float, beyond: float, scale: float) -> tuple[float, float, float]:
    """Share of busy air, its level, told from the rounded least value on, and its shape."""
    busy = excess > step / 2
    if not busy.mean() > RARE:
        return 0.0, -60.0, np.nan
    even = excess[busy] + step * (np.random.default_rng(0).random(int(busy.sum())) - 0.5)
    median, high = np.maximum(np.quantile(even, [0.5, 0.95]) + beyond, 1e-3 * scale)
    shape = float(np.clip(np.log(np.log(20) / np.log(2)) / np.log(max(high / median, 1.01)), 0.5, 8))
    level = _rounded(20 * np.log10(median / scale), DECIBEL)
    # a part of what will be drawn is rounded to the least value
    share = busy.mean() / np.exp(-np.log(2) * (step / 2 / median) ** shape)
    odds = _rounded(special.logit(min(share, 1 - 1e-9)), np.log(ODDS_STEP))
    share = special.expit(odds)
    return 1.0 if share > ALL else float(f'{share:.3g}'), level, shape


def _where(values, found, head, shell, size, voxel_sizes) -> tuple:
    """Where the air is brighter, and how alike neighbours are: the last fields of the statistics."""
    order = [np.sort(found[shell == number]) for number in range(len(SHELLS_MM))]

    def scores(of: np.ndarray) -> np.ndarray:
        """Ranks within the shell, of mean 0 and variance 1; NaN where there is none."""
        result = np.full(of.shape, np.nan, np.float32)
        for number, known in enumerate(order):
            here = shell == number
            if len(known) >= MIN_SITES and known[0] < known[-1]:
                own, rank = (
                    np.searchsorted(known, one) + np.searchsorted(known, one, 'right')
                    for one in (known, of[here])
                )
                result[here] = (rank - own.mean()) / own.std()
        return result

    score = scores(found)
    some = np.flatnonzero(np.isfinite(score))
    if len(some) < MIN_SITES:
        return ()
    ranks = _ranks_of_fields(np.mean(found.ravel()[some] == found.ravel()[some].min()))
    terms = _centred(_terms(head), shell)
    few = some[:: 1 + len(some) // 50_000]
    design = np.stack([term.ravel()[few] for term in terms], 1).astype(float)
    square = design.T @ design + 1e-2 * len(few) * np.eye(len(terms))
    fit = np.linalg.solve(square, design.T @ score.ravel()[few])
    rest = score - sum(number * term for number, term in zip(fit, terms, strict=True))

    def alike(first: np.ndarray, other: np.ndarray) -> float:
        products = first * other
        products = products[np.isfinite(products)]
        return float(np.interp(products.mean(), ranks, _FIELDS)) if len(products) >= MIN_SITES else 0.0

    likeness = []
    for mm in LAGS_MM:
        lags = np.maximum(1, np.rint(mm / (size * voxel_sizes))).astype(int)
        moved = [(np.moveaxis(rest, axis, 0), lag) for axis, lag in enumerate(lags)]
        likeness.append(np.mean([alike(volume[:-lag], volume[lag:]) for volume, lag in moved]))
    expected = np.exp(-((np.array(LAGS_MM)[:, None] / np.array(PATCHES_MM) / 2) ** 2))
    shares = optimize.nnls(expected, np.array(likeness))[0]
    patches = min(_rounded(shares.sum(), SHARE), SHARE)
    blur = []
    for axis in range(3):
        near = alike(rest, scores(_first_of_each(values, size, axis)) - (score - rest)) - patches
        known = [_kernel(width)[1:] @ _kernel(width)[:-1] for width in BLURS]
        blur.append(BLURS[int(np.abs(np.array(known) - near / (1 - patches)).argmin())])
    shifts = fit[:3] / np.sqrt(10 * ranks[1])
    axis = int(shifts.argmax())
    return axis if shifts[axis] >= LEAST_IN_LINE else None, patches, float(np.median(blur))


_FIELDS = np.linspace(0, 1, 11)


def _ranks_of_fields(ties: float) -> np.ndarray:
    """Correlations of ranks where Gaussians correlate by `_FIELDS`; a share `ties` of each is one value."""
    generator = np.random.default_rng(0)
    first, other = generator.standard_normal((2, 20_000))
    level = special.ndtri(ties)
    ranks = [stats.rankdata(np.maximum(r * first + np.sqrt(1 - r * r) * other, level)) for r in _FIELDS]
    return np.maximum.accumulate([np.corrcoef(rank, ranks[-1])[0, 1] for rank in ranks])


def _terms(head: np.ndarray) -> list[np.ndarray]:
    """Of sites: whether a line along each axis meets the head; place along each axis, from -2 to 2."""
    places = np.meshgrid(*(np.linspace(-2, 2, n) for n in head.shape), indexing='ij')
    return [*(_line(head, axis) for axis in range(3)), *(place.astype(np.float32) for place in places)]


def _line(head: np.ndarray, axis: int) -> np.ndarray:
    return np.broadcast_to(head.any(axis=axis, keepdims=True), head.shape).astype(np.float32)


def _centred(terms: list[np.ndarray], shell: np.ndarray) -> list[np.ndarray]:
    """Terms less their mean in each shell, whose level is told already."""
    known = shell >= 0
    counts = np.maximum(np.bincount(shell[known], minlength=len(SHELLS_MM)), 1)
    means = [np.bincount(shell[known], term[known], len(SHELLS_MM)) / counts for term in terms]
    return [
        term - mean[np.maximum(shell, 0)].astype(np.float32) for term, mean in zip(terms, means, strict=True)
    ]


def _kernel(width: float) -> np.ndarray:
    """A Gaussian that leaves the variance of a field of independent voxels as it is."""
    at = np.arange(-8, 9)
    weights = np.exp(-0.5 * (at / width) ** 2) if width else (at == 0).astype(float)
    return weights / np.sqrt((weights**2).sum())


def _first_of_each(values: np.ndarray, size: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The first voxel of each site, or its neighbour along an axis."""
    places = [
        np.minimum(np.arange(n // s) * s + (a == axis), n - 1)
        for a, (n, s) in enumerate(zip(values.shape, size, strict=True))
    ]
    return values[np.ix_(*places)]


def _place(distance: np.ndarray) -> np.ndarray:
    """Where distances (mm) lie among `SHELLS_MM`, from 0 to the number of the last one; float."""
    return np.interp(np.log(np.maximum(distance, 0.1)), np.log(SHELLS_MM), np.arange(len(SHELLS_MM)))


def _head(values: np.ndarray, size: np.ndarray, level: float, *, noisy: bool = False) -> np.ndarray:
    """Sites of the head: those above a level that do not stand alone, with what is attached: ears, noise."""
    above = noise.blocks(values, size).mean(axis=-1) > level
    thick = ndimage.binary_opening(above)
    if noisy:
        return thick
    parts, _ = ndimage.label(above)
    kept = np.zeros(parts.max() + 1, bool)
    kept[parts[thick]] = True
    kept[0] = False
    return kept[parts]


def _unpadded(values: np.ndarray) -> tuple[slice, ...]:
    """Window without the planes of zeros that software adds around a scan; all if zeros lie within too."""
    filled = values != 0
    within = []
    for axis in range(3):
        shares = filled.mean(axis=tuple({0, 1, 2} - {axis}))
        planes = np.flatnonzero(shares)
        if not planes.size or shares[planes[[0, -1]]].min() < EDGE_SHARE * shares.max():
            return (slice(None),) * 3  # the tip of a mask around the head
        within.append(slice(planes[0], planes[-1] + 1))
    return tuple(within) if filled[tuple(within)].mean() > FILLED_SHARE else (slice(None),) * 3


def draw(
    air: AirStatistics,
    head: np.ndarray,
    voxel_sizes: ArrayLike,
    scale: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw air around a generated head; it differs from that of the scan, but for the statistics.

    Parameters
    ----------
    head : ndarray of float32, shape (X, Y, Z)
        Intensities of the generated head, 0 in the air.
    voxel_sizes : sequence of 3 float
        mm.
    scale : float
        Brain scale.

    Returns
    -------
    drawn : ndarray of float32, shape (X, Y, Z)
        In the head as well, as near to it.
    """
    least = np.float32(air.least * scale)
    if not any(air.busy):
        return np.full(head.shape, least, np.float32)
    size = noise.block_size(voxel_sizes, SITE_MM)
    sites = _head(head, size, FAINT_LEVEL * scale)
    distance = noise.distance(sites, size * voxel_sizes)
    place = _place(distance)
    shell = np.where(distance < SKIN_MM, -1, np.rint(place)).astype(int)
    shift = np.zeros(sites.shape, np.float32)
    if air.in_line is not None:
        (line,) = _centred([_line(sites, air.in_line)], shell)
        shift += np.float32(IN_LINE) * line

    def at(numbers: Any) -> np.ndarray:
        """Numbers by distance, for each voxel."""
        told = np.interp(place, np.arange(len(SHELLS_MM)), numbers).astype(np.float32)
        return _on_voxels(told, size, head.shape)

    known = np.var(shift[shell >= 0]) if (shell >= 0).any() else 0.0
    field = _field(air, head.shape, np.asarray(voxel_sizes), generator)
    field *= np.float32(np.sqrt(1 - min(known, 0.8)))
    field += _on_voxels(shift, size, head.shape)
    # how far a voxel is beyond the least value; the brightest (zippers, vendor marks) are no noise
    excess = at(np.log(np.maximum(air.busy, RARE / 2))) - special.log_ndtr(-field)
    np.clip(excess, 0, -np.log(1 - noise.TAIL), out=excess)
    excess /= np.float32(np.log(2))
    np.power(excess, 1 / np.float32(air.shape), out=excess)
    excess *= at(scale * 10 ** (np.array(air.level) / 20))
    return excess + least


def _field(air: AirStatistics, shape, voxel_sizes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Gaussian field of unit variance with the blur and the patches of the air."""
    field = generator.standard_normal(shape, dtype=np.float32)
    for axis in range(3) if air.blur else ():
        field = ndimage.correlate1d(field, _kernel(air.blur), axis, mode='wrap')
    if air.patches:
        field *= np.float32(np.sqrt(1 - air.patches))
        field += np.float32(np.sqrt(air.patches)) * _smooth(shape, voxel_sizes, PATCHES_MM[-1], generator)
    return field


def _smooth(shape, voxel_sizes: np.ndarray, width: float, generator: np.random.Generator) -> np.ndarray:
    """Gaussian field of unit variance, smooth over `width` mm: drawn at nodes and interpolated linearly."""
    spacing, reach = 2, 8  # nodes for a standard deviation, and those that the Gaussian reaches either way
    places = [np.arange(n) * mm * spacing / width for n, mm in zip(shape, voxel_sizes, strict=True)]
    field = generator.standard_normal([int(np.ceil(at[-1])) + 2 + 2 * reach for at in places], np.float32)
    field = ndimage.gaussian_filter(field, spacing, radius=reach)[(slice(reach, -reach),) * 3]
    field -= field.mean()  # all of the air together has the level that was measured
    field /= np.float32((2 * np.sqrt(np.pi) * spacing) ** -1.5)
    for axis, at in enumerate(places):
        weights = np.clip(1 - np.abs(at[:, None] - np.arange(field.shape[axis])), 0, 1).astype(np.float32)
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    return field


def _on_voxels(of_blocks: np.ndarray, size: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Values of blocks for each of their voxels; what is left at the end is like the last block."""
    for axis, edge in enumerate(size):
        of_blocks = of_blocks.repeat(edge, axis)
    rest = [(0, whole - part) for whole, part in zip(shape, of_blocks.shape, strict=True)]
    return np.pad(of_blocks, rest, mode='edge')
