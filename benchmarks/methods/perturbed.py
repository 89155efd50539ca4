"""The original as another visit would show it: turned, larger or smaller, and noisier.

No method at all: the attacks have to know these heads again.
"""

from __future__ import annotations

import zlib

from benchmarks.pairs import Pair
from cpmae_bids import __version__

DEGREES = 5.0
SCALE = 1.03
NOISE = 0.03
"""Standard deviation, as a share of the 99th percentile of the intensities."""


def version() -> str:
    return f'cpmae-bids {__version__}'


def make(pair: Pair) -> None:
    import numpy as np
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    from cpmae_bids.deid.images import nifti
    from cpmae_bids.deid.synthesis import blending

    scan = nifti.read(pair.original)
    values = scan.values()
    random = np.random.default_rng(zlib.crc32(pair.scan.encode()))
    axis = random.normal(size=3)
    turn = Rotation.from_rotvec(np.radians(DEGREES) * axis / np.linalg.norm(axis)).as_matrix()
    to_voxels = np.linalg.inv(scan.affine[:3, :3])
    matrix = to_voxels @ (turn * SCALE ** random.choice([-1, 1])) @ scan.affine[:3, :3]
    centre = np.array(ndimage.center_of_mass(np.maximum(values, 0)))
    noise = NOISE * np.percentile(values, 99)
    values = ndimage.affine_transform(values, matrix, centre - matrix @ centre, order=3, mode='constant')
    values = np.hypot(values + random.normal(0, noise, values.shape), random.normal(0, noise, values.shape))
    nifti.write(pair.output, blending.to_raw(values.astype(np.float32), scan), scan)
