"""New heads from old ones: morphs, mirror images, jitter and contrast.

A morph keeps the tissue of one head and takes part of the shape of others: with ``d_i`` the displacement of
head ``i`` to the mean head, the new head has the displacement ``sum_k w_k d_k`` instead of ``d_i``. Brain and
head move together, so that the pairs from which the masked autoencoder learns stay true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cpmae_bids.models.warps import CUBE_EDGE, GRID, sample, upsample
from cpmae_bids.training.data import WARP_STEP, Head, decode_intensity

HOLE = 0.3
"""Intensity inside the brain in volumes of the head; `cpmae_bids.deid.intensity.HOLE`."""


@dataclass
class Example:
    """A head ready for the models; every tensor is (1, n, n, n).

    Attributes
    ----------
    brain : Tensor of float32
        Brain, 0 elsewhere.
    head : Tensor of float32
        Head, `HOLE` in the brain, the mean head outside the field of view.
    weight : Tensor of float32
        1 where the head counts in a loss, 0 in the brain and outside the field of view.
    """

    brain: Tensor
    head: Tensor
    weight: Tensor


class Augmenter:
    """Draws examples from the heads of a prepared file.

    Parameters
    ----------
    heads : list of Head
    mean : Tensor of float32, shape (1, n, n, n)
        Mean head (see `mean_volume`).
    morph : float
        Share of examples whose shape is taken in part from other heads.
    jitter : bool
        Move and stretch the heads a little: registration is never perfect.
    """

    def __init__(self, heads: list[Head], mean: Tensor, *, morph: float = 0.8, jitter: bool = True):
        self.heads, self.mean, self.morph, self.jitter = heads, mean, morph, jitter
        self.warps = [
            None if h.warp is None else torch.from_numpy(h.warp.copy()).float() * WARP_STEP for h in heads
        ]

    def plain(self, index: int) -> Example:
        """One head as it is."""
        image, brain, fov = self._tensors(index)
        return self._example(image, brain, fov, self.mean)

    def draw(self, rng: np.random.Generator, crop: tuple[slice, slice, slice] | None = None) -> Example:
        """A new head.

        Parameters
        ----------
        rng : numpy.random.Generator
        crop : tuple of slice, optional
            Voxels of the cube to make; all of it by default.
        """
        return self.vary(int(rng.integers(len(self.heads))), rng.random() < 0.5, rng, crop)

    def vary(
        self,
        index: int,
        flip: bool,
        rng: np.random.Generator,
        crop: tuple[slice, slice, slice] | None = None,
    ) -> Example:
        """A new head from a given one, or from its mirror image; see `draw`."""
        image, brain, fov = self._tensors(index)
        tone = rng.spawn(1)[0]  # so that the contrast does not depend on how the head is moved
        displacement = self._jitter(rng) if self.jitter else torch.zeros(3, GRID, GRID, GRID)
        if self.warps[index] is not None and rng.random() < self.morph:
            displacement = displacement + self._morph(index, rng)
        n = image.shape[-1]
        field = upsample(displacement[None], n)
        mean = self.mean
        if flip:  # the grid is flipped, not the volumes: the result is the mirror image of the morph
            field = field.flip(2) * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1, 1)
            image, brain, fov = image.flip(1), brain.flip(1), fov.flip(1)
        stack = torch.stack([image, brain, fov], 1)
        if crop is not None:
            mean = mean[(slice(None), *crop)]
        warped = sample(stack, field, crop)[0]
        image, brain, fov = warped[0:1], warped[1:2] > 0.5, warped[2:3] > 0.99
        image = contrast(image, tone)
        return self._example(image, brain.float(), fov.float(), mean)

    def _tensors(self, index: int):
        head = self.heads[index]
        arrays = decode_intensity(head.image), head.brain.astype(np.float32), head.fov.astype(np.float32)
        return tuple(torch.from_numpy(a)[None] for a in arrays)

    def _example(self, image: Tensor, brain: Tensor, fov: Tensor, mean: Tensor) -> Example:
        head = torch.where(fov > 0, image, mean)
        head = torch.where(brain > 0, torch.full_like(head, HOLE), head)
        return Example(image * brain, head, fov * (1 - brain))

    def _morph(self, index: int, rng: np.random.Generator) -> Tensor:
        """Displacement (3, 32, 32, 32) in mm from points of the new head to points of head `index`."""
        partners = [k for k in rng.choice(len(self.heads), 2, replace=False) if self.warps[k] is not None]
        share = rng.uniform(0, 1.1)
        weights = rng.dirichlet(np.ones(len(partners))) * share
        own = self.warps[index][None]
        wanted = (1 - share) * own + sum(
            w * self.warps[k][None] for w, k in zip(weights, partners, strict=True)
        )
        step = torch.zeros_like(own)
        for _ in range(6):  # solve  x + e + d_i(x + e) = x + wanted  for e
            step = wanted - sample(own, step)
        return F.avg_pool3d(F.pad(step, (1,) * 6, mode='replicate'), 3, stride=1)[0]

    def _jitter(self, rng: np.random.Generator) -> Tensor:
        """Small affine displacement (3, 32, 32, 32) in mm."""
        matrix = torch.from_numpy(rng.normal(0, 0.015, (3, 3))).float()
        shift = torch.from_numpy(rng.normal(0, 1.0, 3)).float()
        axis = (torch.arange(GRID) + 0.5) * (CUBE_EDGE / GRID) - CUBE_EDGE / 2
        points = torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij'))
        return torch.einsum('ij,jxyz->ixyz', matrix, points) + shift[:, None, None, None]


def contrast(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Other tissue contrast: a power law and a smooth bias field, both mild; air stays 0."""
    gamma = float(np.exp(rng.normal(0, 0.12)))
    bias = torch.from_numpy(np.exp(rng.normal(0, 0.08, (1, 1, 3, 3, 3)))).float()
    bias = F.interpolate(bias, size=image.shape[1:], mode='trilinear', align_corners=True)[0]
    return (image.clamp_min(0).pow(gamma) * bias).clamp(0, 2.5)


def mean_volume(heads: list[Head]) -> Tensor:
    """Mean of heads and of their mirror images, each where it was seen, `HOLE` in brains; (1, n, n, n)."""
    total = count = 0
    for head in heads:
        image = np.where(head.brain, np.float32(HOLE), decode_intensity(head.image))
        total = total + image * head.fov
        count = count + head.fov
    total, count = total + total[::-1], count + count[::-1]
    return torch.from_numpy(np.divide(total, count, out=np.zeros_like(total), where=count > 0))[None]
