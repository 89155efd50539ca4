"""Masked autoencoder of head codes, conditioned on the brain.

The paper (arXiv 2310.15778, Figure 3) degrades the code of the head and trains a masked autoencoder to
reverse the degradation, with the code of the brain as condition. Here that happens volume by volume:
`ShapeStage` predicts the scores of the shape that are masked, in closed form, `AppearanceStage` the
descriptors of the patches that are masked, by a transformer that sees the other patches, the shape and the
brain.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpmae_bids.models.exemplars import SITES
from cpmae_bids.models.plausibility import Plausibility
from cpmae_bids.models.vqvae import VQVAE

BRAIN_GRID = 16  # sites along an edge of the grid on which the brain is described
BRAIN_LEVEL = 0.4  # mean intensity of a site that is full of brain, or more
TOKEN = 2  # sites along an edge of a token (32 mm): attention is quadratic in tokens
# Penalty on the regression of shape on the brain, in heads: less of it predicts heads a little better, and
# lets an attacker who knows the brain do the same
RIDGE = 1000.0
DROPOUT = 0.2  # of the transformer, in training
SHRINKAGE = 0.3  # weight of the diagonal in the covariance of what the brain leaves open


@dataclass(frozen=True)
class MAEConfig:
    """Sizes of the masked autoencoder."""

    sites: int  # live sites of the head's VQ-VAE
    features: int  # length of their descriptors
    tokens: int  # blocks of `TOKEN`^3 sites of which at least one is live
    faces: int  # training faces, mirror images included
    shape: int = 64  # codes of shape
    brain_latent: int = 16  # channels of the brain's latent volume
    brain_features: int = 32  # principal components of where the brain lies
    # width, depth: of the transformer
    width: int = 192
    depth: int = 4


class BrainFeatures(nn.Module):
    """Whitened principal components of where the brain lies, from the codes of its VQ-VAE."""

    weight: Tensor
    mean: Tensor
    basis: Tensor

    def __init__(self, latent: int, features: int):
        super().__init__()
        sites = BRAIN_GRID**3
        # The mean intensity of every site of 8 mm is linear in the latent volume
        self.register_buffer('weight', torch.zeros(latent))
        self.register_buffer('mean', torch.zeros(sites))
        self.register_buffer('basis', torch.zeros(features, sites))

    def occupancy(self, latent: Tensor) -> Tensor:
        """How much of every site is brain, 0 to 1; (B, latent, 32, 32, 32) to (B, 16^3)."""
        means = torch.einsum('bcxyz,c->bxyz', latent.float(), self.weight.float())
        return F.adaptive_avg_pool3d((means / BRAIN_LEVEL).clamp(0, 1), BRAIN_GRID).flatten(1)

    def forward(self, latent: Tensor) -> Tensor:
        """Features (B, features) of latent volumes (B, latent, 32, 32, 32)."""
        return (self.occupancy(latent) - self.mean.float()) @ self.basis.float().T

    @torch.no_grad()
    def fit(self, model: VQVAE, latents: Tensor) -> None:
        """Learn what the latent volume says about where the brain is, and how brains differ in it."""
        self.weight.copy_(model.stem.weight.mean((1, 2, 3, 4)))
        occupancy = self.occupancy(latents)
        self.mean.copy_(occupancy.mean(0))
        _, spread, basis = torch.linalg.svd(occupancy - self.mean, full_matrices=False)
        kept = min(len(self.basis), len(spread))
        self.basis.zero_()
        self.basis[:kept] = basis[:kept] * (len(latents) ** 0.5 / spread[:kept, None].clamp_min(1e-6))


class ShapeStage(nn.Module):
    """Predicts scores of shape from the brain and from those that are known: a joint Gaussian.

    Given the shape codes that are not masked, and the brain, the best prediction of the others is the
    Gaussian conditional: this is a masked autoencoder in closed form.
    """

    regression: Tensor
    covariance: Tensor

    def __init__(self, codes: int, features: int):
        super().__init__()
        self.register_buffer('regression', torch.zeros(codes, features))
        self.register_buffer('covariance', torch.eye(codes))

    def forward(self, scores: Tensor, known: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (M,) of every score given those that are known: of these, itself and 0.

        `scores` (M,), `known` (bool, (M,)) and features of the `brain` (features,).
        """
        covariance = self.covariance.float()
        expected = self.regression.float() @ brain
        mean, deviation = expected.clone(), covariance.diagonal().sqrt()
        if known.any():
            cross, inner = covariance[:, known], covariance[known][:, known]
            gain = torch.linalg.solve(inner + 1e-6 * torch.eye(len(inner)), cross.T).T
            mean = expected + gain @ (scores - expected)[known]
            deviation = (covariance.diagonal() - (gain * cross).sum(1)).clamp_min(0).sqrt()
        return torch.where(known, scores, mean), torch.where(known, torch.zeros(()), deviation)

    @torch.no_grad()
    def fit(self, scores: Tensor, brain: Tensor) -> None:
        """Fit the joint Gaussian of scores (N, M) and features of brains (N, features)."""
        gram = brain.T @ brain + RIDGE * torch.eye(brain.shape[1])
        self.regression.copy_((torch.linalg.inv(gram) @ brain.T @ scores).T)
        # residuals of heads that were left out, in closed form: those of the fit would look too small
        leverage = ((brain @ torch.linalg.inv(gram)) * brain).sum(1, keepdim=True)
        residual = (scores - brain @ self.regression.T) / (1 - leverage).clamp_min(0.1)
        covariance = residual.T @ residual / len(residual)
        self.covariance.copy_((1 - SHRINKAGE) * covariance + SHRINKAGE * torch.diag(covariance.diagonal()))


class Block(nn.Module):
    """Pre-norm transformer block with full self-attention."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = max(1, width // 64)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, M, width) to the same shape."""
        b, m, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, m, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, m, width)
        x = x + F.dropout(self.out(mixed), DROPOUT, self.training)
        return x + F.dropout(self.mlp(self.norm2(x)), DROPOUT, self.training)


class AppearanceStage(nn.Module):
    """Predicts the descriptors of all sites from those that are known, the shape and the brain."""

    slot: Tensor
    variance: Tensor

    def __init__(self, config: MAEConfig):
        super().__init__()
        c = config
        members, width = TOKEN**3, c.width
        self.config = c
        self.register_buffer('slot', torch.zeros(c.sites, dtype=torch.int64))  # token * members + member
        self.features_in = nn.Linear(members * (c.features + 1), width)
        self.shape_in = nn.Linear(c.shape, width)
        self.brain_in = nn.Linear(c.brain_features, width)
        self.position = nn.Parameter(0.02 * torch.randn(c.tokens, width))
        self.blocks = nn.ModuleList([Block(width) for _ in range(c.depth)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, members * c.features)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        # squared error that is left when half of the sites are known, by site and feature
        self.register_buffer('variance', torch.ones(c.sites, c.features))

    @torch.no_grad()
    def place(self, live: Tensor) -> None:
        """Say where the live sites lie; `live` has flat indices into `SITES`."""
        blocks, members = token_of(live)
        _, tokens = torch.unique(blocks, return_inverse=True)
        self.slot.copy_(tokens * TOKEN**3 + members)

    def forward(self, described: Tensor, known: Tensor, shape: Tensor, brain: Tensor) -> Tensor:
        """Expected descriptors (B, sites, features).

        Given are those that are `known` (bool, (B, sites)), scores of shape (B, shape) and features of the
        brain (B, brain_features).
        """
        c = self.config
        seen = known[..., None].to(described.dtype)
        parts = torch.cat([described * seen, seen], -1)
        full = parts.new_zeros(len(parts), c.tokens * TOKEN**3, c.features + 1)
        full[:, self.slot] = parts
        x = self.features_in(full.view(len(parts), c.tokens, -1)) + self.position
        x = x + (self.shape_in(shape) + self.brain_in(brain))[:, None]
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x)).view(len(parts), -1, c.features)[:, self.slot]


def token_of(live: Tensor) -> tuple[Tensor, Tensor]:
    """Block of `TOKEN`^3 sites in which each live site lies, and its place there."""
    _, y, z = SITES
    i, j, k = live // (y * z), live // z % y, live % z
    blocks = (i // TOKEN * ((y + 1) // TOKEN) + j // TOKEN) * ((z + 1) // TOKEN) + k // TOKEN
    members = (i % TOKEN * TOKEN + j % TOKEN) * TOKEN + k % TOKEN
    return blocks, members


class MAE(nn.Module):
    """Brain features, and the two stages that draw a head."""

    def __init__(self, config: MAEConfig):
        super().__init__()
        self.config = config
        self.brain = BrainFeatures(config.brain_latent, config.brain_features)
        self.shape = ShapeStage(config.shape, config.brain_features)
        self.plausibility = Plausibility(config.shape, config.faces)
        self.appearance = AppearanceStage(config)
