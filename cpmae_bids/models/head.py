"""VQ-VAE of the head: two integer volumes, its shape and the exemplars that it consists of, and back.

The paper (arXiv 2310.15778, Figure 2) compresses the head without its brain into an integer volume. Here one
volume holds the shape (`cpmae_bids.models.shape`); the other names, for every site of 16 mm in the frame, the
training head whose patch describes it (`cpmae_bids.models.exemplars`): a vector quantiser with a local
codebook.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from cpmae_bids.deid.images.intensity import CEILING
from cpmae_bids.models import diffeomorphism as diffeo
from cpmae_bids.models import globes
from cpmae_bids.models.exemplars import Exemplars
from cpmae_bids.models.frame import BRAIN_MM, CLIPPED, SHAPE, SKIN_MM, VOXEL_MM, Frame, channels, in_frame
from cpmae_bids.models.refinement import refined
from cpmae_bids.models.shape import Shape
from cpmae_bids.runtime import threads

# What a neighbour with the same code is worth when a head is encoded, in variances of a descriptor
AGREEMENT = 0.15
# Share of the mean head in where the skin lies: registration leaves ripples in that of its donors
MEAN_SKIN = 0.4
FARTHEST_MM = 4.0  # farthest that the skin may lie from that of the mean head
SKIN_SOFT_MM = 1.2  # standard deviation of the edge between skin and air: that of a scan of 2 mm

# Voxels of 2 mm above the lower end of the frame below which the neck grows no wider, all of it and its back:
# shoulders end with the field of view of training heads, which would leave a ledge
NECK, NAPE = 24, 40
FOLDED = -0.25  # determinant of the Jacobian below which a map folds for good: a pinch is not seen
# What lies below `NECK`, and behind the middle below `NAPE`: parts of a volume of the frame
LOWER = ((..., slice(None), slice(0, NECK)), (..., slice(0, SHAPE[1] // 2), slice(0, NAPE)))


@dataclass(frozen=True)
class HeadVQVAEConfig:
    """Sizes: exemplars, their bytes, live sites, features of a descriptor, edge of the volume of shape."""

    count: int
    size: int
    sites: int
    features: int = 12
    shape: int = 4


class HeadVQVAE(nn.Module):
    """Frame, shape and exemplars."""

    def __init__(self, config: HeadVQVAEConfig):
        super().__init__()
        self.config = config
        self.frame = Frame()
        self.shape = Shape(config.shape)
        self.exemplars = Exemplars(config.count, config.size, config.sites, config.features)

    # -- encoding ------------------------------------------------------------------------------------------
    @torch.no_grad()
    def encode(self, head: np.ndarray, brain: np.ndarray, seen: np.ndarray) -> list[Tensor]:
        """Integer volumes of a head, computed on the device of the model.

        Parameters
        ----------
        head : ndarray of float32, shape (128, 128, 128) or (128, 128, 144)
            On the template grid at 2 mm, or reaching below it; white matter about 1.
        brain, seen : ndarray of bool, of the same shape
            Brain mask and field of view.

        Returns
        -------
        codes : list of Tensor of int64
            Shape (1, e, e, e), and exemplars (1, *SITES).
        """
        box = [in_frame(volume) for volume in (head, brain, seen)]
        back, (values, weights) = threads.together(
            lambda: diffeo.invert(self.frame.fit_brain(brain)), lambda: channels(*box)
        )
        values, weights = values.to(back), weights.to(back)
        field = self.frame.fit_head(values, weights, start=back)
        beyond = diffeo.compose(diffeo.invert(field), back)
        root = values[:, :1] / CEILING**0.5 * torch.from_numpy(~box[1]).to(values)
        described = self.exemplars.describe(diffeo.sample(root, diffeo.resize(field, SHAPE)))[0]
        return [self.shape.encode(beyond), self.nearest(described)[None]]

    def nearest(self, described: Tensor) -> Tensor:
        """Exemplar of every site by its descriptors (live, features), agreeing with its neighbours; SITES."""
        table, known = self.exemplars.descriptors(), self.exemplars.known()
        cost = (table - described).square().mean(2).masked_fill(~known, torch.inf)
        codes = cost.argmin(0)
        for _ in range(3):
            alike = torch.zeros_like(cost)
            volume = self.exemplars.scatter(codes)
            for axis in range(3):
                for step in (-1, 1):
                    other = volume.roll(step, axis).flatten()[self.exemplars.live]
                    alike[other, torch.arange(len(other), device=other.device)] += AGREEMENT
            codes = (cost - alike).argmin(0)
        return self.exemplars.scatter(codes)

    # -- decoding ------------------------------------------------------------------------------------------
    @torch.no_grad()
    def decode(self, codes: list[Tensor], *, coarse: bool = False) -> Tensor:
        """Head in the frame that codes stand for; its shape is applied by `field`.

        Parameters
        ----------
        codes : list of Tensor of int64
            See `encode`.
        coarse : bool
            For a scan of 2 mm, whose voxels average noise away: what is as fine as they are stays.

        Returns
        -------
        volume : Tensor of float32, shape (1, 1, *SHAPE)
            At 2 mm, white matter about 1, air 0. The brain is filled with what lies around it.
        """
        mean = F.interpolate(self.frame.mean[None].float(), size=SHAPE, mode='trilinear', align_corners=False)
        skin, brain = mean[:, 1:2] * (SKIN_MM / CLIPPED), mean[:, 2:] * (BRAIN_MM / CLIPPED)
        for below in LOWER:
            height = below[-1].stop
            skin[below] = skin[below].maximum(skin[(*below[:-1], slice(height, height + 1))])
        own = (0.5 - skin / (4 * VOXEL_MM)).clamp(0, 1)
        tissue = mean[:, :1] / CEILING**0.5 * ((brain > 0) & (skin < 0))
        root, outer = self.exemplars.blend(codes[1][0], tissue, own)
        # the skin is that of the donors, but never far from that of the mean head, where they all should lie
        outer = MEAN_SKIN * own + (1 - MEAN_SKIN) * diffeo.gaussian(outer, 0.7)
        outer = outer.where(skin < FARTHEST_MM, own).where(skin > -FARTHEST_MM, own)
        for below in LOWER:
            outer[below] = outer[below].lerp(own[below], _ramp(below[-1].stop))
        tissue, edge = cover(fill(root[0, 0].numpy(), brain[0, 0].numpy()), outer[0, 0].numpy())
        tissue = refined(CEILING * tissue.square(), coarse=coarse)
        return tissue * edge.square()

    @torch.no_grad()
    def field(self, codes: list[Tensor], brain: np.ndarray) -> Tensor:
        """Map from the template grid around a brain to the frame, by the shape that codes stand for.

        `brain` is its mask on the template grid, bool, (128, 128, 128). The field, float32, (1, 3, *FIELD),
        leads from a point of the grid to a point of the frame, in voxels of 4 mm.
        """
        beyond = self.beyond_brain(codes[0])
        field = diffeo.compose(beyond, self.frame.fit_brain(brain))
        return globes.rounded(field, diffeo.sample(self.freedom()[None, None], field))

    def beyond_brain(self, shape: Tensor) -> Tensor:
        """Field (1, 3, *FIELD) of codes of shape: nothing in the brain, all of it at `BRAIN_MM` from it."""
        return self.shape.decode(shape) * self.freedom()

    def freedom(self) -> Tensor:
        """Share of its shape that a place of the frame gets: 0 in the brain, 1 at `BRAIN_MM` from it."""
        distance = (self.frame.brain_mm.float() / BRAIN_MM).clamp(0, 1)
        return distance * distance * (3 - 2 * distance)

    @torch.no_grad()
    def folds(self, shape: Tensor) -> bool:
        """Whether codes of shape (1, e, e, e) fold tissue that the frame knows: a sum of smooth maps may."""
        tissue = (self.frame.skin_mm < 0) & (self.frame.brain_mm > 0)
        tissue[..., : NECK // 4] = False  # nodes of 4 mm: the lowest 24 mm, which few heads show
        least = diffeo.expansion(self.beyond_brain(shape))[0][tissue].min()
        return bool(least < FOLDED)


def fill(root: np.ndarray, brain_mm: np.ndarray) -> np.ndarray:
    """Continue tissue into the brain, where exemplars hold nothing: scans differ by a voxel or two.

    Both volumes are float32, `SHAPE`; `brain_mm` is the distance to the brain of the frame.
    """
    hollow = (root == 0) & (brain_mm < VOXEL_MM)
    solid = (~hollow).astype(np.float32)
    smooth = ndimage.gaussian_filter(root, 1.5) / np.maximum(ndimage.gaussian_filter(solid, 1.5), 1e-3)
    return np.where(hollow, smooth, root)


def cover(root: np.ndarray, outer: np.ndarray) -> tuple[Tensor, Tensor]:
    """One smooth skin of a head: tissue is continued outwards, and ends where `outer` falls below a half.

    Parameters
    ----------
    root : ndarray of float32, shape SHAPE
    outer : ndarray of float32, shape SHAPE
        1 within the skin, 0 outside of it, a slope between.

    Returns
    -------
    tissue, edge : Tensor of float32, shape (1, 1, *SHAPE)
        Root of the intensity, and what to multiply it by at the skin.
    """
    inside = outer > 0.5
    near = ndimage.binary_dilation(inside, iterations=3)
    reliable = ndimage.binary_erosion(inside, border_value=1)  # elsewhere there may be partial volume
    inner, outermost = threads.each(_nearest, (reliable, inside))
    # a thin scalp may be bright at its edge alone
    rim = np.where(reliable, root, np.maximum(root, root[inner]))
    tissue = np.where(reliable, root, ndimage.gaussian_filter(rim[outermost], 0.7))
    # distance to the level of a half, to fractions of a voxel
    slope = np.sqrt(sum(np.square(g) for g in np.gradient(outer))) + 0.02
    edge = np.clip(0.5 + (outer - 0.5) / slope * (VOXEL_MM / (2.5 * SKIN_SOFT_MM)), 0, 1)
    return _batch(np.where(near, tissue, 0)), _batch(edge * near)


def _ramp(height: int) -> Tensor:
    """Share of the mean skin in so many slices, from the lower end upwards."""
    return torch.linspace(4, 0, height).clamp(0, 1)


def _nearest(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Indices of the nearest voxel of a mask, for every voxel."""
    return tuple(ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True))


def _batch(volume: np.ndarray) -> Tensor:
    return torch.from_numpy(volume.astype(np.float32))[None, None]
