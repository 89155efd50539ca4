"""What a scan takes of a machine."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

USUAL_VOXELS = 176 * 256 * 256  # voxels of the scan of 1 mm on which the memory of the nodes was measured

# What the scheduler sets aside for the process of each node, in GB: 1.3 to 2.5 times the peak that was
# measured on a scan of 176 x 256 x 256 voxels of 1 mm with the preset 256. Nodes that read a larger scan get
# more.
MEM_GB = {
    'skullstrip': 2.0,
    'register': 1.0,
    'coregister': 1.0,
    'conform': 1.2,
    'encode_brain': 1.0,
    'encode_head': 1.0,
    'remodel': 1.5,
    'decode_head': 1.9,
    'blend': 1.6,
    'verdict': 1.5,
    'locate': 1.5,
    'contrast': 1.0,
    'recolour': 1.0,
    'report': 1.0,
    'private_report': 1.0,
    'sink': 0.3,
}
CUDA_GB = 0.5  # what is set aside beside that for the libraries of CUDA, in the memory of the machine


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
