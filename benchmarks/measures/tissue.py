"""Are the tissues the same? Atropos in the brain mask that is found anew in each image, after N4.

Avants et al., An open source multivariate framework for n-tissue segmentation, Neuroinformatics 9:381-400,
2011. The settings are those of `benchmarks.derived`.
"""

from __future__ import annotations

import numpy as np

from benchmarks import derived
from benchmarks.pairs import DOWNSTREAM, Pair

METHODS = DOWNSTREAM

SCANS = 5
"""Of the split: N4, Atropos and registrations take minutes of a core for each scan and method."""

TISSUES = {'csf': 1, 'gm': 2, 'wm': 3}


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare the tissues of output and original.

    Returns
    -------
    numbers : dict
        ``dice_<tissue>`` and ``volume_change_<tissue>`` (percent, signed) for ``csf``, ``gm`` and ``wm``,
        ``dice`` (their mean), and ``failed``: no brain is found in the output, and the others are None.
    """
    try:
        after = derived.tissue(pair, 'output')
    except derived.NoBrainError:
        names = [f'{kind}_{tissue}' for kind in ('dice', 'volume_change') for tissue in TISSUES]
        return {**dict.fromkeys(names), 'dice': None, 'failed': True}
    return {**compare(derived.tissue(pair, 'original'), after), 'failed': False}


def compare(before: np.ndarray, after: np.ndarray) -> dict[str, float | None]:
    """Dice and change of volume of each tissue.

    Parameters
    ----------
    before, after : ndarray of uint8, shape (X, Y, Z)
        Labels as in `TISSUES`.
    """
    from cpmae_bids.deid.space.alignment import dice

    numbers = {}
    for tissue, label in TISSUES.items():
        a, b = before == label, after == label
        numbers[f'dice_{tissue}'] = float(dice(a, b))
        numbers[f'volume_change_{tissue}'] = 100 * (int(b.sum()) / int(a.sum()) - 1) if a.any() else None
    return {**numbers, 'dice': float(np.mean([numbers[f'dice_{tissue}'] for tissue in TISSUES]))}
