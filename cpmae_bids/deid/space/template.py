"""The template brain that scans are aligned to; `cpmae_bids.templates` finds it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Template:
    """An average brain."""

    brain: np.ndarray  # float32, shape (X, Y, Z): intensities, 0 outside the mask
    mask: np.ndarray  # bool, shape (X, Y, Z)
    affine: np.ndarray  # shape (4, 4): voxel indices to template world (RAS mm)
    name: str  # what to record as the template in use
