"""Detail: what codes of 8 mm sites cannot say, drawn anew where the decoder left a blur.

A VQ-VAE decodes the mean of all heads that a code may stand for: edges are soft and tissue is flat. The
residual networks here add one possible detail, given the decoded volume, where the brain lies and noise. They
are trained against a discriminator (Goodfellow et al., NeurIPS 2014; hinge loss, conditioned on the blurred
volume as in Isola et al., CVPR 2017). They have no part in the method of the paper (arXiv 2310.15778), which
ends with the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from cpmae_bids.models.shuffle import pixel_shuffle, pixel_unshuffle
from cpmae_bids.models.warps import CUBE_EDGE, GRID, upsample

SITE_MM = 4
"""Edge of the sites on which the network works."""

LAYERS = 8
"""Layers of voxels around the brain that the network at 2 mm tells apart: skull lies within 16 mm."""


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
    brain : bool
        Whether the network at 2 mm is told how far from the brain a voxel lies.
    context : int
        Channels of the part of the network at 2 mm that works on sites of 8 and 16 mm: strands of muscle and
        fat are longer than its other layers see. 0 leaves it out.
    """

    widths: tuple[int, int] = (32, 48)
    blocks: tuple[int, int] = (3, 2)
    noise: int = 4
    place: int = 0
    brain: bool = False
    context: int = 0

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


def remoteness(brain: Tensor) -> Tensor:
    """How far voxels lie from the brain, in layers of voxels around it.

    Parameters
    ----------
    brain : Tensor of float32, shape (B, 1, n, n, n)
        1 in the brain, 0 elsewhere.

    Returns
    -------
    remoteness : Tensor of float32, shape (B, 1, n, n, n)
        0 in the brain, 1 from the layer after `LAYERS` on. Layers grow by neighbours across faces and by
        neighbours across corners in turn, which is close to the distance.
    """
    grown, outside = brain, 1 - brain
    for layer in range(1, LAYERS):
        if layer % 2:
            lines = [F.max_pool3d(grown, k, stride=1, padding=[e // 2 for e in k]) for k in _LINES]
            grown = torch.maximum(torch.maximum(lines[0], lines[1]), lines[2])
        else:
            grown = F.max_pool3d(grown, 3, stride=1, padding=1)
        outside = outside + 1 - grown
    return outside / LAYERS


_LINES = ((3, 1, 1), (1, 3, 1), (1, 1, 3))


class Block(nn.Module):
    """Residual block of two convolutions; `scale` shrinks what it adds at first."""

    def __init__(self, width: int, scale: float = 0.3):
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(scale)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`, (B, width, X, Y, Z)."""
        return x + self.second(F.silu(self.first(F.silu(x))))


class Context(nn.Module):
    """What sites of 8 mm and 16 mm add to those of 4 mm, each with noise of its own; nothing at first.

    Parameters
    ----------
    width : int
        Channels of the sites of 4 mm.
    channels : int
        Of the coarser ones.
    noise : int
        Channels of noise of each.
    """

    def __init__(self, width: int, channels: int, noise: int):
        super().__init__()
        self.down = nn.ModuleList(nn.Conv3d(w, channels, 2, stride=2) for w in (width, channels))
        self.stir = nn.ModuleList(nn.Conv3d(noise, channels, 1) for _ in range(2))
        self.blocks = nn.ModuleList(Block(channels) for _ in range(2))
        self.up = nn.ModuleList(nn.Conv3d(channels, w, 1) for w in (width, channels))
        nn.init.zeros_(self.up[0].weight)
        nn.init.zeros_(self.up[0].bias)

    def forward(self, x: Tensor, noise: list[Tensor]) -> Tensor:
        """What is added to sites of 4 mm (B, width, X, Y, Z); noise at half and at a quarter of these."""
        near = self.down[0](x) + self.stir[0](noise[0])
        far = self.blocks[1](self.down[1](F.silu(near)) + self.stir[1](noise[1]))
        near = self.blocks[0](near + self.up[1](_upsampled(far)))
        return self.up[0](_upsampled(near))


def _upsampled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode='trilinear', align_corners=False)


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
    brain : bool
        See `DetailConfig`.
    context : int
        See `DetailConfig`.
    """

    def __init__(
        self,
        voxel: int,
        width: int,
        blocks: int,
        noise: int,
        place: int = 0,
        *,
        brain: bool = False,
        context: int = 0,
    ):
        super().__init__()
        self.factor, self.noise, self.brain = SITE_MM // voxel, noise, brain
        voxels = self.factor**3
        self.places = Places(place) if place else None
        self.enter = nn.Conv3d(voxels + noise + place + voxels * brain, width, 3, padding=1)
        self.context = Context(width, context, noise) if context else None
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.leave = nn.Conv3d(width, voxels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    @property
    def stride(self) -> int:
        """Sites of 4 mm by which a volume may be cut into crops."""
        return 4 if self.context else 1

    def draw(self, like: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Noise for volumes (B, 1, X, Y, Z) of unit variance, drawn on the CPU so that devices agree.

        Parameters
        ----------
        like : Tensor
        generator : torch.Generator, optional

        Returns
        -------
        noise : list of Tensor, shape (B, noise, X / factor, Y / factor, Z / factor)
            At sites of 4 mm; and, with context, at sites of 8 and 16 mm.
        """
        drawn = []
        for coarser in (1, 2, 4) if self.context else (1,):
            sites = [edge // self.factor // coarser for edge in like.shape[2:]]
            noise = torch.randn(len(like), self.noise, *sites, generator=generator)
            drawn.append(noise.to(like.device))
        return drawn

    def forward(
        self,
        volume: Tensor,
        noise: list[Tensor],
        where: Tensor | None = None,
        remote: Tensor | None = None,
    ) -> Tensor:
        """Add detail.

        Parameters
        ----------
        volume : Tensor of float32, shape (B, 1, X, Y, Z)
            Decoded, in units of white matter; edges are multiples of 4 mm, with context of 16 mm.
        noise : list of Tensor
            See `draw`.
        where : Tensor, shape (B, 3, X / factor, Y / factor, Z / factor), optional
            See `places`; needed where the network knows places.
        remote : Tensor, shape (B, 1, X, Y, Z), optional
            See `remoteness`; needed where the network knows the brain.

        Returns
        -------
        detailed : Tensor of float32, shape (B, 1, X, Y, Z)
        """
        known = [pixel_unshuffle(volume, self.factor), noise[0]]
        if self.places is not None:
            known.append(self.places(where))
        if self.brain:
            known.append(pixel_unshuffle(remote, self.factor))
        x = self.enter(torch.cat(known, 1))
        if self.context is not None:
            x = x + self.context(x, noise[1:])
        for block in self.blocks:
            x = block(x)
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
        (width, fine_width), (blocks, fine_blocks) = config.widths, config.blocks
        known = {'place': config.place, 'brain': config.brain, 'context': config.context}
        self.coarse = Refiner(2, width, blocks, config.noise, **known)
        self.fine = Refiner(1, fine_width, fine_blocks, config.noise)

    @torch.no_grad()
    def add(
        self,
        volume: Tensor,
        generator: torch.Generator,
        *,
        millimetre: bool,
        displacement_mm: Tensor | None = None,
        brain: Tensor | None = None,
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
        brain : Tensor of float32, shape (B, 1, n, n, n), optional
            1 in the brain of the scan, 0 elsewhere; needed where the network knows the brain.

        Returns
        -------
        detailed : Tensor of float32, shape (B, 1, n, n, n), or twice that along each edge
        """
        where = None if self.coarse.places is None else places(displacement_mm)
        remote = remoteness(brain) if self.coarse.brain else None
        volume = self.coarse(volume, self.coarse.draw(volume, generator), where, remote)
        if not millimetre:
            return volume
        volume = double(volume)
        return self.fine(volume, self.fine.draw(volume, generator))


def double(volume: Tensor) -> Tensor:
    """Voxels of half the edge; (B, 1, n, n, n) to (B, 1, 2 n, 2 n, 2 n).

    Lanczos interpolation over 8 voxels along each axis. Shorter kernels, linear and cubic ones, take much of
    the finest texture away, and leave larger steps between the old voxels than within them.
    """
    half = len(_QUARTER) // 2
    for axis in (2, 3, 4):
        size, beyond = volume.shape[axis], [0] * 6
        beyond[2 * (4 - axis) : 2 * (4 - axis) + 2] = half, half
        padded = F.pad(volume, beyond, mode='replicate')
        taps = [padded.narrow(axis, start, size) for start in range(2 * half + 1)]
        before = sum(w * tap for w, tap in zip(_QUARTER[::-1], taps[:-1], strict=True))
        after = sum(w * tap for w, tap in zip(_QUARTER, taps[1:], strict=True))
        volume = torch.stack([before, after], axis + 1).flatten(axis, axis + 1)
    return volume


STEEPER = 2.0
"""How much of what a blur takes away `sharpen` adds to a volume."""


def sharpen(volume: Tensor) -> Tensor:
    """Make edges steeper, within what the neighbours of a voxel have, so that they get no rims.

    Unsharp masking that is cut off at the least and the greatest of 3 x 3 x 3 voxels; what it changes at
    wavelengths of several voxels is taken back.

    Parameters
    ----------
    volume : Tensor of float32, shape (B, 1, X, Y, Z)

    Returns
    -------
    sharper : Tensor of float32, shape (B, 1, X, Y, Z)
    """
    steeper = volume + STEEPER * (volume - _box_blur(_box_blur(volume)))
    steeper = torch.maximum(steeper, _of_neighbours(volume, torch.minimum))
    change = torch.minimum(steeper, _of_neighbours(volume, torch.maximum)) - volume
    return volume + change - _box_blur(change)


def _box_blur(volume: Tensor) -> Tensor:
    """Mean of 3 x 3 x 3 voxels."""
    return _of_neighbours(volume, torch.add) / 27


def _of_neighbours(volume: Tensor, join: Callable[..., Tensor]) -> Tensor:
    """Join every voxel with its neighbours, axis by axis, and the outermost with itself; a new tensor."""
    for axis in (2, 3, 4):
        steps = volume.shape[axis] - 1
        joined = volume.clone()
        for own, other in ((1, 0), (0, 1)):
            part = joined.narrow(axis, own, steps)
            join(part, volume.narrow(axis, other, steps), out=part)
        for end in (0, steps):  # the neck goes on beyond the cube
            part = joined.narrow(axis, end, 1)
            join(part, volume.narrow(axis, end, 1), out=part)
        volume = joined
    return volume


def _lanczos(at: float, half: int) -> list[float]:
    """Weights of the voxels ``1 - half`` to `half` for a point between the voxels 0 and 1; their sum is 1."""
    weights = [_sinc(at - i) * _sinc((at - i) / half) for i in range(1 - half, half + 1)]
    return [weight / sum(weights) for weight in weights]


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x)


_QUARTER = _lanczos(0.25, 4)


GAIN = 2.0
"""By which spectrally normalised layers are made stronger: without, logits hardly leave 0."""


class Discriminator(nn.Module):
    """Tells detail that was drawn from that of a scan, in overlapping patches; used in training only.

    Parameters
    ----------
    factor : int
        Voxels along a site of 4 mm.
    width : int
    place : int
        Channels of what it learns about places.
    brain : bool
        Whether it is told how far from the brain a voxel lies.
    scales : int
        Sizes of patches: sites of 4 mm, 8 mm and so on.
    """

    def __init__(self, factor: int, width: int = 48, place: int = 0, *, brain: bool = False, scales: int = 2):
        super().__init__()
        self.factor, self.brain = factor, brain
        self.places = Places(place) if place else None
        self.enter = spectral_norm(nn.Conv3d((2 + brain) * factor**3 + place, width, 3, padding=1))
        self.layers = nn.ModuleList([nn.ModuleList([_conv(width, width)])])
        for scale in range(1, scales):
            wide = width * min(2, 2 ** (scale - 1)), 2 * width
            self.layers.append(
                nn.ModuleList([spectral_norm(nn.Conv3d(*wide, 2, stride=2)), _conv(2 * width, 2 * width)])
            )
        self.logits = nn.ModuleList(
            spectral_norm(nn.Conv3d(width * min(2, 2**scale), 1, 1)) for scale in range(scales)
        )

    def forward(
        self, volume: Tensor, blurred: Tensor, where: Tensor | None = None, remote: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Logits of all patches, by their size, and the features of all layers."""
        # what was added is a tenth of what it was added to
        known = [pixel_unshuffle(v, self.factor) for v in (10 * (volume - blurred), blurred)]
        if self.places is not None:
            known.append(self.places(where))
        if self.brain:
            known.append(pixel_unshuffle(remote, self.factor))
        x = GAIN * F.leaky_relu(self.enter(torch.cat(known, 1)), 0.2)
        logits, features = [], [x]
        for layers, logit in zip(self.layers, self.logits, strict=True):
            for layer in layers:
                x = GAIN * F.leaky_relu(layer(x), 0.2)
                features.append(x)
            logits.append(GAIN * logit(x).flatten())
        return logits, features


def _conv(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Conv3d(inputs, outputs, 3, padding=1))
