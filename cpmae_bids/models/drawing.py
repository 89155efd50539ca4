"""From the codes of a head to the head around a brain, at 1 mm."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cpmae_bids.deid.synthesis import neck
from cpmae_bids.models import edges
from cpmae_bids.models.blocks import blocks_of_tissue, inner, scaled
from cpmae_bids.models.diffeomorphism import resize, sample
from cpmae_bids.models.frame import BELOW, BOX, GRID
from cpmae_bids.models.head import HeadVQVAE
from cpmae_bids.models.superresolution import SuperResolution
from cpmae_bids.runtime import threads

FURTHER = 16  # voxels of 2 mm by which a head goes on below the frame before it gets its shape
BLOCK_NODES = 8000  # nodes of the field (4 mm) that are interpolated at once, one around them included


@torch.no_grad()
def draw(
    head: HeadVQVAE,
    finer: SuperResolution,
    codes: list[Tensor],
    brain: np.ndarray,
    *,
    seed: int,
    millimetre: bool,
    coarse: bool = False,
) -> Tensor:
    """Decode a head, draw it at 1 mm, and lay it around a brain.

    Detail is drawn in the frame, before the one interpolation that gives the head its shape.

    Parameters
    ----------
    codes : list of Tensor of int64
        See `HeadVQVAE.encode`.
    brain : ndarray of bool, shape (128, 128, 128)
        Brain mask on the template grid, 2 mm.
    seed : int
        Of the detail.
    millimetre : bool
        Draw detail of 1 mm; otherwise the head is interpolated from 2 mm.
    coarse : bool
        See `HeadVQVAE.decode`.

    Returns
    -------
    volume : Tensor of float32, shape (1, 1, 256, 256, 288)
        White matter is about 1, air 0; the last axis begins 32 mm below the template grid.
    """
    volume, field = threads.together(
        lambda: lengthened(head.decode(codes, coarse=coarse or not millimetre)),
        lambda: head.field(codes, brain),
    )
    if millimetre:
        fine = detailed(finer, volume, seed=seed, coarse=coarse)
    else:
        fine = F.interpolate(volume, scale_factor=2, mode='trilinear', align_corners=False)
    return lay_around(fine, field)


def detailed(finer: SuperResolution, volume: Tensor, *, seed: int, coarse: bool) -> Tensor:
    """A head of the frame at 2 mm with detail of 1 mm, drawn on the device of the network; on the CPU."""
    there = volume.to(next(finer.parameters()).device)
    fine = finer(there, generator=torch.Generator().manual_seed(seed))
    return (fine if coarse else edges.drawn(fine, there)).cpu()


def lengthened(volume: Tensor) -> Tensor:
    """A head of the frame at 2 mm, with a neck that goes on below it: some shapes reach there."""
    longer = neck.go_on(volume[0, 0].numpy(), FURTHER)
    return torch.from_numpy(longer)[None, None]


@torch.no_grad()
def lay_around(volume: Tensor, field: Tensor) -> Tensor:
    """A head of the frame on the template grid.

    Parameters
    ----------
    volume : Tensor of float32, shape (1, 1, X, Y, Z)
        In the frame and, as far as it goes on, below it; at 2 mm or 1 mm.
    field : Tensor, shape (1, 3, *FIELD)
        See `HeadVQVAE.field`.

    Returns
    -------
    laid : Tensor of float32, shape (1, 1, n, n, n + n / 8)
        At the same resolution; 0 where the frame does not reach.
    """
    edge = volume.shape[2] // field.shape[2]  # voxels along that of a node
    around = F.pad(field, [1] * 6, mode='replicate')
    finer = edge // 2
    further = volume.shape[4] - edge * field.shape[4]
    result = torch.zeros(1, 1, finer * GRID, finer * GRID, finer * (GRID + BELOW))
    box = result[:, :, finer * BOX.start : finer * BOX.stop]
    for block in blocks_of_tissue(_covered(volume, field), 1, BLOCK_NODES):
        nodes = around[scaled(block, 1, 1)]
        fine = inner(resize(nodes, tuple(edge * n for n in nodes.shape[2:])), edge)
        x, y, z = (edge * s.start for s in block)
        box[scaled(block, edge)] = sample(volume, fine, (x, y, z + further))
    return result.clamp_(min=0)


def _covered(volume: Tensor, field: Tensor) -> Tensor:
    """Nodes of a field around which something of a volume comes to lie; bool, shape FIELD."""
    edge = volume.shape[2] // field.shape[2]
    near = F.max_pool3d(F.max_pool3d(volume, edge), 3, stride=1, padding=1)
    further = near.shape[4] - field.shape[4]
    return sample(near, field, (0, 0, further))[0, 0] > 0
