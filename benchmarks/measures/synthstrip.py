"""Does SynthStrip find the same brain? Through radveil, which has its weights; slow.

Hoopes et al., SynthStrip: skull-stripping for any brain image, NeuroImage 260:119474, 2022.
"""

from __future__ import annotations

import numpy as np

from benchmarks import derived
from benchmarks.measures.masks import compare
from benchmarks.pairs import DOWNSTREAM, Pair

METHODS = DOWNSTREAM

SCANS = 2
"""Of the split: a mask takes a minute on one core."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare SynthStrip's masks of output and original.

    Returns
    -------
    numbers : dict
        As in `benchmarks.measures.masks.compare`.
    """
    roles = ('original', 'original') if pair.method == 'original' else ('original', 'output')
    return compare(*(strip(pair, role) for role in roles))


def strip(pair: Pair, role: derived.Role) -> np.ndarray:
    """SynthStrip's mask, empty where it refuses the image; bool, shape (X, Y, Z)."""

    def make() -> np.ndarray:
        import radveil

        values, affine = derived.image(pair, role)
        try:
            found = radveil.Volume.from_array(values, affine).deskull(method='synthstrip', strip=False)
        except (RuntimeError, ValueError):
            return np.zeros(values.shape, bool)
        return np.asarray(found['mask']) > 0

    return derived.cached(derived.folder(pair, role) / 'synthstrip.npz', make)
