"""Exemplars: training heads in the frame, without brain and air, and heads composed of them.

A code names an exemplar at a site of 16 mm. Decoding blends exemplars by a partition of unity in two bands,
low frequencies widely and high ones narrowly (Burt and Adelson, A multiresolution spline, ACM Transactions on
Graphics 1983), and gives the result the common skin of its donors.
"""

import lzma

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from cpmae_bids.deid.images import intensity
from cpmae_bids.models.diffeomorphism import gaussian, points
from cpmae_bids.models.frame import SHAPE
from cpmae_bids.runtime import threads

SITE = 8  # voxels of 2 mm along an edge of a site
SITES = tuple(n // SITE for n in SHAPE)
SAMPLE = 2  # voxels along an edge of the samples that a descriptor sees, 4 mm
WINDOW = 6  # samples along an edge of its window: 24 mm, so that windows overlap
STEPS = 12  # steps of a stored descriptor per standard deviation
WIDE, NARROW = 1.5, 8.0  # powers of the weights of low and of high frequencies
BACKGROUND = 0.01  # weight of the mean head, which shows where no donor does
WANDER_MM = 6.0  # borders between donors wander by so much: a lattice of straight ones would be seen
_FILTERS = [{'id': lzma.FILTER_LZMA2, 'preset': 6, 'lc': 0, 'lp': 0, 'pb': 0}]


def pack(levels: np.ndarray) -> Tensor:
    """Compress a volume of uint8 into a flat tensor of uint8."""
    data = lzma.compress(np.ascontiguousarray(levels).tobytes(), lzma.FORMAT_RAW, filters=_FILTERS)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def unpack(packed: Tensor) -> np.ndarray:
    """Inverse of `pack`; uint8, shape `SHAPE`."""
    data = lzma.decompress(packed.numpy().tobytes(), lzma.FORMAT_RAW, filters=_FILTERS)
    return np.frombuffer(data, np.uint8).reshape(SHAPE)


def exemplar_levels(volume: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Intensities as stored (`intensity.to_levels`): at least 1 within the skin, 0 outside of it."""
    return np.where(outer, np.clip(intensity.to_levels(volume), 1, None), 0).astype(np.uint8)


class Exemplars(nn.Module):
    """The exemplars of a head VQ-VAE, and what describes each of them at every site.

    Code ``k < count`` names exemplar ``k``, code ``count + k`` its mirror image. `size` is the number of
    bytes of all of them, compressed; `sites` that of live sites, which hold tissue in some head; `features`
    the length of a descriptor.
    """

    data: Tensor
    ends: Tensor
    live: Tensor
    mirrored: Tensor
    seen: Tensor
    mean: Tensor
    basis: Tensor
    sign: Tensor
    scale: Tensor
    described: Tensor

    def __init__(self, count: int, size: int, sites: int, features: int):
        super().__init__()
        self.count = count
        self.register_buffer('data', torch.zeros(size, dtype=torch.uint8))
        self.register_buffer('ends', torch.zeros(count, dtype=torch.int64))
        self.register_buffer('live', torch.zeros(sites, dtype=torch.int64))
        self.register_buffer('mirrored', torch.zeros(sites, dtype=torch.int64))  # live site on the other side
        self.register_buffer('seen', torch.zeros(count, sites, dtype=torch.uint8))
        self.register_buffer('mean', torch.zeros(sites, WINDOW**3))
        self.register_buffer('basis', torch.zeros(features, WINDOW**3))
        self.register_buffer('sign', torch.ones(features))  # of descriptors of mirror images
        self.register_buffer('scale', torch.ones(()))
        self.register_buffer('described', torch.zeros(count, sites, features, dtype=torch.int8))

    def levels(self, code: int) -> np.ndarray:
        """Stored volume of an exemplar or mirror image; uint8, shape `SHAPE`."""
        number = code % self.count
        start = int(self.ends[number - 1]) if number else 0
        volume = unpack(self.data[start : int(self.ends[number])].cpu())
        return volume[::-1] if code >= self.count else volume

    def descriptors(self) -> Tensor:
        """Descriptors (codes, live, features) of all exemplars and mirror images; mean variance 1."""
        own = self.described.float() / STEPS
        return torch.cat([own, own[:, self.mirrored] * self.sign])

    def known(self) -> Tensor:
        """Where exemplars and mirror images have something to show; bool, (codes, live)."""
        own = self.seen > 0
        return torch.cat([own, own[:, self.mirrored]])

    def describe(self, root: Tensor) -> Tensor:
        """Descriptors (B, live, features) of heads in the frame, (B, 1, *SHAPE), in the form of `blend`."""
        return ((self.windows(root) - self.mean.float()) @ self.basis.float().T) / self.scale.float()

    def windows(self, root: Tensor) -> Tensor:
        """Samples of 4 mm (B, live, WINDOW^3) in and around the live sites."""
        step = SITE // SAMPLE
        rim = (WINDOW - step) // 2
        small = F.pad(F.avg_pool3d(root, SAMPLE), [rim] * 6)[:, 0]
        for axis in (1, 2, 3):
            small = small.unfold(axis, WINDOW, step)
        return small.flatten(4).flatten(1, 3)[:, self.live]

    def scatter(self, codes: Tensor) -> Tensor:
        """Codes (live,) as a volume `SITES`; a dead site has the code of the nearest live one."""
        live = self.live.cpu()
        dead = torch.ones(SITES, dtype=torch.bool).flatten()
        dead[live] = False
        nearest = ndimage.distance_transform_edt(
            dead.view(SITES).numpy(), return_distances=False, return_indices=True
        )
        full = codes.new_zeros(dead.shape)
        full[self.live] = codes
        return full.view(SITES)[tuple(torch.from_numpy(axis) for axis in nearest)]

    @torch.no_grad()
    def blend(self, codes: Tensor, mean: Tensor, mean_outer: Tensor) -> tuple[Tensor, Tensor]:
        """Head that codes stand for, in the frame.

        Parameters
        ----------
        codes : Tensor of int64, shape SITES
        mean, mean_outer : Tensor of float32, shape (1, 1, *SHAPE)
            What is drawn where no donor saw anything, in the form of the results.

        Returns
        -------
        root : Tensor of float32, shape (1, 1, *SHAPE)
            Root of the intensity over that of `intensity.CEILING`; 0 in brain and air.
        outer : Tensor of float32, shape (1, 1, *SHAPE)
            Share of what rules here that lies within its skin: the skin is where this is a half.
        """
        donors = codes.unique()
        levels = torch.from_numpy(np.stack(threads.each(self.levels, donors.tolist())))[:, None]
        tissue = _low_pass(levels.amax(0, keepdim=True).float()) + mean + mean_outer
        where = tissue.flatten().nonzero()[:, 0]  # the rest is air
        weights = self._weights(codes, donors, _wandering()[where])
        low, outer, high = BACKGROUND * mean.take(where), BACKGROUND * mean_outer.take(where), 0
        wide_sum, narrow_sum = BACKGROUND, BACKGROUND**NARROW
        for donor, weight in zip(levels, weights, strict=True):
            root = donor[None].float() / intensity.STORED_LEVELS
            root, smooth = root.take(where), _low_pass(root).take(where)
            wide, narrow = weight.pow(WIDE), weight.pow(NARROW)
            low += wide * smooth
            high += narrow * (root - smooth)
            outer += wide * (root > 0)
            wide_sum += wide
            narrow_sum += narrow
        blended = (low / wide_sum + high / narrow_sum).clamp_(0, 1), outer / wide_sum
        root, outer = (torch.zeros(mean.numel()).scatter_(0, where, v).view_as(mean) for v in blended)
        return root, outer

    def _weights(self, codes: Tensor, donors: Tensor, spots: Tensor) -> Tensor:
        """Weights (donors, N) of some codes at points (N, 3)."""
        known = self.known()
        ruled = gaussian((codes == donors.view(-1, 1, 1, 1)).float()[:, None], 0.5)
        # a donor says nothing beyond what it saw, where the weight of a site fades out
        seen = torch.stack([self.scatter(known[code].long()).float()[None] for code in donors])
        sites = torch.cat([ruled, seen]).transpose(0, 1)
        looked_up = threads.each(
            lambda part: F.grid_sample(sites, part, padding_mode='border', align_corners=False),
            spots[None, None, None].split(2**16, 3),
        )
        ruled, seen = torch.cat(looked_up, 4).view(2, len(donors), -1)
        return ruled * (2 * seen - 1).clamp_min(0)


def _low_pass(volume: Tensor) -> Tensor:
    """Low frequencies of a volume (1, 1, *SHAPE)."""
    return F.interpolate(F.avg_pool3d(volume, 2), size=SHAPE, mode='trilinear', align_corners=False)


def _wandering() -> Tensor:
    """Points (voxels, 3) at which weights are looked up: those of the voxels, displaced at random."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, *SITES, generator=generator)
    smooth = F.interpolate(noise, size=SHAPE, mode='trilinear', align_corners=False)
    shape = torch.tensor(SHAPE, dtype=torch.float32).view(1, 3, 1, 1, 1)
    unit = (points(SHAPE) + 0.5 + smooth * (WANDER_MM / 2)) * (2 / shape) - 1
    return unit.flip(1)[0].flatten(1).T
