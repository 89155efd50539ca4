"""How close a reconstructed volume is to the original: PSNR and SSIM inside a mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

TISSUE = 0.1
"""Intensity of the cube (white matter is 1) above which a voxel of the head is tissue and not air or bone."""


def psnr(reference: np.ndarray, estimate: np.ndarray, mask: np.ndarray, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio inside a mask.

    Parameters
    ----------
    reference, estimate : ndarray, shape (X, Y, Z)
        Volumes on one scale.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels that count.
    peak : float
        Intensity that the error is compared with; 1 is white matter in the cube.

    Returns
    -------
    float
        Decibels; infinite for equal volumes.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    if not np.any(mask):
        raise ValueError('the mask is empty: there is nothing to compare')
    error = np.mean(np.square(np.subtract(reference[mask], estimate[mask], dtype=np.float64)))
    return float('inf') if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(
    reference: np.ndarray, estimate: np.ndarray, mask: np.ndarray, peak: float = 1.0, sigma: float = 1.5
) -> float:
    """Structural similarity in three dimensions, averaged inside a mask.

    Parameters
    ----------
    reference, estimate : ndarray, shape (X, Y, Z)
        Volumes on one scale.
    mask : ndarray of bool, shape (X, Y, Z)
        Voxels that count; their windows may reach out of it.
    peak : float
        Dynamic range of the intensities.
    sigma : float
        Standard deviation of the Gaussian window, in voxels.

    Returns
    -------
    float
        1 for equal volumes.

    Raises
    ------
    ValueError
        If the mask is empty.

    References
    ----------
    Wang et al., Image quality assessment: from error visibility to structural similarity, 2004; K1 = 0.01,
    K2 = 0.03 and the window of 1.5 are theirs.
    """
    if not np.any(mask):
        raise ValueError('the mask is empty: there is nothing to compare')
    window = ndimage.find_objects(np.asarray(mask, dtype=np.uint8))[0]
    margin = int(np.ceil(3.5 * sigma))
    window = tuple(slice(max(part.start - margin, 0), part.stop + margin) for part in window)
    x, y = reference[window].astype(np.float64), estimate[window].astype(np.float64)

    def local_mean(volume: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(volume, sigma, truncate=3.5)

    mean_x, mean_y = local_mean(x), local_mean(y)
    variance = local_mean(x * x) - mean_x**2 + local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance + c2)
    return float(similarity[mask[window]].mean())


def inside_head(volume: np.ndarray, brain: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """Everything from the skin inwards except the brain: soft tissue, bone, sinuses.

    Parameters
    ----------
    volume : ndarray, shape (n, n, n)
        Head in the cube.
    brain, fov : ndarray of bool, shape (n, n, n)
        Brain mask, and where the scan covers the cube.

    Returns
    -------
    ndarray of bool, shape (n, n, n)
    """
    solid = ndimage.binary_closing(np.pad((volume > TISSUE) | brain, 3), iterations=3)
    components, count = ndimage.label(solid)
    if count > 1:
        solid = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    solid = ndimage.binary_fill_holes(solid)[3:-3, 3:-3, 3:-3]
    return solid & fov & ~brain
