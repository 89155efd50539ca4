"""Does deepbet find the same brain?"""

from __future__ import annotations

import numpy as np

from benchmarks import derived
from benchmarks.pairs import DOWNSTREAM, Pair

METHODS = DOWNSTREAM

SCANS = 9
"""Of the split: deepbet takes several seconds of a core for each scan and method."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare deepbet's masks of output and original.

    Returns
    -------
    numbers : dict
        See `compare`.
    """
    return compare(derived.brain(pair, 'original'), derived.brain(pair, 'output'))


def compare(before: np.ndarray, after: np.ndarray) -> dict[str, float | int | bool | None]:
    """Overlap and size of two masks.

    Parameters
    ----------
    before, after : ndarray of bool, shape (X, Y, Z)

    Returns
    -------
    numbers : dict
        ``dice``, ``volume_change`` (percent, signed), and ``failed``: `after` is empty, which has a Dice of 0
        and no change of volume.
    """
    from cpmae_bids.deid.space.alignment import dice

    failed = not after.any()
    return {
        'dice': 0.0 if failed else float(dice(before, after)),
        'volume_change': None if failed else 100 * (int(after.sum()) / int(before.sum()) - 1),
        'failed': failed,
    }
