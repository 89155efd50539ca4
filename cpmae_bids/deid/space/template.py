"""The template brain that scans are aligned to; `cpmae_bids.templates` finds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Template:
    """An average brain.

    Attributes
    ----------
    brain : ndarray of float32, shape (X, Y, Z)
        Intensities, 0 outside the mask.
    mask : ndarray of bool, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
        Voxel indices to template world (RAS mm).
    name : str
        What to record as the template in use.
    """

    brain: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    name: str
