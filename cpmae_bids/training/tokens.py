"""The codes of many augmented heads, made once and kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from cpmae_bids.models.vqvae import VQVAE
from cpmae_bids.models.warps import find_warp, mirror
from cpmae_bids.training.align import align_all, working
from cpmae_bids.training.augment import Augmenter, mean_volume
from cpmae_bids.training.data import Head

SHARD = 50
"""Heads a file."""


@dataclass(frozen=True)
class Corpus:
    """Heads to encode: as they are, for their brains, and aligned, for what surrounds them.

    Attributes
    ----------
    heads, aligned : Augmenter
        The same heads in the same order.
    displacements : Tensor, shape (N, 3, 32, 32, 32)
        The shape of every head in mm.
    """

    heads: Augmenter
    aligned: Augmenter
    displacements: Tensor

    @torch.no_grad()
    def encode(self, index: int, flip: bool, head: VQVAE, brain: VQVAE, rng=None) -> dict[str, np.ndarray]:
        """Codes of a head or of its mirror image as int16 volumes: ``head0``, ``head1``, ..., ``brain0``, ...

        With `rng`, a `numpy.random.Generator`, position and contrast vary, those of brain and head together.
        """
        seed = None if rng is None else int(rng.integers(2**32))

        def example(augmenter: Augmenter):
            if seed is not None:
                return augmenter.vary(index, flip, np.random.default_rng(seed))
            plain = augmenter.plain(index)
            return replace(plain, head=plain.head.flip(1), brain=plain.brain.flip(1)) if flip else plain

        device = head.mean.device
        displacement = self.displacements[index : index + 1].to(device)
        shape = head.shape.encode(mirror(displacement) if flip else displacement)
        volumes = example(self.aligned).head, example(self.heads).brain
        levels = {
            'head': [shape, *head.encode_aligned(volumes[0][None].to(device))],
            'brain': brain.encode(volumes[1][None].to(device)),
        }
        return {
            f'{name}{k}': codes[0].to(torch.int16).cpu().numpy()
            for name, volumes in levels.items()
            for k, codes in enumerate(volumes)
        }

    def encode_plain(self, head: VQVAE, brain: VQVAE, *, mirrored: bool = False) -> dict[str, Tensor]:
        """Codes of the heads as they are, and of their mirror images too if `mirrored`."""
        flips = (False, True) if mirrored else (False,)
        count = range(len(self.displacements))
        return stack([self.encode(k, flip, head, brain) for flip in flips for k in count])


def find_shapes(head: VQVAE, heads: list[Head], cache: Path) -> Tensor:
    """Shape of every head in mm, found as those that the shape model was fitted to; kept in `cache`."""
    if cache.exists():
        return load_file(cache)['displacements']
    template = head.shape.template
    bar = tqdm(heads, desc='shapes', unit='head')
    found = torch.cat(
        [find_warp(working(one, template.cpu()).to(template.device), template).cpu() for one in bar]
    )
    save_file({'displacements': found}, cache)
    return found


def corpus(heads: list[Head], displacements: Tensor, head: VQVAE, split: str) -> Corpus:
    """The heads of one split, as they are and aligned."""
    aligned = align_all(heads, displacements, head.shape)
    chosen = [k for k, h in enumerate(heads) if h.split == split]

    def augmenter(members: list[Head], **options) -> Augmenter:
        mean = mean_volume([h for h in members if h.split == 'train'])
        return Augmenter([members[k] for k in chosen], mean, **options)

    still = augmenter(aligned, morph=0, jitter=False)
    return Corpus(augmenter(heads, morph=0), still, displacements[chosen])


def stack(pairs: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Codes of several heads as (N, g, g, g) int16 tensors."""
    return {key: torch.from_numpy(np.stack([pair[key] for pair in pairs])) for key in pairs[0]}


def make_tokens(
    corpus: Corpus, head: VQVAE, brain: VQVAE, folder: Path, count: int, *, seed: int, deadline=None
) -> dict[str, torch.Tensor]:
    """Codes of `count` varied heads; shards that a former call left are used again.

    Parameters
    ----------
    corpus : Corpus
    head, brain : VQVAE
    folder : Path
        Where the shards are kept; one folder per pair of models.
    count : int
        Heads wanted; rounded up to whole shards.
    seed : int
    deadline : callable, optional
        Returns True when it is time to stop; what is there by then is used.

    Returns
    -------
    tokens : dict of Tensor of int16, shape (N, g, g, g)
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shard in tqdm(range(-(-count // SHARD)), desc='tokens', unit=f'x{SHARD} heads'):
        path = folder / f'tokens-{shard:04d}.npz'
        if path.exists():
            continue
        if deadline and deadline():
            break
        rng = np.random.default_rng([seed, shard])
        pairs = stack([_draw(corpus, head, brain, rng) for _ in range(SHARD)])
        partial = path.with_suffix('.part.npz')
        np.savez(partial, **{key: value.numpy() for key, value in pairs.items()})
        os.replace(partial, path)
    return load_tokens(folder)


def _draw(corpus: Corpus, head: VQVAE, brain: VQVAE, rng: np.random.Generator) -> dict[str, np.ndarray]:
    index = int(rng.integers(len(corpus.displacements)))
    return corpus.encode(index, rng.random() < 0.5, head, brain, rng)


def load_tokens(folder: Path) -> dict[str, torch.Tensor]:
    """All shards of a folder, in one."""
    shards = [dict(np.load(path)) for path in sorted(folder.glob('tokens-*[0-9].npz'))]
    return {key: torch.from_numpy(np.concatenate([shard[key] for shard in shards])) for key in shards[0]}
