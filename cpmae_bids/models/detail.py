"""Detail: what codes of 8 mm sites cannot say, drawn anew where the decoder left a blur.

A VQ-VAE decodes the mean of all heads that a code may stand for: edges are soft and tissue is flat. The
residual network here adds one possible detail, given the decoded volume and noise. It is trained against a
discriminator (Goodfellow et al., NeurIPS 2014; hinge loss, conditioned on the blurred volume as in Isola et
al., CVPR 2017). It has no part in the method of the paper (arXiv 2310.15778), which ends with the decoder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from cpmae_bids.models.shuffle import pixel_shuffle, pixel_unshuffle
from cpmae_bids.models.warps import CUBE_EDGE, GRID, upsample

SITE_MM = 4
"""Edge of the sites on which the network works."""

TRUNCATION = 0.6
"""Scale of the noise at 2 mm in heads that are drawn (Brock et al., ICLR 2019, section 3.1): less is less
grain. Chosen by eye on validation heads."""


@dataclass(frozen=True)
class DetailConfig:
    """Shape of the two networks, for voxels of 2 mm and of 1 mm.

    Attributes
    ----------
    widths : tuple of int
        Channels of the residual blocks.
    blocks : tuple of int
        Residual blocks.
    noise : int
        Channels of noise beside the volume.
    place : int
        Channels of what the network at 2 mm learns about every place in the mean head.
    """

    widths: tuple[int, int] = (32, 48)
    blocks: tuple[int, int] = (3, 2)
    noise: int = 4
    place: int = 0

    def to_dict(self) -> dict:
        """Plain JSON-serialisable dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> DetailConfig:
        """Inverse of `to_dict`."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class Places(nn.Module):
    """Learnt channels for every place in the mean head: teeth are not textured like fat.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int):
        super().__init__()
        self.map = nn.Parameter(0.1 * torch.randn(1, channels, GRID, GRID, GRID))

    def forward(self, where: Tensor) -> Tensor:
        """Channels (B, channels, X, Y, Z) of sites, of which `where` tells the places; see `places`."""
        grid = where.flip(1).movedim(1, -1)  # grid_sample wants the last axis first
        return F.grid_sample(
            self.map.expand(len(where), -1, -1, -1, -1), grid, padding_mode='border', align_corners=False
        )


def places(displacement_mm: Tensor) -> Tensor:
    """Where the sites of a head lie in the mean head.

    Parameters
    ----------
    displacement_mm : Tensor, shape (B, 3, 32, 32, 32)
        Of the head to the mean head, in mm; see `cpmae_bids.models.shape`.

    Returns
    -------
    where : Tensor, shape (B, 3, 64, 64, 64)
        x, y, z from -1 to 1 in the cube of the mean head, of sites of 4 mm.
    """
    sites = int(CUBE_EDGE) // SITE_MM
    axis = (torch.arange(sites, device=displacement_mm.device) + 0.5) * (2 / sites) - 1
    base = torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij'))[None]
    return base + upsample(displacement_mm, sites) * (2 / CUBE_EDGE)


class Refiner(nn.Module):
    """Residual network on sites of 4 mm; starts as the identity.

    Nothing in it looks at the volume as a whole (there is no normalisation), so that a crop gets the detail
    that it would have got within the whole.

    Parameters
    ----------
    voxel : int
        Edge of a voxel in mm, 2 or 1.
    width, blocks, noise, place : int
        See `DetailConfig`.
    """

    def __init__(self, voxel: int, width: int, blocks: int, noise: int, place: int = 0):
        super().__init__()
        self.factor, self.noise = SITE_MM // voxel, noise
        voxels = self.factor**3
        self.places = Places(place) if place else None
        self.enter = nn.Conv3d(voxels + noise + place, width, 3, padding=1)
        self.first = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1) for _ in range(blocks))
        self.leave = nn.Conv3d(width, voxels, 3, padding=1)
        with torch.no_grad():
            for layer in self.second:
                layer.weight.mul_(0.3)
        for layer in self.second:
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def draw(self, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise for volumes (B, 1, X, Y, Z), drawn on the CPU so that devices agree."""
        sites = [edge // self.factor for edge in like.shape[2:]]
        noise = torch.randn(len(like), self.noise, *sites, generator=generator)
        return noise.to(like.device)

    def forward(self, volume: Tensor, noise: Tensor, where: Tensor | None = None) -> Tensor:
        """Add detail.

        Parameters
        ----------
        volume : Tensor of float32, shape (B, 1, X, Y, Z)
            Decoded, in units of white matter; edges are multiples of 4 mm.
        noise : Tensor, shape (B, noise, X / factor, Y / factor, Z / factor)
            See `draw`.
        where : Tensor, shape (B, 3, X / factor, Y / factor, Z / factor), optional
            See `places`; needed where the network knows places.

        Returns
        -------
        detailed : Tensor of float32, shape (B, 1, X, Y, Z)
        """
        known = [pixel_unshuffle(volume, self.factor), noise]
        if self.places is not None:
            known.append(self.places(where))
        x = self.enter(torch.cat(known, 1))
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(F.silu(first(F.silu(x))))
        return volume + pixel_shuffle(self.leave(F.silu(x)), self.factor)


class Detail(nn.Module):
    """Detail of a decoded head, first at 2 mm, then at 1 mm.

    Parameters
    ----------
    config : DetailConfig
    """

    def __init__(self, config: DetailConfig):
        super().__init__()
        self.config = config
        self.coarse, self.fine = (
            Refiner(voxel, width, blocks, config.noise, place)
            for voxel, width, blocks, place in zip(
                (2, 1), config.widths, config.blocks, (config.place, 0), strict=True
            )
        )

    @torch.no_grad()
    def add(
        self,
        volume: Tensor,
        generator: torch.Generator,
        *,
        millimetre: bool,
        displacement_mm: Tensor | None = None,
    ) -> Tensor:
        """Add detail to a decoded head.

        Parameters
        ----------
        volume : Tensor of float32, shape (B, 1, n, n, n)
            At 2 mm.
        generator : torch.Generator
            On the CPU.
        millimetre : bool
            Return 1 mm voxels instead of 2 mm voxels.
        displacement_mm : Tensor, shape (B, 3, 32, 32, 32), optional
            Of the head to the mean head; needed where the network knows places.

        Returns
        -------
        detailed : Tensor of float32, shape (B, 1, n, n, n), or twice that along each edge
        """
        where = None if self.coarse.places is None else places(displacement_mm)
        volume = self.coarse(volume, TRUNCATION * self.coarse.draw(volume, generator), where)
        if not millimetre:
            return volume
        volume = double(volume)
        return self.fine(volume, self.fine.draw(volume, generator))


def double(volume: Tensor) -> Tensor:
    """Voxels of half the edge, linear; (B, 1, n, n, n) to (B, 1, 2 n, 2 n, 2 n)."""
    return F.interpolate(volume, scale_factor=2, mode='trilinear', align_corners=False)


class Discriminator(nn.Module):
    """Tells detail that was drawn from that of a scan, in overlapping patches; used in training only."""

    def __init__(self, factor: int, width: int = 48, place: int = 0):
        super().__init__()
        self.factor = factor
        self.places = Places(place) if place else None
        self.layers = nn.ModuleList(
            [
                spectral_norm(nn.Conv3d(2 * factor**3 + place, width, 3, padding=1)),
                spectral_norm(nn.Conv3d(width, width, 3, padding=1)),
                spectral_norm(nn.Conv3d(width, 2 * width, 2, stride=2)),
                spectral_norm(nn.Conv3d(2 * width, 2 * width, 3, padding=1)),
            ]
        )
        self.near = spectral_norm(nn.Conv3d(width, 1, 1))
        self.far = spectral_norm(nn.Conv3d(2 * width, 1, 1))

    def forward(
        self, volume: Tensor, blurred: Tensor, where: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits of all patches, of 4 mm sites and of 8 mm ones, and the features of all layers."""
        # what was added is a tenth of what it was added to
        known = [pixel_unshuffle(v, self.factor) for v in (10 * (volume - blurred), blurred)]
        if self.places is not None:
            known.append(self.places(where))
        x = torch.cat(known, 1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return torch.cat([self.near(features[1]).flatten(), self.far(features[3]).flatten()]), features
