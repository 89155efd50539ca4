"""Heads whose shape was taken out: all deformed to a mean head that they have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from cpmae_bids.models.shape import Shape
from cpmae_bids.models.warps import WORKING, deform, find_warp, invert, mirror
from cpmae_bids.training.augment import HOLE, mean_volume
from cpmae_bids.training.data import WARP_STEP, Head, decode_intensity, encode_intensity

ROUNDS = 2
"""How often all heads are registered to the mean of the heads as aligned before: it gets sharper."""


def align(head: Head, displacement: Tensor) -> Head:
    """A head deformed to the mean head.

    Parameters
    ----------
    head : Head
    displacement : Tensor, shape (3, 32, 32, 32)
        Takes points of the head to the mean head, in mm.
    """
    image = np.where(head.brain, np.float32(HOLE), decode_intensity(head.image))
    parts = torch.from_numpy(np.stack([image, head.brain, head.fov]).astype(np.float32))
    image, brain, fov = deform(parts[None], invert(displacement[None]))[0].numpy()
    return replace(head, image=encode_intensity(image), brain=brain > 0.5, fov=fov > 0.99, warp=None)


def fit_shape(shape: Shape, heads: list[Head], cache: Path) -> Tensor:
    """Fit the shape model to the training heads, and find the shape of every head.

    Parameters
    ----------
    shape : Shape
        Changed in place.
    heads : list of Head
        With their warps to the mean of the heads as they are.
    cache : Path
        What was found is kept here, since it takes minutes; ``.safetensors``.

    Returns
    -------
    displacements : Tensor, shape (N, 3, 32, 32, 32)
        In mm, of all heads in their order.
    """
    if cache.exists():
        found = load_file(cache)
    else:
        displacements = torch.stack([torch.from_numpy(h.warp.copy()) for h in heads]).float() * WARP_STEP
        for number in range(ROUNDS):
            template = aligned_mean(heads, displacements)[None]
            small = F.adaptive_avg_pool3d(template, WORKING)
            bar = tqdm(heads, desc=f'shape {number + 1}/{ROUNDS}', unit='head')
            displacements = torch.cat([find_warp(working(head, small), small) for head in bar])
        found = {'displacements': displacements, 'template': aligned_mean(heads, displacements)[None]}
        save_file(found, cache)
    displacements = found['displacements']
    train = displacements[[head.split == 'train' for head in heads]]
    shape.fit(torch.cat([train, mirror(train)]), found['template'])
    return displacements


def aligned_mean(heads: list[Head], displacements: Tensor) -> Tensor:
    """Mean of the training heads after they were aligned, and of their mirror images; (1, n, n, n)."""
    pairs = zip(heads, displacements, strict=True)
    return mean_volume([align(head, d) for head, d in pairs if head.split == 'train'])


def align_all(heads: list[Head], displacements: Tensor, shape: Shape) -> list[Head]:
    """Heads aligned by the shape that their codes stand for, as `VQVAE.encode` does it."""
    quantised = [shape.decode(shape.encode(d[None]))[0] for d in displacements]
    return [align(head, d) for head, d in zip(heads, quantised, strict=True)]


def working(head: Head, template: Tensor) -> Tensor:
    """Head without brain at 4 mm (1, 1, 64, 64, 64); the template where the scan did not look.

    Anything else there would look like a shape.
    """
    image = np.where(head.brain, np.float32(HOLE), decode_intensity(head.image))
    parts = torch.from_numpy(np.stack([image, head.fov]).astype(np.float32))[:, None]
    image, fov = F.adaptive_avg_pool3d(parts, WORKING)[:, None]
    return image * fov + template * (1 - fov)
