"""What a scan takes of a machine."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

USUAL_VOXELS = 176 * 256 * 256  # voxels of the scan of 1 mm on which the memory of the steps was measured


@cache
def size_factor(path: Path | str) -> float:
    """How many times more voxels than usual a scan has; at least 1, and 1 if it cannot be read.

    Memory on the grid of a scan grows with it: a scan of 0.5 mm has eight times as many voxels.
    """
    import nibabel as nib

    try:
        image: Any = nib.load(path)
        shape = image.shape[:3]
    except Exception:  # readers raise all kinds of errors on damaged files
        return 1.0
    return max(1.0, float(np.prod(shape)) / USUAL_VOXELS)
