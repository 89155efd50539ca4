"""Scans of other contrasts, made from T1w scans: the physics is coarse, the geometry that of the head."""

from pathlib import Path

import nibabel as nib
import numpy as np

from cpmae_bids.deid.images import intensity
from cpmae_bids.deid.space import geometry
from cpmae_bids.deid.space.geometry import rotation

# T1w intensity (white matter 1) to that of a turbo spin echo: bright fluid, and bright fat around the brain
IN_BRAIN = ((0, 0.25, 0.6, 1.0, 2.5), (1.8, 1.7, 1.0, 0.65, 0.5))
AROUND = ((0, 0.1, 0.4, 0.7, 1.2, 2.5), (0.0, 0.1, 0.35, 0.3, 1.0, 1.6))


def make_t2w(
    t1w: Path,
    brain: np.ndarray,
    path: Path,
    *,
    angles: tuple[float, float, float] = (5.0, -3.0, 4.0),
    shift: tuple[float, float, float] = (4.0, -6.0, 8.0),
    voxel: tuple[float, float, float] = (1.0, 1.0, 1.6),
    noise: float = 0.02,
) -> np.ndarray:
    """Write a T2w scan of the head in a T1w scan, moved in the scanner and on a grid of its own.

    Returns
    -------
    world_to_t1w : ndarray, shape (4, 4)
        World of the T2w scan to world of the T1w scan: how the head was moved, backwards.
    """
    image = nib.load(t1w)
    values = np.asarray(image.get_fdata(dtype=np.float32))
    values /= intensity.brain_scale(values[brain])
    values = np.where(brain, np.interp(values, *IN_BRAIN), np.interp(values, *AROUND))
    rng = np.random.default_rng(7)
    to_t1w = np.eye(4)
    to_t1w[:3, :3] = rotation(angles)
    to_t1w[:3, 3] = shift
    shape = tuple(np.ceil(geometry.voxel_sizes(image.affine) * image.shape / voxel).astype(int))
    grid = image.affine @ np.diag([*(np.array(image.shape) / shape), 1.0])
    values = geometry.resample(values, np.linalg.inv(image.affine) @ to_t1w @ grid, shape)
    values = np.hypot(values + rng.normal(0, noise, shape), rng.normal(0, noise, shape))
    made = nib.Nifti1Image(np.round(values * 400).astype(np.int16), grid)
    made.header.set_xyzt_units('mm', 'sec')
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(made, path)
    return to_t1w
