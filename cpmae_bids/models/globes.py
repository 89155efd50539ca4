"""Globes stay round: what stretches a head does not stretch its eyes."""

import numpy as np
import torch
from torch import Tensor

from cpmae_bids.deid.space import geometry
from cpmae_bids.models import diffeomorphism as diffeo
from cpmae_bids.models.frame import BELOW, BOX, FIELD, GRID, SHAPE, VOXEL_MM

# Of the globes of the mean head, from the origin of the template (right one first)
MIDDLES_MM = ((-33.5, 56.0, -41.5), (33.5, 56.0, -41.5))
NODE_MM = VOXEL_MM * SHAPE[0] / FIELD[0]
# Place of the first node of a field, in the middle of its first voxels
ORIGIN_MM = geometry.grid_affine(GRID)[:3, 3] + VOXEL_MM * np.array([BOX.start, 0, -BELOW]) + NODE_MM / 4
# Of an adult's globe, and the width of what mediates between it and its surroundings
RADIUS_MM, SOFT_MM = 12.0, 12.0


def rounded(field: Tensor, freedom: Tensor) -> Tensor:
    """Move each globe of the frame as a whole.

    Parameters
    ----------
    field : Tensor of float32, shape (1, 3, *FIELD)
        Point of the template grid to point of the frame, in nodes of 4 mm.
    freedom : Tensor of float32, shape (1, 1, *FIELD)
        What of the change a node takes: nothing in the brain.

    Returns
    -------
    field : Tensor of float32, of the same shape
        A shift within the globes, as before from `SOFT_MM` around them on.
    """
    grid = diffeo.points(FIELD)
    for middle in (MIDDLES_MM - ORIGIN_MM) / NODE_MM:
        at = torch.from_numpy(middle).float().view(1, 3, 1, 1, 1)
        away = (grid + field - at).norm(dim=1, keepdim=True) * NODE_MM
        inside = (away < RADIUS_MM).float()
        shift = (field * inside).sum((2, 3, 4), keepdim=True) / inside.sum().clamp_min(1)
        # round is what lies as far from the globe's middle on the template grid
        away = torch.minimum(away, (grid + shift - at).norm(dim=1, keepdim=True) * NODE_MM)
        share = (1 - (away - RADIUS_MM) / SOFT_MM).clamp(0, 1)
        field = field.lerp(shift.expand_as(field), share * share * (3 - 2 * share) * freedom)
    return field
