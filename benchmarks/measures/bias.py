"""Is the bias field the same? N4 on the whole head, and on the brain that is found anew.

Tustison et al., N4ITK: improved N3 bias correction, IEEE Transactions on Medical Imaging 29:1310-1320, 2010.
The settings are those of `benchmarks.derived`.
"""

from __future__ import annotations

import numpy as np

from benchmarks import derived
from benchmarks.pairs import DOWNSTREAM, Pair

METHODS = DOWNSTREAM

SCANS = 5
"""Of the split: N4, Atropos and registrations take minutes of a core for each scan and method."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare N4's fields of output and original in the brain that both show.

    Returns
    -------
    numbers : dict
        ``head`` and ``brain``: see `difference`, with N4 on the head and on the brain alone. ``failed``: no
        brain is found in the output, and the others are None.
    """
    before, after = derived.brain(pair, 'original'), derived.brain(pair, 'output')
    both = before & after
    if not both.any():
        return {'head': None, 'brain': None, 'failed': True}
    numbers = {}
    for region in ('head', 'brain'):
        fields = derived.bias(pair, 'original', region), derived.bias(pair, 'output', region)
        numbers[region] = difference(fields[0][both[before]], fields[1][both[after]])
    return {**numbers, 'failed': False}


def difference(before: np.ndarray, after: np.ndarray) -> float:
    """Mean absolute log ratio of two fields, apart from a constant factor.

    Parameters
    ----------
    before, after : ndarray, shape (N,)
        At the same voxels; positive.

    Returns
    -------
    difference : float
        0.01 is one percent.
    """
    ratio = np.log(after.astype(np.float64)) - np.log(before.astype(np.float64))
    return float(np.abs(ratio - ratio.mean()).mean())
