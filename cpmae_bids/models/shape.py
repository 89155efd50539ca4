"""The shape of a head as codes: what its deformation to the frame has beyond the fit to its brain.

Every combination of principal components of smooth deformations is a smooth deformation. It may fold, which
`cpmae_bids.models.head.HeadVQVAE.folds` tells.
"""

import torch
from torch import Tensor, nn

from cpmae_bids.models.diffeomorphism import resize
from cpmae_bids.models.frame import FIELD

STEP = 0.1  # width of a quantisation step, in standard deviations of a component
LEVELS = 64  # codes per component: they cover 3.2 standard deviations to either side
NODES = tuple(n // 2 for n in FIELD)  # nodes of the components, 8 mm


class Shape(nn.Module):
    """Scalar quantiser of the principal components of fields.

    ``edge**3`` components are kept, so that their codes form an integer volume as the other levels do.

    References
    ----------
    Blanz and Vetter, A Morphable Model for the Synthesis of 3D Faces, 1999 (components of shape); Mentzer et
    al., Finite Scalar Quantization, 2023 (a codebook that is a grid).
    """

    def __init__(self, edge: int):
        super().__init__()
        self.edge = edge
        self.register_buffer('centre', torch.zeros(3, *NODES))
        # 8 bits each; times `spread` they are nodes of 8 mm per standard deviation
        self.register_buffer('components', torch.zeros(edge**3, 3, *NODES, dtype=torch.int8))
        self.register_buffer('spread', torch.ones(edge**3))

    @staticmethod
    def values(codes: Tensor) -> Tensor:
        """Scores (standard deviations) that codes stand for."""
        return (codes - LEVELS // 2) * STEP

    @staticmethod
    def codes(scores: Tensor) -> Tensor:
        """Codes of the nearest scores."""
        return ((scores / STEP).round().long() + LEVELS // 2).clamp(0, LEVELS - 1)

    def basis(self) -> Tensor:
        """Components (K, 3, *NODES) in nodes per standard deviation."""
        return self.components.float() * self.spread.float().view(-1, 1, 1, 1, 1)

    def encode(self, field: Tensor) -> Tensor:
        """Codes (B, e, e, e) of fields (B, 3, *FIELD) in voxels of 4 mm."""
        rows = (resize(field, NODES) - self.centre.float()).flatten(1)
        basis = self.basis().flatten(1)
        scores = rows @ basis.T / basis.square().sum(1).clamp_min(1e-9)
        return self.codes(scores).view(-1, self.edge, self.edge, self.edge)

    def decode(self, codes: Tensor) -> Tensor:
        """Fields (B, 3, *FIELD), in voxels of 4 mm, of codes (B, e, e, e)."""
        scores = self.values(codes.flatten(1)).float()
        scaled = scores * self.spread.float()
        field = self.centre.float() + torch.einsum('bk,kcxyz->bcxyz', scaled, self.components.float())
        return resize(field, FIELD)

    @torch.no_grad()
    def fit(self, fields: Tensor, weight: Tensor) -> Tensor:
        """Take the principal components of fields; return the scores, shape (N, K).

        Parameters
        ----------
        fields : Tensor, shape (N, 3, *NODES)
            In nodes of 8 mm, mirror images included.
        weight : Tensor, shape NODES
            What a displacement counts: that of air, or deep in the brain, little.
        """
        self.centre.copy_(fields.mean(0))
        rows = (fields - self.centre).flatten(1)
        root = weight.sqrt().expand(3, *NODES).flatten()
        gram = (rows * root) @ (rows * root).T
        _, vectors = torch.linalg.eigh(gram)
        kept = min(self.edge**3, len(rows) - 1)
        vectors = vectors[:, -kept:].flip(1)
        scores = vectors * (len(rows) - 1) ** 0.5  # unit variance
        basis = scores.T @ rows / (len(rows) - 1)
        largest = basis.abs().amax(1).clamp_min(1e-9)
        self.spread[:kept] = largest / 127
        self.components[:kept] = (
            (basis / (largest / 127)[:, None]).round().to(torch.int8).view(kept, 3, *NODES)
        )
        return scores
