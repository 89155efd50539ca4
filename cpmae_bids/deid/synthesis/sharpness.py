"""Sharpness: around a smooth scan a generated head is smooth as well.

Measured in the brain alone, which is preserved anyway: how much of its contrast is finer than some 4 mm.
"""

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.space import geometry

DEPTH = 3  # voxels of 2 mm beneath the surface of the brain from which on it counts

# Share of fine contrast from which on a scan is sharp: training scans have 0.257 and more on the template
# grid at 2 mm, and a tenth less by way of that at 1 mm
SHARP = 0.2
BLUR_MM = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
# Standard deviation of a Gaussian, and the share of fine contrast that is left by it: means of 35 training
# heads (`python -m benchmarks.brain_sharpness`)
FINE = (0.296, 0.234, 0.173, 0.134, 0.106, 0.085, 0.057, 0.040, 0.030, 0.017)


def fine_contrast(brain: np.ndarray) -> float:
    """Standard deviation of what a Gaussian of 2 mm takes away, as a share of that of the brain.

    `brain` is on the template grid, (128, 128, 128), and 0 elsewhere. NaN if it is too small to tell.
    """
    deep = ndimage.binary_erosion(brain > 0, iterations=DEPTH)
    if not deep.any() or brain[deep].std() == 0:
        return np.nan
    fine = brain - ndimage.gaussian_filter(brain, 1.0)
    return float(fine[deep].std() / brain[deep].std())


def blur_mm(brain: np.ndarray) -> float:
    """Gaussian (mm) by which a generated head is as sharp as a brain (`fine_contrast`); 0 for a sharp one."""
    fine = fine_contrast(brain)
    if not fine < SHARP:
        return 0.0
    return float(np.interp(fine, FINE[::-1], BLUR_MM[::-1]))


def soften(head: np.ndarray, sigma_mm: float) -> np.ndarray:
    """Blur a head on the template grid, (n, n, n), by a Gaussian of so many mm."""
    if not sigma_mm:
        return head
    voxel = geometry.GRID_EDGE_MM / len(head)
    return ndimage.gaussian_filter(np.asarray(head, np.float32), sigma_mm / voxel, truncate=3.0)
