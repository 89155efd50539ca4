"""Training of the 1 mm output of a VQ-VAE: the codes and the 2 mm decoder stand still."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from cpmae_bids.models.vqvae import PATCH, SITES, VQVAE
from cpmae_bids.training.align import align_all
from cpmae_bids.training.augment import Augmenter, mean_volume
from cpmae_bids.training.data import read_prepared
from cpmae_bids.training.loop import Run, cosine, pick_device
from cpmae_bids.training.train_vqvae import VQVAETraining, reconstruction_loss, select

CROP = 8
"""Edge of a crop in sites of 8 mm: 64 voxels of 1 mm."""


def train_fine(
    model: VQVAE,
    prepared: Path,
    folder: Path,
    config: VQVAETraining,
    *,
    device: str = 'auto',
    time_budget: float | None = None,
) -> VQVAE:
    """Train the layers that turn 4 mm features into 1 mm voxels, on crops.

    Parameters
    ----------
    model : VQVAE
        Trained at 2 mm.
    prepared : Path
        Prepared file at 1 mm; a few heads are enough, since a crop shows edges and texture, not identity.
    folder : Path
        Checkpoint and log.
    config : VQVAETraining
        `which`, `fine_steps`, `learning_rate`, `gradient` and `seed` are used.
    device : str
    time_budget : float, optional
        Seconds.

    Returns
    -------
    model : VQVAE
        The same object.
    """
    device = pick_device(device)
    model.to(device).requires_grad_(False)
    model.to_millimetres.requires_grad_(True)
    heads = [h for h in read_prepared(prepared) if h.split == 'train']
    if model.shape is not None:
        mean = mean_volume(heads)
        shapes = [model.shape.find(select(Augmenter([h], mean).plain(0), 'head')[0][None]) for h in heads]
        heads = align_all(heads, torch.cat(shapes), model.shape)
    mean = mean_volume(heads)
    examples = [select(Augmenter(heads, mean).plain(k), config.which) for k in range(len(heads))]
    optimizer = torch.optim.Adam(model.to_millimetres.parameters(), lr=config.learning_rate)
    run = Run(folder, model, optimizer, seed=config.seed, time_budget=time_budget)
    run.resume()
    edge, scale = CROP * PATCH * 2, PATCH * 2
    with (run.folder / 'log.jsonl').open('a', encoding='utf-8') as log:
        bar = tqdm(
            run.steps(config.fine_steps), initial=run.step, total=config.fine_steps, desc='1 mm decoder'
        )
        for step in bar:
            for group in optimizer.param_groups:
                group['lr'] = cosine(step, config.fine_steps, peak=config.learning_rate)
            rng = run.rng()
            volume, weight, offset = _crop(examples, rng, edge, scale)
            volume, weight = volume.to(device), weight.to(device)
            with torch.no_grad():
                quantized = model.quantize(model.encode_latent(_halved(volume), offset))
            output = model.decode_latent(quantized.latent, offset, millimetre=True)
            loss = reconstruction_loss(output, volume, weight, config.gradient)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f'{loss.item():.4f}')
                log.write(json.dumps({'step': step, 'loss': loss.item()}) + '\n')
                log.flush()
    return model


def _halved(volume: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool3d(volume, 2)


def _crop(examples, rng: np.random.Generator, edge: int, scale: int):
    """A crop with tissue, mirrored half of the time; volume, weight (1, 1, e, e, e), offset in sites."""
    while True:
        volume, weight = examples[int(rng.integers(len(examples)))]
        if rng.random() < 0.5:
            volume, weight = volume.flip(1), weight.flip(1)
        offset = tuple(4 * int(k) for k in rng.integers((SITES - CROP) // 4 + 1, size=3))
        part = tuple(slice(scale * o, scale * o + edge) for o in offset)
        crop, counts = volume[(slice(None), *part)], weight[(slice(None), *part)]
        if ((crop > 0.2) & (counts > 0.5)).float().mean() > 0.05:
            return crop[None], counts[None], offset
