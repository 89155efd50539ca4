"""Masked autoencoder of head codes, conditioned on the brain.

The paper (arXiv 2310.15778, Figure 3) degrades the code of the head and trains a masked autoencoder to
reverse the degradation, with the code of the brain as condition. Here that happens integer volume by integer
volume: the shape of the head first (`cpmae_bids.models.shape_stage`), then what it looks like, from coarse to
fine; each level sees the coarser ones. Coarse levels may be drawn together (`cpmae_bids.models.mixture`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from cpmae_bids.models.mixture import Mixture
from cpmae_bids.models.shape_stage import ShapeStage
from cpmae_bids.models.transformer import Block
from cpmae_bids.models.vqvae import SITES

TOKENS = 8
"""Grid of tokens: one token for all codes of a level within 32 mm, since attention is quadratic in tokens."""


SOFTNESS = 16.0
"""Squared distance (in units of the spread of the codes) over which a code loses half a nat, at the start."""


@dataclass(frozen=True)
class MAEConfig:
    """Shape of the masked autoencoder; one entry per level of the code pyramid in every tuple.

    Attributes
    ----------
    grids : tuple of int
        Grid of each level of the head's VQ-VAE.
    codebook : int
        Codes to choose from.
    dims : tuple of int
        Length of the code vectors of each level.
    latent, brain_latent : int
        Channels of the latent volumes of the head's and the brain's VQ-VAE.
    widths, depths : tuple of int
        Width and number of transformer blocks.
    live : tuple of int
        Number of tokens that are ever anything but air.
    shape : int
        Edge of the volume of shape codes; 0 where the head's VQ-VAE has none.
    shape_width, shape_depth : int
        Width and number of transformer blocks of the stage that chooses the shape.
    together : int
        Levels, from the coarsest on, that are drawn together; they have no transformer, and what the tuples
        say of their width, depth and live tokens is not used.
    mixed_sites, mixed_channels, mixed_components : int
        Size of what draws them; see `cpmae_bids.models.mixture.Mixture`.
    """

    grids: tuple[int, ...]
    dims: tuple[int, ...]
    codebook: int
    latent: int
    brain_latent: int
    widths: tuple[int, ...] = (256, 256, 256, 256, 256)
    depths: tuple[int, ...] = (5, 4, 4, 4, 4)
    live: tuple[int, ...] = ()
    shape: int = 0
    shape_width: int = 128
    shape_depth: int = 3
    together: int = 0
    mixed_sites: int = 0
    mixed_channels: int = 8
    mixed_components: int = 96

    def to_dict(self) -> dict:
        """Plain JSON-serialisable dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> MAEConfig:
        """Inverse of `to_dict`."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def group(volume: Tensor, grid: int) -> Tensor:
    """Gather a volume into the sites of a coarser grid; (B, C, n, n, n) -> (B, grid^3, C (n / grid)^3)."""
    b, c, n = volume.shape[:3]
    edge = n // grid
    volume = volume.view(b, c, grid, edge, grid, edge, grid, edge)
    return volume.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, grid**3, c * edge**3)


def ungroup(rows: Tensor, n: int) -> Tensor:
    """Inverse of `group` for one channel; (B, grid^3, (n / grid)^3) -> (B, n, n, n)."""
    b, sites, members = rows.shape
    grid, edge = round(sites ** (1 / 3)), round(members ** (1 / 3))
    rows = rows.view(b, grid, grid, grid, edge, edge, edge).permute(0, 1, 4, 2, 5, 3, 6)
    return rows.reshape(b, n, n, n)


class Neighbours(nn.Module):
    """Depth-wise 3^3 convolution over the grid of tokens beside the identity: what touches must fit."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv3d(width, width, 3, padding=1, groups=width)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, live: Tensor) -> Tensor:
        """Shape (B, M, width) to the same shape; `live` says where in the grid of 8^3 the M tokens lie."""
        dense = x.new_zeros(len(x), TOKENS**3, x.shape[-1])
        dense[:, live] = self.norm(x)
        dense = dense.transpose(1, 2).unflatten(2, (TOKENS,) * 3)
        return x + self.conv(dense).flatten(2).transpose(1, 2)[:, live]


class Stage(nn.Module):
    """Predicts the codes of one level from the coarser levels, the brain, and what is left of the codes.

    Parameters
    ----------
    config : MAEConfig
    level : int
    """

    volumes = 1

    def __init__(self, config: MAEConfig, level: int):
        super().__init__()
        self.grid = config.grids[level]
        self.tokens = min(self.grid, TOKENS)
        self.members = (self.grid // self.tokens) ** 3
        self.codes = config.codebook
        width, sites = config.widths[level], (SITES // self.tokens) ** 3
        dim = config.dims[level]
        self.embed = nn.Embedding(config.codebook + 1, dim)  # the last one stands for 'unknown'
        self.code_in = nn.Linear(dim * self.members, width)
        self.context_in = nn.Linear(config.latent * sites, width) if level else None
        self.brain_in = nn.Linear(config.brain_latent * sites, width)
        self.share_in = nn.Linear(1, width)
        self.position = nn.Parameter(0.02 * torch.randn(config.live[level], width))
        self.neighbours = nn.ModuleList([Neighbours(width) for _ in range(config.depths[level])])
        self.blocks = nn.ModuleList([Block(width) for _ in range(config.depths[level])])
        self.norm = nn.LayerNorm(width)
        self.vectors = nn.Linear(width, self.members * dim)
        self.logits = nn.Linear(dim, config.codebook)
        # Log frequency of every code at every site: the network learns what context changes. The table of the
        # finest level would be larger than its network, which has to learn it.
        sites_times_codes = (config.live[level], self.members, config.codebook)
        self.register_buffer('prior', torch.zeros(sites_times_codes) if self.members <= 8 else None)
        self.register_buffer('live', torch.zeros(config.live[level], dtype=torch.int64))
        self.register_buffer('resting', torch.zeros(self.tokens**3, self.members, dtype=torch.int64))

    @torch.no_grad()
    def know_codes(self, entries: Tensor, frequencies: Tensor) -> None:
        """Start from what the codes mean: a code is embedded as its vector and chosen by its distance.

        Parameters
        ----------
        entries : Tensor, shape (codebook, dim)
            Code vectors of the level.
        frequencies : Tensor, shape (M, members, codebook)
            How often each code was seen at each live site, positive.
        """
        spread = entries.std()
        self.embed.weight[:-1] = entries / spread
        self.embed.weight[-1] = 0
        # -|v - e|^2 / 2 up to a constant: a prediction is a point, and near codes are likely codes
        self.logits.weight.copy_(entries / spread / SOFTNESS)
        if self.prior is None:
            self.logits.bias.copy_(-(entries / spread).square().sum(1) / 2 / SOFTNESS)
        else:  # before the first step the model is a unigram
            self.prior.copy_(frequencies.log())
            nn.init.zeros_(self.logits.bias)
            nn.init.zeros_(self.vectors.weight)
            nn.init.zeros_(self.vectors.bias)

    @property
    def unknown(self) -> int:
        """Code that stands for a site about which nothing is known."""
        return self.codes

    def gather(self, codes: Tensor) -> Tensor:
        """Codes (B, g, g, g) of the level to those of live tokens (B, M, members)."""
        return group(codes[:, None], self.tokens)[:, self.live]

    def scatter(self, codes: Tensor) -> Tensor:
        """Codes of live tokens (B, M, members) to the volume (B, g, g, g); air elsewhere."""
        full = self.resting.expand(len(codes), -1, -1).clone()
        full[:, self.live] = codes
        return ungroup(full, self.grid)

    def forward(self, codes: Tensor, context: Tensor | None, brain: Tensor, share: Tensor) -> Tensor:
        """Logits of every code of every live token.

        Parameters
        ----------
        codes : Tensor of int64, shape (B, M, members)
            Degraded codes; `unknown` where masked.
        context : Tensor, shape (B, latent, 32, 32, 32), or None at the first level
            Latent volume of the coarser levels of the head.
        brain : Tensor, shape (B, brain_latent, 32, 32, 32)
            Latent volume of the codes of the brain.
        share : Tensor, shape (B,)
            Share of degraded sites.

        Returns
        -------
        logits : Tensor, shape (B, M, members, codebook)
        """
        x = self.code_in(self.embed(codes).flatten(2)) + self.position
        x = x + self.brain_in(group(brain, self.tokens)[:, self.live]) + self.share_in(share[:, None, None])
        if self.context_in is not None:
            x = x + self.context_in(group(context, self.tokens)[:, self.live])
        for neighbours, block in zip(self.neighbours, self.blocks, strict=True):
            x = block(neighbours(x, self.live))
        logits = self.logits(self.vectors(self.norm(x)).unflatten(-1, (self.members, -1)))
        return logits if self.prior is None else logits + self.prior


class MAE(nn.Module):
    """Stages that give the integer volumes of a head, one after the other.

    `ShapeStage` for the shape, `Mixture` for the levels that are drawn together, and a `Stage` for every
    finer one.

    Parameters
    ----------
    config : MAEConfig
    """

    def __init__(self, config: MAEConfig):
        super().__init__()
        self.config = config
        c = config
        shape = [ShapeStage(c.shape, c.brain_latent, c.shape_width, c.shape_depth)] if c.shape else []
        mixed = Mixture(c.latent, c.together, c.mixed_sites, c.mixed_channels, c.mixed_components)
        fine = [Stage(config, level) for level in range(c.together, len(c.grids))]
        self.stages = nn.ModuleList([*shape, *([mixed] if c.together else []), *fine])

    @property
    def firsts(self) -> list[int]:
        """Number of the first integer volume that each stage gives."""
        counts = [stage.volumes for stage in self.stages]
        return [sum(counts[:number]) for number in range(len(counts))]


def degrade(
    codes: Tensor, share: Tensor, unknown: int, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Degrade codes: a random share of tokens becomes unknown, or random.

    Parameters
    ----------
    codes : Tensor of int64, shape (B, M, members)
    share : Tensor, shape (B,)
        Share of tokens to degrade.
    unknown : int
        Code for 'unknown'; codes below it are valid.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    degraded : Tensor of int64, shape (B, M, members)
    corrupted : Tensor of bool, shape (B, M, members)
    """

    def uniform(*shape):
        return torch.rand(*shape, generator=generator).to(codes.device)

    rank = uniform(*codes.shape).argsort(1).argsort(1) / codes.shape[1]
    corrupted = rank < share[:, None, None]
    degraded = codes.masked_fill(corrupted, unknown)
    noise = torch.randint(unknown, codes.shape, generator=generator).to(codes.device)
    # Half of the examples carry wrong codes as well, which the model must not trust and learns to correct
    wrong = uniform(*codes.shape) < uniform(len(codes), 1, 1).sub(0.5).clamp_min(0) * 0.3
    return torch.where(wrong & ~corrupted, noise, degraded), corrupted | wrong
