"""Grain of the air: where it is brighter, how alike neighbouring voxels are, and random fields that are so.

Ghosts lie in patches, in sheets and on lines along the axes of a scan, and noise that was interpolated is
smooth. Coils, wrap-around and filters make some ends of the field of view brighter than others. A few numbers
say how much there is of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize, special, stats

SHORT_MM, MIDDLE_MM, LONG_MM = 4.0, 12.0, 36.0
"""Standard deviations of the Gaussians that make smooth fields."""

WIDTHS_MM = (
    (SHORT_MM, SHORT_MM, SHORT_MM),
    (MIDDLE_MM, MIDDLE_MM, MIDDLE_MM),
    (LONG_MM, LONG_MM, LONG_MM),
    (SHORT_MM, LONG_MM, LONG_MM),
    (LONG_MM, SHORT_MM, LONG_MM),
    (LONG_MM, LONG_MM, SHORT_MM),
    (LONG_MM, SHORT_MM, SHORT_MM),
    (SHORT_MM, LONG_MM, SHORT_MM),
    (SHORT_MM, SHORT_MM, LONG_MM),
)
"""The same along the axes of the scan, for each field: patches of three sizes, sheets and lines."""

LAGS_MM = (4.0, 8.0, 16.0, 32.0)
"""Distances at which voxels are compared, beside that of neighbours."""

PARTS = 8
"""Points along each axis of the field of view at which the level of the air is told, beside its two ends."""

MAX_PROFILE = 0.5
"""Largest share of the variance that is laid to the levels along the axes."""

MAX_SAMPLES = 50_000
"""Sites that the levels are taken from, evenly spaced: more do not change them."""

MIN_SHARE = 0.01
"""Smaller shares are chance."""

MIN_SITES = 1000
"""Sites of air that say nothing if they are fewer."""

MAX_TIES = 0.95
"""Share of the air of one value beyond which the rest is too little to say anything."""

_FINE = np.array([1, 2, 1], np.float32) / np.float32(np.sqrt(6))
_FINE_LIKENESS = (1, 2 / 3, 1 / 6)
"""How alike voxels are after the filter `_FINE`, by their distance in voxels; beyond that, not at all."""


@dataclass(frozen=True)
class Grain:
    """Shares of the variance of a Gaussian field; what is left has no grain.

    Attributes
    ----------
    smooth : tuple of float
        Of the fields that are smooth over `WIDTHS_MM`.
    fine : float
        Of what is smooth over a voxel.
    levels : tuple of tuple of float, shape (3, PARTS + 2)
        Along each axis of the field of view, in standard deviations: at points from its first voxel to its
        last, and what is added at these two.
    profile : float
        Of the levels.
    """

    smooth: tuple[float, ...] = (0.0,) * len(WIDTHS_MM)
    fine: float = 0.0
    levels: tuple[tuple[float, ...], ...] = ((0.0,) * (PARTS + 2),) * 3
    profile: float = 0.0


def measure(values: np.ndarray, kind: np.ndarray, size: np.ndarray, voxel_sizes: np.ndarray) -> Grain:
    """Measure how alike the voxels of the air are.

    Parameters
    ----------
    values : ndarray of float32, shape (X, Y, Z)
    kind : ndarray of int, shape (X // size[0], Y // size[1], Z // size[2])
        Kinds of air of the sites, which have distributions of their own; below 0 where there is none.
    size : ndarray of int, shape (3,)
        Voxels along the edges of a site.
    voxel_sizes : ndarray, shape (3,)
        mm.

    Returns
    -------
    grain : Grain
        The levels by least squares, and the shares that come nearest to the correlations that are left along
        the axes (non-negative least squares).
    """
    scores, ties = _scores(values, kind, size)
    if np.isfinite(scores).sum() < MIN_SITES or ties > MAX_TIES:
        return Grain()
    levels = _fit_levels(scores)
    told = _along(levels, scores.shape)
    slope = _latent_slope(ties)
    profile = float(np.var(told[np.isfinite(scores)])) / slope**2
    if profile < MIN_SHARE:
        levels, profile = np.zeros_like(levels), 0.0
    elif profile > MAX_PROFILE:
        levels, profile = levels * np.sqrt(MAX_PROFILE / profile), MAX_PROFILE
    neighbours = [_scores(values, kind, size, axis)[0] - told for axis in range(3)]
    shares = _fit_shares(scores - told, neighbours, size, voxel_sizes, _ranks_of_latent(ties))
    shares = np.where(shares < MIN_SHARE, 0, shares) / max(1.0, shares.sum() / (1 - profile))
    *smooth, fine = map(float, shares)
    return Grain(tuple(smooth), fine, tuple(tuple(map(float, row)) for row in levels / slope), profile)


def _fit_levels(scores: np.ndarray) -> np.ndarray:
    """Levels of the scores along the axes, by least squares; shape (3, PARTS + 2)."""
    some = np.flatnonzero(np.isfinite(scores))
    some = some[:: 1 + len(some) // MAX_SAMPLES]
    at = np.unravel_index(some, scores.shape)
    terms = np.hstack([_hats(n)[index] for n, index in zip(scores.shape, at, strict=True)])
    square = terms.T @ terms + len(some) * 1e-3 * np.eye(terms.shape[1])
    return np.linalg.solve(square, terms.T @ scores.ravel()[some]).reshape(3, -1)


def _fit_shares(scores, neighbours, size, voxel_sizes, ranks: np.ndarray) -> np.ndarray:
    """Shares of the smooth fields and of the fine one that explain how scores correlate along the axes."""
    found, expected = [np.zeros(1)], [np.zeros((1, len(WIDTHS_MM) + 1))]
    for axis, neighbour in enumerate(neighbours):
        pairs = [(1, neighbour, scores)]
        moved = np.moveaxis(scores, axis, 0)
        for mm in LAGS_MM:
            lag = max(1, round(mm / (size[axis] * voxel_sizes[axis])))
            pairs.append((lag * size[axis], moved[:-lag], moved[lag:]))
        for voxels, first, other in pairs:
            correlation = _correlation(first, other)
            if correlation is not None:
                found.append(np.interp([correlation], ranks, _LATENT))
                fine = _FINE_LIKENESS[voxels] if voxels < len(_FINE_LIKENESS) else 0.0
                expected.append(np.append(_likeness(voxels * voxel_sizes[axis], axis), fine)[None])
    return optimize.nnls(np.concatenate(expected), np.concatenate(found))[0]


def _hats(n: int) -> np.ndarray:
    """Piecewise linear terms along an axis of n sites, and those of its ends; shape (n, PARTS + 2)."""
    at = np.linspace(0, PARTS - 1, n)
    terms = np.clip(1 - np.abs(at[:, None] - np.arange(PARTS)), 0, 1)
    ends = np.zeros((n, 2))
    ends[0, 0] = ends[-1, 1] = 1
    return np.hstack([terms, ends])


def _along(levels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum of the levels along the axes; float32, shape `shape`."""
    x, y, z = ((_hats(n) @ np.asarray(row)).astype(np.float32) for n, row in zip(shape, levels, strict=True))
    return x[:, None, None] + y[:, None] + z


def _likeness(mm: float, axis: int) -> np.ndarray:
    """Correlation of voxels of each smooth field that are so far apart along an axis."""
    return np.exp(-((mm / np.array(WIDTHS_MM)[:, axis] / 2) ** 2))


def _scores(values, kind, size, axis: int | None = None) -> tuple[np.ndarray, float]:
    """Ranks of the first voxel of each site, or its neighbour along an axis, among those of its kind.

    Returns
    -------
    scores : ndarray of float, of the shape of `kind`
        Mean 0 and variance 1 in each kind; NaN where there is no air, or none that varies.
    ties : float
        Share of sites that have the least value of their kind.
    """
    voxels = [
        np.minimum(np.arange(n) * s + (a == axis), m - 1)
        for a, (n, s, m) in enumerate(zip(kind.shape, size, values.shape, strict=True))
    ]
    found = values[np.ix_(*voxels)]
    kinds = kind[
        np.ix_(*(np.minimum(at // s, n - 1) for at, s, n in zip(voxels, size, kind.shape, strict=True)))
    ]
    scores, least, known = np.full(kind.shape, np.nan, np.float32), 0, 0
    sites = np.argsort(kinds, axis=None, kind='stable')
    sites = sites[np.count_nonzero(kinds < 0) :]
    for here in np.split(sites, np.flatnonzero(np.diff(kinds.ravel()[sites])) + 1):
        ranks = stats.rankdata(found.ravel()[here])
        if ranks.size and ranks.std() > 0:
            scores.ravel()[here] = (ranks - ranks.mean()) / ranks.std()
            least += int((ranks == ranks.min()).sum())
            known += len(ranks)
    if axis is not None and values.shape[axis] == kind.shape[axis]:
        scores[(slice(None),) * axis + (-1,)] = np.nan  # the last voxel has no neighbour
    return scores, least / max(known, 1)


def _correlation(first: np.ndarray, other: np.ndarray) -> float | None:
    """Mean product of scores that are both known; None where there are hardly any."""
    products = (first * other)[np.isfinite(first) & np.isfinite(other)]
    return float(products.mean()) if len(products) >= MIN_SITES else None


def _latent_slope(ties: float) -> float:
    """Change of the mean score with that of the mean of a Gaussian, if a share `ties` of it is one value."""
    value = np.random.default_rng(0).standard_normal(20_000)
    level = special.ndtri(ties)
    scores = stats.rankdata(np.maximum(value, level))
    moved = np.interp(value + 0.1, np.sort(value), np.sort(scores))
    return float((moved - scores).mean() / scores.std() / 0.1)


_LATENT = np.linspace(0, 1, 11)


def _ranks_of_latent(ties: float) -> np.ndarray:
    """Correlations of ranks where Gaussians correlate by `_LATENT`; a share `ties` of each is one value."""
    generator = np.random.default_rng(0)
    first, other = generator.standard_normal((2, 20_000))
    level = special.ndtri(ties)
    ranks = [stats.rankdata(np.maximum(r * first + np.sqrt(1 - r * r) * other, level)) for r in _LATENT]
    return np.maximum.accumulate([np.corrcoef(rank, ranks[-1])[0, 1] for rank in ranks])


def draw(
    grain: Grain, shape: tuple[int, ...], voxel_sizes: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Random numbers from 0 to 1, evenly distributed, with a grain.

    Parameters
    ----------
    grain : Grain
    shape : tuple of 3 int
    voxel_sizes : ndarray, shape (3,)
        mm.
    generator : numpy.random.Generator

    Returns
    -------
    field : ndarray of float32, shape `shape`
    """
    if grain == Grain():
        return generator.random(shape, dtype=np.float32)
    field = generator.standard_normal(shape, dtype=np.float32)
    field *= np.float32(np.sqrt(max(0.0, 1 - sum(grain.smooth) - grain.fine - grain.profile)))
    if grain.profile:
        field += _along(np.array(grain.levels), shape)
    if grain.fine:
        fine = generator.standard_normal([n + 2 for n in shape], dtype=np.float32)
        for axis in range(3):
            parts = [fine[(slice(None),) * axis + (slice(i, i + shape[axis]),)] for i in range(3)]
            fine = sum(w * part for w, part in zip(_FINE, parts, strict=True))
        field += np.float32(np.sqrt(grain.fine)) * fine
    for share, widths in zip(grain.smooth, WIDTHS_MM, strict=True):
        if share:
            field += np.float32(np.sqrt(share)) * _smooth(shape, voxel_sizes, np.array(widths), generator)
    return special.ndtr(field)


def _smooth(shape, voxel_sizes, widths: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Gaussian field of unit variance, smooth over `widths`: drawn at nodes and interpolated linearly."""
    spacing, reach = 2, 8  # nodes for a standard deviation, and those that the Gaussian reaches either way
    places = [
        np.arange(n) * mm * spacing / width for n, mm, width in zip(shape, voxel_sizes, widths, strict=True)
    ]
    field = generator.standard_normal([int(np.ceil(at[-1])) + 2 + 2 * reach for at in places], np.float32)
    field = ndimage.gaussian_filter(field, spacing, radius=reach)[(slice(reach, -reach),) * 3]
    field -= field.mean()  # all of the air together has the level that was measured
    field /= np.float32((2 * np.sqrt(np.pi) * spacing) ** -1.5)
    for axis in np.argsort([len(at) / n for at, n in zip(places, field.shape, strict=True)]):
        at = places[axis]
        weights = np.clip(1 - np.abs(at[:, None] - np.arange(field.shape[axis])), 0, 1).astype(np.float32)
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    return field
