"""A VQ-VAE that reconstructs before the first step: PCA for its linear maps, k-means for its codebooks."""

import torch
from torch import Tensor

from cpmae_bids.models.shuffle import pixel_unshuffle
from cpmae_bids.models.vqvae import PATCH, VQVAE, CodeLevel


def principal_components(rows: Tensor, count: int) -> Tensor:
    """Leading eigenvectors of the uncentred second moment, as rows; (M, d) -> (count, d)."""
    moment = rows.T @ rows / len(rows)
    return torch.linalg.eigh(moment.double()).eigenvectors[:, -count:].flip(1).T.float()


def blocks(volume: Tensor, edge: int) -> Tensor:
    """Non-overlapping blocks of (B, C, X, Y, Z) as rows (M, C edge^3)."""
    return pixel_unshuffle(volume, edge).movedim(1, -1).flatten(0, 3)


@torch.no_grad()
def initialize(model: VQVAE, volumes: Tensor, *, seed: int = 0) -> None:
    """Fit the linear path and, by k-means, the codebooks of a VQ-VAE.

    `volumes`, (B, 1, 128, 128, 128), are training volumes on the template grid at 2 mm.
    """
    generator = torch.Generator().manual_seed(seed)
    latent = model.config.latent
    rows = torch.cat([_informative(blocks(v[None], PATCH), 4000, generator) for v in volumes])
    components = principal_components(rows, latent)
    model.stem.weight.copy_(components.view(latent, 1, PATCH, PATCH, PATCH))
    model.stem.bias.zero_()
    model.to_voxels.weight[:, :latent, 0, 0, 0] = components.T
    model.to_voxels.weight[:, latent:] *= 0.1
    model.to_voxels.bias.zero_()
    residual = torch.cat([model.stem(v[None]) for v in volumes])
    for level in model.levels:
        residual -= _fit_level(level, residual, generator)


def _fit_level(level: CodeLevel, residual: Tensor, generator: torch.Generator) -> Tensor:
    """Fit one level to what is left over; returns its share of the latent volume."""
    rows = _informative(blocks(residual, level.block), 60_000, generator)
    components = principal_components(rows, level.codebook.entries.shape[1])
    level.analysis.weight.copy_(components.view_as(level.analysis.weight))
    vectors = rows @ components.T
    air = torch.zeros(max(1, len(vectors) // 100), vectors.shape[1])  # keep one entry for air
    level.codebook.fit(torch.cat([vectors, air]), generator=generator)
    parts = []
    for volume in residual.split(8):
        vectors = level.vectors(volume)
        codes = level.codebook.indices(vectors.reshape(-1, vectors.shape[-1]))
        parts.append(level.volume(level.codebook.lookup(codes).view_as(vectors)))
    return torch.cat(parts)


def _informative(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` rows that differ from zero."""
    rows = rows[rows.square().mean(1) > 1e-4]
    return rows[torch.randperm(len(rows), generator=generator)[:count]]
