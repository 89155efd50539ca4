"""Tone: generated heads are as dark and as bright as real ones.

A decoder gives means, so that bone comes out grey, and what the network for detail adds mends only a part of
that. The curve here takes the quantiles of drawn training heads to those of the same heads as scanned
(`python -m benchmarks.tone`).
"""

from __future__ import annotations

import numpy as np

from cpmae_bids.deid import intensity

AIR = 0.03
"""What 0 becomes: training heads are 0 below 0.06, and the air of sinuses and throat lies between."""

DRAWN = (0.0, 0.150, 0.291, 0.398, 0.482, 0.552, 0.616, 0.683, 0.763, 0.880, intensity.CEILING)
SCANNED = (AIR, 0.090, 0.236, 0.375, 0.492, 0.577, 0.642, 0.711, 0.798, 0.903, intensity.CEILING)
"""Tenths of the quantiles, deep to the skin, of drawn heads and of scanned ones; white matter is 1."""


def correct(volume: np.ndarray) -> np.ndarray:
    """Give a drawn head, still without its skin, the tones of a scanned one.

    Parameters
    ----------
    volume : ndarray of float32, any shape
        White matter is about 1.

    Returns
    -------
    corrected : ndarray of float32, same shape
    """
    return np.interp(volume, DRAWN, SCANNED).astype(np.float32)
