"""Visibility of the seam between preserved and generated voxels, and how to reduce it.

A generated head has the texture of the training scans. Around a smoother scan (interpolated to small voxels,
averaged, denoised) it is too rough. Most of that shows in the brain (`sharpness`), the rest at the seam.
"""

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import masks

# Ratio from which on the generated head is softened: up to 1.31 in 52 outputs of the test split
VISIBLE = 1.35
# Standard deviations of the Gaussians of which the least that serves is taken
SOFTER_MM = (0.6, 0.8, 1.0, 1.3, 1.6, 2.0)
_RIM = 4  # voxels of the preserved region next to the seam that count


def least_softened(
    softened: Callable[[float], np.ndarray], ratio_of: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Blur a generated head as little as it takes, by bisection of `SOFTER_MM`.

    `softened` gives the refaced scan whose head is blurred by so many mm, `ratio_of` the `ratio` of a refaced
    scan. If none serves, that of the largest blur is returned: the verdict decides then.
    """
    tried = {}

    def serves(mm: float) -> bool:
        tried[mm] = softened(mm)
        return not ratio_of(tried[mm]) > VISIBLE

    found = bisect_left(SOFTER_MM, True, key=serves)
    return tried[SOFTER_MM[min(found, len(SOFTER_MM) - 1)]]


def ratio(before: np.ndarray, after: np.ndarray, shell: np.ndarray) -> float:
    """Mean difference of neighbours at the seam, after over before; NaN if there is nothing to compare.

    Of original and refaced scan, stored values (X, Y, Z) are given: their scaling makes no difference, and
    noise in bone is in the preserved rim of both. `shell`, bool, is the preserved region and what counts
    beyond it.
    """
    box = ndimage.find_objects(shell.astype(np.uint8))
    if not box:
        return np.nan
    shell = shell[box[0]] & ~ndimage.binary_erosion(shell[box[0]], iterations=_RIM)
    steps = []
    for values in (before[box[0]].astype(np.float32), after[box[0]].astype(np.float32)):
        total = 0.0
        for axis in range(3):
            lower, upper = masks.neighbours(axis)
            both = shell[lower] & shell[upper]
            total += float(np.abs(values[upper] - values[lower])[both].mean())
        steps.append(total)
    return steps[1] / steps[0] if steps[0] else np.nan
