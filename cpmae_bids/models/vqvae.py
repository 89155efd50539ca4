"""VQ-VAE of a volume in the cube: integer volumes from coarse to fine, and back.

The paper (arXiv 2310.15778, Figure 2) compresses brain and head, each by a VQ-VAE of its own, into integer
volumes of much lower resolution. Here such a code is a pyramid: `Level` after level quantises what the
coarser ones left over. The VQ-VAE of the head takes the shape out first (`cpmae_bids.models.shape`): the
pyramid then describes the head as it looks once it is deformed to the mean head.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpmae_bids.models.quantizer import Codebook
from cpmae_bids.models.shape import Shape
from cpmae_bids.models.shuffle import pixel_shuffle, pixel_unshuffle
from cpmae_bids.models.warps import deform, invert, smooth

PATCH = 4
"""Voxels of 2 mm along the edge of a site of the finest grid (8 mm)."""

SITES = 32
"""Sites along the edge of the finest grid."""


@dataclass(frozen=True)
class VQVAEConfig:
    """Shape of a VQ-VAE.

    Attributes
    ----------
    latent : int
        Channels of the latent volume on the 32^3 grid.
    width : int
        Channels of the residual blocks.
    encoder_blocks, decoder_blocks : int
        Residual blocks before and after quantisation.
    fine : int
        Channels at 4 mm, on the way to voxels.
    grids : tuple of int
        Grid of each level of codes, coarse to fine; each divides 32.
    dims : tuple of int
        Length of the code vectors of each level.
    codebook : int
        Entries of each codebook.
    shape : int
        Edge of the integer volume that holds the shape; 0 for none.
    """

    latent: int = 32
    width: int = 48
    encoder_blocks: int = 1
    decoder_blocks: int = 2
    fine: int = 16
    grids: tuple[int, ...] = (8, 8, 16, 16, 32)
    dims: tuple[int, ...] = (64, 64, 48, 48, 32)
    codebook: int = 512
    shape: int = 0

    def to_dict(self) -> dict:
        """Plain JSON-serialisable dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> VQVAEConfig:
        """Inverse of `to_dict`."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


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


class Level(nn.Module):
    """One integer volume: blocks of the latent volume, projected, quantised and projected back.

    Parameters
    ----------
    latent : int
        Channels of the latent volume.
    grid : int
        Sites along the edge; a site covers ``(32 / grid)**3`` sites of the latent volume.
    dim : int
        Length of a code vector.
    codebook : int
        Number of code vectors.
    """

    def __init__(self, latent: int, grid: int, dim: int, codebook: int):
        super().__init__()
        self.grid = grid
        self.block = SITES // grid
        self.analysis = nn.Conv3d(latent, dim, self.block, stride=self.block, bias=False)
        self.codebook = Codebook(codebook, dim)

    def vectors(self, residual: Tensor) -> Tensor:
        """Latent residual (B, latent, X, Y, Z) to vectors to quantise (B, x, y, z, dim)."""
        return self.analysis(residual).movedim(1, -1)

    def volume(self, vectors: Tensor) -> Tensor:
        """Code vectors (B, x, y, z, dim) to their share of the latent volume (B, latent, X, Y, Z)."""
        # the rows of the projection are orthonormal at the start: its transpose leads back
        return F.conv_transpose3d(vectors.movedim(-1, 1), self.analysis.weight, stride=self.block)


@dataclass
class Quantized:
    """Result of `VQVAE.quantize`.

    Attributes
    ----------
    latent : Tensor, shape (B, latent, X, Y, Z)
        Sum of all levels; gradients pass straight through to the encoder.
    codes : list of Tensor of int64, shape (B, x, y, z) each
    commitment : Tensor, scalar
        Mean squared distance between vectors and their codes (straight to the encoder).
    """

    latent: Tensor
    codes: list[Tensor]
    commitment: Tensor


class VQVAE(nn.Module):
    """Encoder, pyramid of codebooks and decoder.

    Every input lies in the cube (axes x to the right, y to the front, z up) in units of white matter. Crops
    whose edges are multiples of 32 mm are accepted too, where the offset of the crop is given.

    Parameters
    ----------
    config : VQVAEConfig
    """

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        self.config = config
        c = config
        self.shape = Shape(c.shape) if c.shape else None
        self.stem = nn.Conv3d(1, c.latent, PATCH, stride=PATCH)
        self.encoder_in = nn.Conv3d(c.latent, c.width, 1)
        self.encoder = nn.Sequential(*[ResidualBlock(c.width) for _ in range(c.encoder_blocks)])
        self.encoder_out = nn.Conv3d(c.width, c.latent, 1)
        self.levels = nn.ModuleList(
            [Level(c.latent, grid, dim, c.codebook) for grid, dim in zip(c.grids, c.dims, strict=True)]
        )
        self.decoder_in = nn.Conv3d(c.latent, c.width, 1)
        self.decoder = nn.Sequential(*[ResidualBlock(c.width) for _ in range(c.decoder_blocks)])
        self.to_voxels = nn.Conv3d(c.latent + c.width, PATCH**3, 1)
        self.to_fine = nn.Conv3d(c.width, c.fine * 8, 1)
        self.fine = nn.Conv3d(c.fine + 8, c.fine, 3, padding=1)
        self.fine_to_voxels = nn.Conv3d(c.fine, 8, 3, padding=1)
        # Mean of the stem's output over the training heads, per site: the code holds what differs from it
        self.register_buffer('mean', torch.zeros(c.latent, SITES, SITES, SITES))
        for layer in (self.encoder_out, self.fine_to_voxels):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    # -- encoding ------------------------------------------------------------------------------------------
    def _mean_at(self, like: Tensor, offset: tuple[int, int, int]) -> Tensor:
        (x, y, z), (sx, sy, sz) = offset, like.shape[2:]
        return self.mean[None, :, x : x + sx, y : y + sy, z : z + sz]

    def encode_latent(self, volume: Tensor, offset: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
        """Latent volume, before quantisation, of what differs from the mean.

        Parameters
        ----------
        volume : Tensor of float32, shape (B, 1, X, Y, Z)
            At 2 mm; at 1 mm use `halve` first.
        offset : tuple of int
            First site of the crop in the 32^3 grid.

        Returns
        -------
        latent : Tensor, shape (B, latent, X / 4, Y / 4, Z / 4)
        """
        patches = self.stem(volume)
        return (
            patches
            - self._mean_at(patches, offset)
            + self.encoder_out(self.encoder(self.encoder_in(patches)))
        )

    def quantize(self, latent: Tensor, *, update: bool = False) -> Quantized:
        """Quantise level by level, each taking what the coarser ones left over.

        Parameters
        ----------
        latent : Tensor, shape (B, latent, X, Y, Z)
        update : bool
            Let the codebooks follow the data (training only).
        """
        total, codes, commitment = torch.zeros_like(latent), [], latent.new_zeros(())
        for level in self.levels:
            vectors = level.vectors(latent - total)
            flat = vectors.reshape(-1, vectors.shape[-1])
            indices = level.codebook.indices(flat.detach())
            if update:
                level.codebook.update(flat.detach(), indices)
            entries = level.codebook.lookup(indices).view_as(vectors)
            commitment = commitment + F.mse_loss(vectors, entries)
            total = total + level.volume(vectors + (entries - vectors).detach())
            codes.append(indices.view(vectors.shape[:-1]))
        return Quantized(total, codes, commitment)

    @property
    def volumes(self) -> int:
        """Number of integer volumes of a code."""
        return len(self.levels) + (self.shape is not None)

    @torch.no_grad()
    def encode(self, volume: Tensor) -> list[Tensor]:
        """Integer volumes of a cube at 2 mm or 1 mm; (B, 1, n, n, n) to a list of (B, g, g, g) int64."""
        volume = to_two_millimetres(volume)
        if self.shape is None:
            return self.encode_aligned(volume)
        shape = self.shape.encode(self.shape.find(volume))
        return [shape, *self.encode_aligned(self.align(volume, shape))]

    def encode_aligned(self, volume: Tensor) -> list[Tensor]:
        """Pyramid of codes of a cube at 2 mm (B, 1, 128, 128, 128) whose shape was taken out."""
        return self.quantize(self.encode_latent(volume)).codes

    def align(self, volume: Tensor, shape: Tensor) -> Tensor:
        """Volumes (B, C, n, n, n) deformed to the mean head; `shape` holds their codes (B, e, e, e)."""
        return deform(volume, invert(self.shape.decode(shape)))

    def code_hash(self) -> str:
        """Short hash of all that the codes depend on: encoder, mean and codebooks, in half precision."""
        digest = hashlib.sha256()
        for name, value in self.state_dict().items():
            if name.startswith(('shape', 'stem', 'encoder', 'levels', 'mean')) and not name.endswith(
                ('uses', 'sums')
            ):
                digest.update(value.detach().to('cpu', torch.float16).numpy().tobytes())
        return digest.hexdigest()[:12]

    # -- decoding ------------------------------------------------------------------------------------------
    def latent_of(self, codes: list[Tensor]) -> Tensor | None:
        """Latent volume (B, latent, 32, 32, 32) of the first integer volumes; None if they hold but shape."""
        total = None
        for level, indices in zip(self.levels, codes[self.shape is not None :], strict=False):
            part = level.volume(level.codebook.lookup(indices))
            total = part if total is None else total + part
        return total

    def decode_latent(self, latent: Tensor, offset: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
        """Volume of a latent volume, at 2 mm.

        Parameters
        ----------
        latent : Tensor, shape (B, latent, X, Y, Z)
        offset : tuple of int
            First site of the crop in the 32^3 grid.

        Returns
        -------
        volume : Tensor, shape (B, 1, 4 X, 4 Y, 4 Z)
        """
        latent = latent + self._mean_at(latent, offset)
        trunk = self.decoder(self.decoder_in(latent))
        linear = pixel_shuffle(self.to_voxels(torch.cat([latent, trunk], 1)), PATCH)
        fine = pixel_shuffle(self.to_fine(trunk), 2)
        # the fine layers see the linear estimate too (eight voxels per 4 mm site): they sharpen what is there
        fine = F.silu(self.fine(torch.cat([fine, pixel_unshuffle(linear, 2)], 1)))
        return linear + pixel_shuffle(self.fine_to_voxels(fine), 2)

    @torch.no_grad()
    def decode(self, codes: list[Tensor]) -> Tensor:
        """Volume of integer volumes, at 2 mm; list of (B, g, g, g) int64 to (B, 1, 128, 128, 128)."""
        volume = self.decode_latent(self.latent_of(codes))
        return volume if self.shape is None else deform(volume, self.shape.decode(codes[0]))

    @torch.no_grad()
    def decode_mean(self, codes: list[Tensor]) -> Tensor:
        """Mean head (B, 1, 128, 128, 128) in the shape that codes stand for, at 2 mm.

        Its surface is the skin. So the shape is smoothed: displacements of noisy scans make waves on it.
        """
        volume = self.decode_latent(torch.zeros_like(self.mean)[None].expand(len(codes[0]), -1, -1, -1, -1))
        return volume if self.shape is None else deform(volume, smooth(self.shape.decode(codes[0])))

    @torch.no_grad()
    def displacement(self, codes: list[Tensor]) -> Tensor | None:
        """Displacement (B, 3, 32, 32, 32) in mm to the mean head that codes stand for; None without shape."""
        return None if self.shape is None else self.shape.decode(codes[0])

    def forward(self, volume: Tensor, offset=(0, 0, 0), *, update: bool = False):
        """Reconstruction of a 2 mm volume, and what was quantised on the way."""
        quantized = self.quantize(self.encode_latent(volume, offset), update=update)
        return self.decode_latent(quantized.latent, offset), quantized


def to_two_millimetres(volume: Tensor) -> Tensor:
    """A cube at 1 mm is averaged to 2 mm; one at 2 mm is returned as it is."""
    return volume if volume.shape[-1] == SITES * PATCH else F.avg_pool3d(volume, 2)
