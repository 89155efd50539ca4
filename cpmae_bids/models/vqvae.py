"""VQ-VAE of the brain: integer volumes from coarse to fine, and back.

The paper (arXiv 2310.15778, Figure 2) compresses brain and head, each by its own VQ-VAE, into integer volumes
of much lower resolution. That of the brain is a pyramid: each `CodeLevel` quantises what the coarser ones
left over. Encoder and codebooks are linear and fitted without gradients (principal components and k-means);
the decoder is trained. For that of the head see `cpmae_bids.models.head`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpmae_bids.models.quantizer import Codebook
from cpmae_bids.models.shuffle import pixel_shuffle, pixel_unshuffle

PATCH = 4  # voxels of 2 mm along the edge of a site of the finest grid (8 mm)
SITES = 32  # sites along the edge of the finest grid


@dataclass(frozen=True)
class VQVAEConfig:
    """Sizes of a VQ-VAE."""

    latent: int = 16  # channels of the latent volume on the 32^3 grid
    # width, decoder_blocks: channels and number of the residual blocks of the decoder
    width: int = 32
    decoder_blocks: int = 1
    fine: int = 8  # channels at 4 mm, on the way to voxels
    grids: tuple[int, ...] = (8, 16, 32)  # grid of each level of codes, coarse to fine; each divides 32
    dims: tuple[int, ...] = (48, 32, 16)  # length of the code vectors of each level
    codebook: int = 256  # entries of each codebook


class ResidualBlock(nn.Module):
    """Two 3^3 convolutions beside the identity; starts as the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, width, X, Y, Z) to the same shape."""
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class CodeLevel(nn.Module):
    """One integer volume: blocks of the latent volume, projected, quantised and projected back.

    A site of the `grid` covers ``(32 / grid)**3`` sites of the latent volume; `dim` is the length of a code
    vector, `codebook` their number.
    """

    def __init__(self, latent: int, grid: int, dim: int, codebook: int):
        super().__init__()
        self.block = SITES // grid
        self.analysis = nn.Conv3d(latent, dim, self.block, stride=self.block, bias=False)
        self.codebook = Codebook(codebook, dim)

    def vectors(self, residual: Tensor) -> Tensor:
        """Latent residual (B, latent, X, Y, Z) to vectors to quantise (B, x, y, z, dim)."""
        return self.analysis(residual).movedim(1, -1)

    def volume(self, vectors: Tensor) -> Tensor:
        """Code vectors (B, x, y, z, dim) to their share of the latent volume (B, latent, X, Y, Z)."""
        # the rows of the projection are orthonormal: its transpose leads back
        return F.conv_transpose3d(vectors.movedim(-1, 1), self.analysis.weight, stride=self.block)


class VQVAE(nn.Module):
    """Encoder, pyramid of codebooks and decoder.

    Every input lies on the template grid (axes x to the right, y to the front, z up) in units of white
    matter. Crops whose edges are multiples of 32 mm are accepted too.
    """

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        self.config = config
        c = config
        self.stem = nn.Conv3d(1, c.latent, PATCH, stride=PATCH)
        self.levels = nn.ModuleList(
            [CodeLevel(c.latent, grid, dim, c.codebook) for grid, dim in zip(c.grids, c.dims, strict=True)]
        )
        self.decoder_in = nn.Conv3d(c.latent, c.width, 1)
        self.decoder = nn.Sequential(*[ResidualBlock(c.width) for _ in range(c.decoder_blocks)])
        self.to_voxels = nn.Conv3d(c.latent + c.width, PATCH**3, 1)
        self.to_fine = nn.Conv3d(c.width, c.fine * 8, 1)
        self.fine = nn.Conv3d(c.fine + 8, c.fine, 3, padding=1)
        self.fine_to_voxels = nn.Conv3d(c.fine, 8, 3, padding=1)
        nn.init.zeros_(self.fine_to_voxels.weight)
        nn.init.zeros_(self.fine_to_voxels.bias)

    @torch.no_grad()
    def encode(self, volume: Tensor) -> list[Tensor]:
        """Integer volumes of a brain at 2 mm; (B, 1, 128, 128, 128) to a list of (B, g, g, g) int64."""
        residual, codes = self.stem(volume), []
        for level in self.levels:
            vectors = level.vectors(residual)
            indices = level.codebook.indices(vectors.reshape(-1, vectors.shape[-1]))
            codes.append(indices.view(vectors.shape[:-1]))
            residual = residual - level.volume(level.codebook.lookup(codes[-1]))
        return codes

    def latent_of(self, codes: list[Tensor]) -> Tensor:
        """Latent volume (B, latent, X, Y, Z) of integer volumes."""
        pairs = zip(self.levels, codes, strict=True)
        return torch.stack([level.volume(level.codebook.lookup(indices)) for level, indices in pairs]).sum(0)

    def decode_latent(self, latent: Tensor) -> Tensor:
        """Volume at 2 mm of a latent volume; (B, latent, X, Y, Z) to (B, 1, 4 X, 4 Y, 4 Z)."""
        trunk = self.decoder(self.decoder_in(latent))
        linear = pixel_shuffle(self.to_voxels(torch.cat([latent, trunk], 1)), PATCH)
        fine = pixel_shuffle(self.to_fine(trunk), 2)
        # the fine layers see the linear estimate too (eight voxels per 4 mm site): they sharpen what is there
        fine = F.silu(self.fine(torch.cat([fine, pixel_unshuffle(linear, 2)], 1)))
        return linear + pixel_shuffle(self.fine_to_voxels(fine), 2)

    @torch.no_grad()
    def decode(self, codes: list[Tensor]) -> Tensor:
        """Volume of integer volumes, at 2 mm; list of (B, g, g, g) int64 to (B, 1, 128, 128, 128)."""
        return self.decode_latent(self.latent_of(codes))
