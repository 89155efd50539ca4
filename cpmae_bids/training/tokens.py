"""The codes of many augmented heads, made once and kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from cpmae_bids.models.vqvae import VQVAE
from cpmae_bids.training.augment import Augmenter

SHARD = 50
"""Heads a file."""


@torch.no_grad()
def encode_pair(example, head: VQVAE, brain: VQVAE) -> dict[str, np.ndarray]:
    """Codes of one example as int16 volumes: ``head0``, ``head1``, ..., ``brain0``, ..."""
    device = head.mean.device
    codes = {}
    for name, model, volume in (('head', head, example.head), ('brain', brain, example.brain)):
        for level, indices in enumerate(model.encode(volume[None].to(device))):
            codes[f'{name}{level}'] = indices[0].to(torch.int16).cpu().numpy()
    return codes


def stack(pairs: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Codes of several heads as (N, g, g, g) int16 tensors."""
    return {key: torch.from_numpy(np.stack([pair[key] for pair in pairs])) for key in pairs[0]}


def make_tokens(
    augmenter: Augmenter, head: VQVAE, brain: VQVAE, folder: Path, count: int, *, seed: int, deadline=None
) -> dict[str, torch.Tensor]:
    """Codes of `count` drawn heads; shards that a former call left are used again.

    Parameters
    ----------
    augmenter : Augmenter
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
        pairs = stack([encode_pair(augmenter.draw(rng), head, brain) for _ in range(SHARD)])
        partial = path.with_suffix('.part.npz')
        np.savez(partial, **{key: value.numpy() for key, value in pairs.items()})
        os.replace(partial, path)
    return load_tokens(folder)


def load_tokens(folder: Path) -> dict[str, torch.Tensor]:
    """All shards of a folder, in one."""
    shards = [dict(np.load(path)) for path in sorted(folder.glob('tokens-*[0-9].npz'))]
    return {key: torch.from_numpy(np.concatenate([shard[key] for shard in shards])) for key in shards[0]}
