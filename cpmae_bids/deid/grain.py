"""Grain of the air: how alike neighbouring voxels are, and random fields with the same likeness.

Ghosts and filtered noise lie in patches; noise that the scanner interpolated is smooth. Two numbers say how
much there is of each, in all directions alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special, stats

PATCH_MM = 12.0
"""Standard deviation of the Gaussian that makes the patches."""

LAG_MM = 16.0
"""Distance at which voxels are alike by their patches alone."""

MIN_SHARE = 0.03
"""Smaller shares are chance."""

MIN_SITES = 1000
"""Sites of air that say nothing if they are fewer."""

MAX_TIES = 0.95
"""Share of the air of one value beyond which the rest is too little to say anything."""

_FINE = np.array([1, 2, 1], np.float32) / np.float32(np.sqrt(6))
_FINE_NEXT = 2 / 3
"""How alike neighbours are after the filter `_FINE`."""


@dataclass(frozen=True)
class Grain:
    """Shares of the variance of a Gaussian field; what is left has no grain.

    Attributes
    ----------
    patches : float
        Of what is smooth over `PATCH_MM`.
    fine : float
        Of what is smooth over a voxel.
    """

    patches: float = 0.0
    fine: float = 0.0


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
    """
    scores, ties = _scores(values, kind, size)
    if np.isfinite(scores).sum() < MIN_SITES or ties > MAX_TIES:
        return Grain()
    lags = np.maximum(1, np.round(LAG_MM / (size * voxel_sizes))).astype(int)
    ends = [(slice(None, -lag), slice(lag, None)) for lag in lags]
    far = [
        (np.moveaxis(scores, a, 0)[first], np.moveaxis(scores, a, 0)[last])
        for a, (first, last) in enumerate(ends)
    ]
    near = [(scores, _scores(values, kind, size, axis)[0]) for axis in range(3)]
    patches = _latent(_correlation(far), ties) * np.exp((LAG_MM / PATCH_MM / 2) ** 2)
    patches = float(np.clip(patches, 0, 1))
    fine = float(np.clip((_latent(_correlation(near), ties) - patches) / _FINE_NEXT, 0, 1 - patches))
    return Grain(*(share if share >= MIN_SHARE else 0.0 for share in (patches, fine)))


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
    for k in np.unique(kinds[kinds >= 0]):
        here = kinds == k
        ranks = stats.rankdata(found[here])
        if ranks.std() > 0:
            scores[here] = (ranks - ranks.mean()) / ranks.std()
            least += int((ranks == ranks.min()).sum())
            known += len(ranks)
    if axis is not None and values.shape[axis] == kind.shape[axis]:
        scores[(slice(None),) * axis + (-1,)] = np.nan  # the last voxel has no neighbour
    return scores, least / max(known, 1)


def _correlation(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean product of scores that are both known; 0 where there are hardly any."""
    products = np.concatenate([(first * second).ravel() for first, second in pairs])
    products = products[np.isfinite(products)]
    return float(products.mean()) if len(products) >= MIN_SITES else 0.0


def _latent(correlation: float, ties: float) -> float:
    """Correlation of Gaussians whose ranks correlate so, if the lower share `ties` of each is one value."""
    generator = np.random.default_rng(0)
    first, other = generator.standard_normal((2, 20_000))
    grid = np.linspace(0, 1, 11)
    level = special.ndtri(ties)
    ranks = [stats.rankdata(np.maximum(r * first + np.sqrt(1 - r * r) * other, level)) for r in grid]
    found = np.maximum.accumulate([np.corrcoef(rank, ranks[-1])[0, 1] for rank in ranks])
    return float(np.interp(correlation, found, grid))


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
    field *= np.float32(np.sqrt(1 - grain.patches - grain.fine))
    if grain.fine:
        fine = generator.standard_normal([n + 2 for n in shape], dtype=np.float32)
        for axis in range(3):
            parts = [fine[(slice(None),) * axis + (slice(i, i + shape[axis]),)] for i in range(3)]
            fine = sum(w * part for w, part in zip(_FINE, parts, strict=True))
        field += np.float32(np.sqrt(grain.fine)) * fine
    if grain.patches:
        field += np.float32(np.sqrt(grain.patches)) * _patches(shape, voxel_sizes, generator)
    return special.ndtr(field)


def _patches(shape, voxel_sizes, generator: np.random.Generator) -> np.ndarray:
    """Gaussian field of unit variance, smooth over `PATCH_MM`: drawn at nodes and interpolated linearly."""
    spacing, reach = PATCH_MM / 2, 8  # nodes that the Gaussian reaches, in either direction
    nodes = [int(np.ceil(n * mm / spacing)) + 1 for n, mm in zip(shape, voxel_sizes, strict=True)]
    field = generator.standard_normal([n + 2 * reach for n in nodes], dtype=np.float32)
    field = ndimage.gaussian_filter(field, PATCH_MM / spacing, radius=reach)[(slice(reach, -reach),) * 3]
    field /= np.float32((2 * np.sqrt(np.pi) * PATCH_MM / spacing) ** -1.5)
    for axis, (n, mm, count) in enumerate(zip(shape, voxel_sizes, nodes, strict=True)):
        at = np.arange(n) * mm / spacing
        weights = np.clip(1 - np.abs(at[:, None] - np.arange(count)), 0, 1).astype(np.float32)
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    return field
