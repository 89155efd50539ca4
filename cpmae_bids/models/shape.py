"""The shape of a head as codes: how it deforms from the mean head, in principal components.

Heads differ most in where their surfaces lie. A code for that alone keeps surfaces smooth, since every
combination of components is a smooth deformation, and lets all other codes describe the head after its shape
was taken out, where anatomy lies in the same place in everybody.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpmae_bids.models.warps import GRID, WORKING, find_warp

STEP = 0.1
"""Width of a quantisation step, in standard deviations of a component."""

LEVELS = 64
"""Codes per component: they cover 3.2 standard deviations to either side."""


class Shape(nn.Module):
    """Scalar quantiser of the principal components of displacement fields.

    Parameters
    ----------
    edge : int
        ``edge**3`` components are kept, so that their codes form an integer volume as the other levels do.

    References
    ----------
    Blanz and Vetter, A Morphable Model for the Synthesis of 3D Faces, 1999 (components of shape); Mentzer et
    al., Finite Scalar Quantization, 2023 (a codebook that is a grid).
    """

    def __init__(self, edge: int):
        super().__init__()
        self.edge = edge
        self.register_buffer('template', torch.zeros(1, 1, WORKING, WORKING, WORKING))
        self.register_buffer('centre', torch.zeros(1, 3, GRID, GRID, GRID))
        # mm per standard deviation; orthogonal to each other
        self.register_buffer('components', torch.zeros(edge**3, 3, GRID, GRID, GRID))

    @staticmethod
    def values(codes: Tensor) -> Tensor:
        """Scores (standard deviations) that codes stand for."""
        return (codes - LEVELS // 2) * STEP

    def find(self, volume: Tensor) -> Tensor:
        """Displacement (B, 3, 32, 32, 32) in mm of heads (B, 1, n, n, n), registered to the mean head."""
        small = F.adaptive_avg_pool3d(volume, WORKING)
        return torch.cat([find_warp(head[None], self.template) for head in small])

    def encode(self, displacement: Tensor) -> Tensor:
        """Codes (B, e, e, e) int64 of displacement fields (B, 3, 32, 32, 32) in mm."""
        basis = self.components.flatten(1)
        scores = (displacement - self.centre).flatten(1) @ basis.T / basis.square().sum(1).clamp_min(1e-6)
        codes = (scores / STEP).round().long() + LEVELS // 2
        return codes.clamp(0, LEVELS - 1).view(-1, self.edge, self.edge, self.edge)

    def decode(self, codes: Tensor) -> Tensor:
        """Displacement fields (B, 3, 32, 32, 32) in mm of codes (B, e, e, e)."""
        return self.centre + torch.einsum('bk,kcxyz->bcxyz', self.values(codes.flatten(1)), self.components)

    @torch.no_grad()
    def fit(self, displacements: Tensor, template: Tensor) -> None:
        """Take the principal components of displacement fields.

        Parameters
        ----------
        displacements : Tensor, shape (N, 3, 32, 32, 32)
            In mm, mirror images included.
        template : Tensor, shape (1, 1, n, n, n)
            The head to which they lead.
        """
        self.template.copy_(F.adaptive_avg_pool3d(template, WORKING))
        rows = displacements.flatten(1)
        self.centre.copy_(rows.mean(0).view_as(self.centre))
        _, spread, basis = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
        kept = min(self.edge**3, len(spread))
        scaled = basis[:kept] * (spread[:kept, None] / max(1, len(rows) - 1) ** 0.5)
        self.components.zero_()
        self.components[:kept] = scaled.view(kept, 3, GRID, GRID, GRID)
