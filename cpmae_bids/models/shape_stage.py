"""The stage of the masked autoencoder that chooses the shape of a head.

Scores of shape and features of the brain are close to jointly Gaussian. So the prediction of what is masked
starts as the Gaussian conditional, given the brain and the codes that are known, and a transformer learns how
far to shift it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpmae_bids.models.shape import LEVELS, STEP, Shape
from cpmae_bids.models.transformer import Block
from cpmae_bids.models.vqvae import SITES, VQVAE

BRAIN_GRID = 16
"""Where the brain lies is told in this many sites along an edge."""

BRAIN_FEATURES = 32
"""Principal components of where the brain lies that predict the shape."""

BRAIN_LEVEL = 0.4
"""Mean intensity of a site that is full of brain, or more."""


class ShapeStage(nn.Module):
    """Predicts the codes of shape from the brain and from what is left of the codes.

    Parameters
    ----------
    edge : int
        ``edge**3`` codes.
    brain_latent : int
        Channels of the brain's latent volume.
    width, depth : int
        Of the transformer.
    """

    volumes = 1

    def __init__(self, edge: int, brain_latent: int, width: int, depth: int):
        super().__init__()
        self.edge, self.members, self.codes = edge, 1, LEVELS
        tokens, sites = edge**3, BRAIN_GRID**3
        self.register_buffer('live', torch.arange(tokens))
        # The mean intensity of every site of 8 mm is linear in the latent volume
        self.register_buffer('brain_weight', torch.zeros(brain_latent))
        self.register_buffer('brain_offset', torch.zeros(SITES, SITES, SITES))
        self.register_buffer('brain_mean', torch.zeros(sites))
        self.register_buffer('brain_basis', torch.zeros(BRAIN_FEATURES, sites))  # whitening
        self.register_buffer('regression', torch.zeros(tokens, BRAIN_FEATURES))
        self.register_buffer('precision', torch.eye(tokens))
        self.value_in = nn.Linear(3, width)
        self.brain_in = nn.Linear(BRAIN_FEATURES, width)
        self.share_in = nn.Linear(1, width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.shift = nn.Linear(width, 1)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)

    @property
    def unknown(self) -> int:
        """Code that stands for one about which nothing is known."""
        return self.codes

    def gather(self, codes: Tensor) -> Tensor:
        """Codes (B, e, e, e) as tokens (B, M, 1)."""
        return codes.flatten(1)[..., None]

    def scatter(self, codes: Tensor) -> Tensor:
        """Inverse of `gather`."""
        return codes.view(-1, self.edge, self.edge, self.edge)

    def brain_features(self, brain: Tensor) -> Tensor:
        """Whitened features (B, `BRAIN_FEATURES`) of latent volumes (B, brain_latent, 32, 32, 32)."""
        return (self.occupancy(brain) - self.brain_mean) @ self.brain_basis.T

    def occupancy(self, brain: Tensor) -> Tensor:
        """How much of every site is brain, 0 to 1; (B, brain_latent, 32, 32, 32) to (B, 16^3)."""
        means = torch.einsum('bcxyz,c->bxyz', brain.float(), self.brain_weight) + self.brain_offset
        return F.adaptive_avg_pool3d((means / BRAIN_LEVEL).clamp(0, 1), BRAIN_GRID).flatten(1)

    def conditional(self, codes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (B, M) of every score, given the brain and the known codes."""
        known = codes != self.unknown
        expected = features @ self.regression.T
        off = torch.where(known, Shape.values(codes) - expected, torch.zeros_like(expected))
        free = ~known
        both = free[:, :, None] & free[:, None, :]
        # rows and columns of what is known are those of the identity, so that one inverse serves all masks
        matrix = torch.where(both, self.precision, torch.zeros_like(self.precision))
        matrix = matrix + torch.diag_embed(known.to(matrix.dtype))
        covariance = torch.linalg.inv(matrix)
        pull = torch.einsum('ij,bj->bi', self.precision, off) * free
        mean = expected - torch.einsum('bij,bj->bi', covariance, pull)
        # of a code that is known, the model gives what it would say if it were not
        alone = self.precision.diagonal()
        rest = torch.einsum('ij,bj->bi', self.precision, off) - alone * off
        mean = torch.where(known, expected - rest / alone, mean)
        variance = torch.where(known, 1 / alone, covariance.diagonal(dim1=1, dim2=2))
        return mean, variance.clamp_min(STEP**2 / 4).sqrt()

    def forward(self, codes: Tensor, context: Tensor | None, brain: Tensor, share: Tensor) -> Tensor:
        """Logits of every code of every component; see `cpmae_bids.models.mae.Stage.forward`.

        Parameters
        ----------
        codes : Tensor of int64, shape (B, M, 1)
        context : None
            Nothing is coarser than the shape.
        brain : Tensor, shape (B, brain_latent, 32, 32, 32)
        share : Tensor, shape (B,)

        Returns
        -------
        logits : Tensor, shape (B, M, 1, 64)
        """
        codes = codes[..., 0]
        features = self.brain_features(brain.float())
        mean, deviation = self.conditional(codes, features)
        known = (codes != self.unknown).to(mean.dtype)
        x = self.value_in(torch.stack([Shape.values(codes) * known, known, mean], -1)) + self.position
        x = x + self.brain_in(features)[:, None] + self.share_in(share[:, None, None])
        for block in self.blocks:
            x = block(x)
        mean = mean + self.shift(self.norm(x))[..., 0] * deviation
        values = Shape.values(torch.arange(LEVELS, device=codes.device))
        return (-((values - mean[..., None]) / deviation[..., None]).square() / 2)[:, :, None]

    @torch.no_grad()
    def know_brains(self, model: VQVAE) -> None:
        """Learn what the latent volume of the brain's VQ-VAE says about where the brain is."""
        self.brain_weight.copy_(model.stem.weight.mean((1, 2, 3, 4)))
        mean = model.mean.to(self.brain_weight)
        self.brain_offset.copy_(torch.einsum('cxyz,c->xyz', mean, self.brain_weight))

    @torch.no_grad()
    def fit(self, scores: Tensor, brain: Tensor, *, ridge: float = 1000.0, shrinkage: float = 0.3) -> None:
        """Fit the joint Gaussian of shape and brain; what the transformer learnt of another one is forgotten.

        Parameters
        ----------
        scores : Tensor, shape (N, M)
        brain : Tensor, shape (N, 16^3)
            `occupancy` of the brains.
        ridge : float
            Penalty on the regression, in heads. Less of it predicts heads a little better, and lets an
            attacker who knows the brain do the same.
        shrinkage : float
            Weight of the diagonal in the covariance of what the brain leaves open.
        """
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)
        self.brain_mean.copy_(brain.mean(0))
        _, spread, basis = torch.linalg.svd(brain - self.brain_mean, full_matrices=False)
        kept = min(BRAIN_FEATURES, len(spread))
        self.brain_basis.zero_()
        self.brain_basis[:kept] = basis[:kept] * (len(brain) ** 0.5 / spread[:kept, None].clamp_min(1e-6))
        features = (brain - self.brain_mean) @ self.brain_basis.T
        gram = features.T @ features + ridge * torch.eye(features.shape[1])
        self.regression.copy_((torch.linalg.inv(gram) @ features.T @ scores).T)
        # Residuals of heads that were left out, in closed form: those of the fit would look too small
        leverage = ((features @ torch.linalg.inv(gram)) * features).sum(1, keepdim=True)
        residual = (scores - features @ self.regression.T) / (1 - leverage).clamp_min(0.1)
        covariance = residual.T @ residual / len(residual)
        covariance = (1 - shrinkage) * covariance + shrinkage * torch.diag(covariance.diagonal())
        self.precision.copy_(torch.linalg.inv(covariance + 1e-3 * torch.eye(len(covariance))))
