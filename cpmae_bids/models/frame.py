"""The frame: a space in which the anatomy of all training heads lies in the same place.

The frame is a box in the middle of the template grid, at 2 mm, and reaches further down: to the chin.
`channels` says what of a head is registered, `Frame` holds the mean of these channels over the training
heads, and finds the two maps that a scan needs: from its brain to that of the frame (`Frame.fit_brain`), and
from the frame to a whole head (`Frame.fit_head`).
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from cpmae_bids.deid.images import masks
from cpmae_bids.deid.space import geometry
from cpmae_bids.models import diffeomorphism as diffeo
from cpmae_bids.models.diffeomorphism import Level
from cpmae_bids.runtime import threads

GRID = 128  # voxels of 2 mm along an edge of the template grid
# Voxels of the template grid that the frame covers from left to right; it covers all of the other axes
BOX = slice(12, 116)
BELOW = 16  # voxels by which it reaches below the template grid, whose lower edge cuts many chins
SHAPE = (BOX.stop - BOX.start, GRID, GRID + BELOW)  # voxels of the frame, 2 mm
FIELD = tuple(n // 2 for n in SHAPE)  # nodes of fields of displacements, 4 mm
VOXEL_MM = 2.0
# Root of intensity that fills the brain: folds of the cortex must not drive a registration
BRAIN_LEVEL = 0.55
SKIN_MM, BRAIN_MM = 16.0, 12.0  # distances to the skin and to the surface of the brain are clipped here
CLIPPED = 0.5  # what a clipped distance counts beside intensities, whose root is about 1 in white matter
BRAIN_LEVELS = (Level(2, 2, 40), Level(1, 1, 25))
HEAD_LEVELS = (Level(2, 2, 30), Level(1, 1, 25))  # of registrations at 4 mm


def in_frame(volume: np.ndarray) -> np.ndarray:
    """Crop a volume (128, 128, 128 or deeper) of the template grid to the frame; 0 beyond it."""
    missing = GRID + BELOW - volume.shape[2]
    return np.pad(volume[BOX], ((0, 0), (0, 0), (missing, 0)))


def outer_mask(volume: np.ndarray, brain: np.ndarray, *, closing_mm: float) -> np.ndarray:
    """All that the skin encloses, cavities included; bool, shape (X, Y, Z).

    The volume is at 2 mm, air 0, white matter about 1, z up. Openings up to twice as wide as `closing_mm` are
    closed: nostrils, mouth, ear canals.
    """
    tissue = masks.head_mask(volume, sigma=0.7, brain=brain)
    steps = round(closing_mm / VOXEL_MM)
    around = np.pad(tissue, steps + 1, mode='edge')
    closed = ndimage.binary_closing(around, ndimage.generate_binary_structure(3, 1), steps)
    return masks.fill_head(closed[(slice(steps + 1, -steps - 1),) * 3] | tissue)


def signed_distance(mask: np.ndarray, limit_mm: float) -> np.ndarray:
    """Distance to the surface of a mask at 2 mm; mm, negative inside, clipped; float32."""
    distance = np.full(mask.shape, limit_mm, np.float32)
    if mask.any():  # farther away all is clipped
        window, _ = geometry.crop(mask, np.eye(4), margin=int(limit_mm / VOXEL_MM) + 1)
        outside, inside = threads.each(ndimage.distance_transform_edt, (~mask[window], mask[window]))
        distance[window] = np.clip((outside - inside) * VOXEL_MM, -limit_mm, limit_mm)
    return distance


def channels(volume: np.ndarray, brain: np.ndarray, seen: np.ndarray) -> tuple[Tensor, Tensor]:
    """What of a head is registered: root of the intensity, distance to the skin, distance to the brain.

    Parameters
    ----------
    volume : ndarray of float32, shape (X, Y, Z)
        Head in the frame, white matter about 1.
    brain, seen : ndarray of bool, shape (X, Y, Z)
        Brain mask and field of view.

    Returns
    -------
    values, weights : Tensor of float32, shape (1, 3, X, Y, Z)
        Weights are 0 where the scan knows nothing: outside its field of view, and where the skin may be
        nearer beyond it.
    """
    mask = outer_mask(volume * seen, brain, closing_mm=10.0)
    root = np.sqrt(np.where(mask, volume, 0))
    root[brain] = BRAIN_LEVEL
    skin = signed_distance(mask, SKIN_MM)
    to_unseen = ndimage.distance_transform_edt(seen) * VOXEL_MM if not seen.all() else np.inf
    known = seen & (to_unseen >= np.abs(skin))
    distances = [skin / SKIN_MM * CLIPPED, signed_distance(brain, BRAIN_MM) / BRAIN_MM * CLIPPED]
    values = np.stack([root, *distances]).astype(np.float32)
    weights = np.stack([seen, known, np.ones_like(seen)]).astype(np.float32)
    return torch.from_numpy(values)[None], torch.from_numpy(weights)[None]


def match_quantiles(volume: np.ndarray, tissue: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Monotone map of intensities after which those of tissue have the given, evenly spaced quantiles."""
    own = np.quantile(tissue, np.linspace(0, 1, len(quantiles)))
    inner = np.interp(volume, [0, *own[1:-1]], [0, *quantiles[1:-1]])
    return np.where(volume > own[-2], volume * (quantiles[-2] / own[-2]), inner).astype(np.float32)


class Frame(nn.Module):
    """Mean head of the frame, in the channels that are registered."""

    mean: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer('mean', torch.zeros(3, *FIELD))  # at 4 mm

    @property
    def skin_mm(self) -> Tensor:
        """Distance to the mean skin in mm, clipped; shape `FIELD`."""
        return self.mean[1] * (SKIN_MM / CLIPPED)

    @property
    def brain_mm(self) -> Tensor:
        """Distance to the surface of the mean brain in mm, clipped; shape `FIELD`."""
        return self.mean[2] * (BRAIN_MM / CLIPPED)

    def fit_brain(self, brain: np.ndarray) -> Tensor:
        """Map that lays the brain of the frame on that of a scan; nothing else of the scan takes part.

        `brain` is its mask on the template grid at 2 mm. The field, float32, (1, 3, *FIELD), leads from a
        point of the template grid to a point of the frame, in voxels of 4 mm.
        """
        surface = torch.from_numpy(signed_distance(in_frame(brain), BRAIN_MM) * (CLIPPED / BRAIN_MM))[
            None, None
        ]
        surface = surface.to(self.mean.device)
        return diffeo.register(F.avg_pool3d(surface, 2), self.mean[2:][None].float(), BRAIN_LEVELS)

    def fit_head(self, values: Tensor, weights: Tensor, start: Tensor | None = None) -> Tensor:
        """Map from the frame to a head; see `channels` for the inputs.

        The field, float32, (1, 3, *FIELD), leads from a point of the frame to a point of the head, in voxels
        of 4 mm.
        """
        moving, known = F.avg_pool3d(values, 2), F.avg_pool3d(weights, 2)
        return diffeo.register(self.mean[None].float(), moving, HEAD_LEVELS, weights=known, start=start)
