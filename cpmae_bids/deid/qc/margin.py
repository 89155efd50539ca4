"""Distance of the preserved region to the air outside of the head: it must not come to within the scalp.

No alignment is involved: a brain mask that includes the scalp is shrunk onto the template, and looks like any
other brain there.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import intensity, masks, noise
from cpmae_bids.deid.space import geometry

GRID_MM = 2.0  # voxels in which distances are taken, along the axes of the world

# Radius of the ball whose reach is the outside: it enters neither nostrils nor ears, nor the cavities where
# the field of view cuts a head
BALL_MM = 12.0
# Skull and scalp are thicker than this; where they are not, the preserved region reaches into the scalp
NEAR_MM = 4.0

# Standard deviation of the Gaussian that extrapolates the brightness of the brain, share of its median below
# which a part of the head is in the shade of the coil, and the darkest that is lit up. There, scalp would
# count as air.
GAIN_MM, SHADED, LEAST_GAIN = 15.0, 0.6, 0.1


@dataclass(frozen=True)
class Outside:
    """The air around a head."""

    # float32, shape (A, B, C): distance (mm) to the air, 0 within it; NaN if none is in view
    distance: np.ndarray
    affine: np.ndarray  # shape (4, 4): its voxels to world (RAS mm)

    @classmethod
    def of(cls, values: np.ndarray, affine: np.ndarray, scale: float, brain: np.ndarray) -> 'Outside':
        """Find the air around a head.

        `values` (X, Y, Z) are in the scan's unit, `affine` leads to RAS mm, `scale` is the brain scale, and
        `brain` the mask.
        """
        head, grid, in_fov = geometry.on_world_grid(values, affine, GRID_MM)
        head = noise.above_floor(head, noise.floor(values, geometry.voxel_sizes(affine), scale)) / scale
        inside = geometry.resample(brain.astype(np.float32), np.linalg.inv(affine) @ grid, head.shape) >= 0.5
        head = masks.head_mask(head / gain(head, inside, GRID_MM), within=in_fov)
        air = in_fov & ~ndimage.binary_fill_holes(_closed(head))
        if not air.any():
            return cls(np.full(head.shape, np.nan, np.float32), grid)
        return cls(ndimage.distance_transform_edt(~air, sampling=GRID_MM).astype(np.float32), grid)

    def near_ml(self, preserved: np.ndarray, affine: np.ndarray) -> float:
        """Volume (mL) of a mask within `NEAR_MM` of the air; NaN if no air is in view."""
        if np.isnan(self.distance).any():
            return float('nan')
        matrix = np.linalg.inv(affine) @ self.affine
        smooth = geometry.smooth(preserved, geometry.antialias_sigma(affine, GRID_MM))
        preserved = geometry.resample(smooth, matrix, self.distance.shape) >= 0.5
        return float((preserved & (self.distance <= NEAR_MM)).sum() * GRID_MM**3 / 1000)


def gain(head: np.ndarray, brain: np.ndarray, grid_mm: float) -> np.ndarray:
    """Brightness of the coil by that of the brain nearby, 1 where it is not far below that of the brain.

    `head` (float32) and `brain` (bool) have a shape (A, B, C) and voxels of `grid_mm`.
    """
    if not brain.any():
        return np.ones_like(head)
    bright, near = (
        ndimage.gaussian_filter(part, GAIN_MM / grid_mm)
        for part in (np.where(brain, head, np.float32(0)), brain.astype(np.float32))
    )
    level = np.divide(bright, near, out=np.full_like(head, np.inf), where=near > intensity.TINY)
    return np.clip(level / (SHADED * np.median(head[brain])), LEAST_GAIN, 1)


def _closed(head: np.ndarray) -> np.ndarray:
    """A head with all that a ball outside cannot reach."""
    room = int(BALL_MM / GRID_MM) + 2
    grown = ndimage.distance_transform_edt(~np.pad(head, room), sampling=GRID_MM) <= BALL_MM
    closed = ndimage.distance_transform_edt(grown, sampling=GRID_MM) > BALL_MM
    return closed[room:-room, room:-room, room:-room]
