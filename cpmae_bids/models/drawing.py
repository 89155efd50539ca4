"""From the codes of a head to the head at 1 mm: what the decoder says, and detail."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cpmae_bids.models.detail import Detail, double, sharpen
from cpmae_bids.models.vqvae import VQVAE


class Drawing(NamedTuple):
    """A head; white matter is about 1.

    Attributes
    ----------
    decoded, mean : Tensor of float32, shape (1, 1, n, n, n)
        At 2 mm, without detail: the head, and the mean head in its shape.
    detailed : Tensor of float32, shape (1, 1, 2 n, 2 n, 2 n)
        At 1 mm.
    """

    decoded: Tensor
    mean: Tensor
    detailed: Tensor


@torch.no_grad()
def draw(
    head: VQVAE, detail: Detail, codes: list[Tensor], brain: Tensor, *, seed: int, millimetre: bool
) -> Drawing:
    """Decode a head and draw its detail.

    Parameters
    ----------
    head : VQVAE
    detail : Detail
    codes : list of Tensor of int64, shape (1, g, g, g) each
    brain : Tensor of float32, shape (1, 1, n, n, n)
        1 in the brain of the scan, 0 elsewhere.
    seed : int
        Of the detail.
    millimetre : bool
        Draw detail at 1 mm as well; otherwise that at 2 mm is interpolated.

    Returns
    -------
    drawing : Drawing
    """
    decoded = head.decode(codes)
    detailed = detail.add(
        decoded,
        torch.Generator().manual_seed(seed),
        millimetre=millimetre,
        displacement_mm=head.displacement(codes),
        brain=brain,
    )
    if not millimetre:
        detailed = double(detailed)
    return Drawing(decoded, head.decode_mean(codes), sharpen(detailed))
