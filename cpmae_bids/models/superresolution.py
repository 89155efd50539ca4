"""Super-resolution: from a head at 2 mm to one at 1 mm.

Heads are put together at 2 mm. A residual network on the voxels of 2 mm adds to their cubic interpolation
what scans have between 4 and 2 mm: sharp edges of bone, fat planes and vessels. It predicts the eight voxels
of 1 mm within each voxel of 2 mm at once (sub-pixel convolution: Shi et al., CVPR 2016) by residual blocks
without normalisation (Lim et al., CVPR workshops 2017). Noise lets it draw what does not follow from 2 mm.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpmae_bids.deid.images.intensity import CEILING
from cpmae_bids.models.blocks import blocks_of_tissue, inner, scaled
from cpmae_bids.models.shuffle import pixel_shuffle

TISSUE = 0.02  # least intensity of what is not air
# Voxels of 2 mm that are computed at once, with their halo: some 70 MB for each of five tensors
BLOCK_VOXELS = 700_000
SLOPE = 0.1  # of the leaky rectifiers


@dataclass(frozen=True)
class SuperResolutionConfig:
    """Sizes of the network."""

    width: int = 24  # channels of the residual blocks
    blocks: int = 2  # residual blocks
    noise: int = 4  # channels of noise beside the volume


class ResidualUnit(nn.Module):
    """Two 3^3 convolutions beside the identity, without padding."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv3d(width, width, 3)
        self.second = nn.Conv3d(width, width, 3)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, width, X, Y, Z) to (B, width, X - 4, Y - 4, Z - 4)."""
        return inner(x, 2) + self.second(
            F.leaky_relu(self.first(F.leaky_relu(x, SLOPE)), SLOPE, inplace=True)
        )


class SuperResolution(nn.Module):
    """Head at 1 mm from a head at 2 mm; starts as cubic interpolation."""

    def __init__(self, config: SuperResolutionConfig):
        super().__init__()
        self.config = config
        self.enter = nn.Conv3d(1 + config.noise, config.width, 3)
        self.units = nn.ModuleList(ResidualUnit(config.width) for _ in range(config.blocks))
        self.leave = nn.Conv3d(config.width, 8, 3)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    @property
    def halo(self) -> int:
        """Voxels of 2 mm around a voxel that change what it becomes."""
        return 2 + 2 * self.config.blocks

    def draw(self, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise (B, noise, X, Y, Z) of unit variance for volumes (B, 1, X, Y, Z).

        It is drawn on the CPU, so that devices agree, by torch's own generator if none is given.
        """
        drawn = torch.randn(len(like), self.config.noise, *like.shape[2:], generator=generator)
        return drawn.to(like.device)

    def refine(self, volume: Tensor, noise: Tensor) -> Tensor:
        """Double crops (B, 1, X, Y, Z) at once, with the noise of `draw`, but for their outer `halo` voxels.

        The result, (B, 1, 2 X - 4 halo, 2 Y - 4 halo, 2 Z - 4 halo), may leave the range of intensities.
        """
        x = torch.cat([volume, noise], 1).contiguous(memory_format=torch.channels_last_3d)
        x = self.enter(x)
        for unit in self.units:
            x = unit(x)
        added = self.leave(F.leaky_relu(x, SLOPE))
        interpolated = inner(upsample_cubic(inner(volume, self.halo - 2)), 4)
        return interpolated + pixel_shuffle(added.contiguous(), 2)

    @torch.no_grad()
    def forward(self, volume: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Double a whole head, block by block; float32, (1, 1, X, Y, Z) to (1, 1, 2 X, 2 Y, 2 Z).

        White matter is about 1 and air 0, at 1 mm from 0 to `CEILING`. The outermost voxels are taken to go
        on beyond the grid. The same `generator`, on the CPU, gives the same head.
        """
        halo = self.halo
        padded = F.pad(volume, [halo] * 6, mode='replicate')
        noise = self.draw(padded, generator)
        tissue = _dilated(volume > TISSUE)
        doubled = volume.new_zeros(1, 1, *(2 * size for size in volume.shape[2:]))
        for block in blocks_of_tissue(tissue[0, 0], halo, BLOCK_VOXELS):
            part = scaled(block, 1, halo)
            doubled[scaled(block, 2)] = self.refine(padded[part], noise[part])
        for axis in (2, 3, 4):
            tissue = tissue.repeat_interleave(2, axis)
        return doubled.clamp_(0, CEILING).mul_(tissue)


def _dilated(mask: Tensor) -> Tensor:
    """Mask (B, 1, X, Y, Z) and the voxels that touch it."""
    return F.max_pool3d(mask.float(), 3, stride=1, padding=1) > 0


def upsample_cubic(volume: Tensor) -> Tensor:
    """Voxels of half the edge by cubic convolution (Keys, 1981); (B, 1, X, Y, Z) to (B, 1, 2 X, 2 Y, 2 Z).

    The outermost voxels go on beyond the grid.
    """
    for axis in (2, 3, 4):
        size, beyond = volume.shape[axis], [0] * 6
        beyond[2 * (4 - axis) : 2 * (4 - axis) + 2] = 2, 2
        padded = F.pad(volume, beyond, mode='replicate')
        taps = [padded.narrow(axis, start, size) for start in range(5)]
        before = [w * tap for w, tap in zip(_QUARTER[::-1], taps[:-1], strict=True)]
        after = [w * tap for w, tap in zip(_QUARTER, taps[1:], strict=True)]
        halves = [torch.stack(parts).sum(0) for parts in (before, after)]
        volume = torch.stack(halves, axis + 1).flatten(axis, axis + 1)
    return volume


# Weights of the voxels -1 to 2 for a point a quarter of the way from voxel 0 to voxel 1
_QUARTER = (-9 / 128, 111 / 128, 29 / 128, -3 / 128)
