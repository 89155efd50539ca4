"""Training of one VQ-VAE, brain or head."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cpmae_bids.models.vqvae import PATCH, SITES, VQVAE, VQVAEConfig
from cpmae_bids.training.align import align_all, fit_shape
from cpmae_bids.training.augment import Augmenter, mean_volume
from cpmae_bids.training.data import Head, read_prepared
from cpmae_bids.training.initialize import initialize
from cpmae_bids.training.loop import Run, cosine, pick_device, start_from
from cpmae_bids.training.preview import write_preview


@dataclass(frozen=True)
class VQVAETraining:
    """Settings of `train_vqvae`.

    Attributes
    ----------
    which : str
        ``'brain'`` or ``'head'``.
    model : VQVAEConfig
    steps : int
        Optimiser steps.
    code_steps : int
        Steps during which encoder and codebooks are trained; after them the codes stand still and the decoder
        alone is trained, so that the masked autoencoder can start on the codes.
    batch : int
        Crops per step.
    crop : int
        Edge of a crop in sites of 8 mm; a multiple of 4.
    learning_rate : float
        Peak of the schedule (Adam).
    commitment : float
        Weight of the commitment loss.
    gradient : float
        Weight of the L1 loss on finite differences, which keeps edges.
    seed : int
    """

    which: str = 'head'
    model: VQVAEConfig = field(default_factory=VQVAEConfig)
    steps: int = 1500
    code_steps: int = 0
    batch: int = 4
    crop: int = 16
    learning_rate: float = 1e-3
    commitment: float = 0.05
    gradient: float = 0.5
    seed: int = 1


def reconstruction_loss(output: Tensor, target: Tensor, weight: Tensor, gradient: float) -> Tensor:
    """Weighted L1 of intensities and of their finite differences.

    Parameters
    ----------
    output, target, weight : Tensor, shape (B, 1, X, Y, Z)
    gradient : float
        Weight of the differences.
    """
    loss = ((output - target).abs() * weight).sum() / weight.sum().clamp_min(1)
    for axis in (2, 3, 4):
        error = (torch.diff(output, dim=axis) - torch.diff(target, dim=axis)).abs()
        both = torch.minimum(
            weight.narrow(axis, 1, weight.shape[axis] - 1), weight.narrow(axis, 0, error.shape[axis])
        )
        loss = loss + gradient * (error * both).sum() / both.sum().clamp_min(1)
    return loss


def psnr(output: Tensor, target: Tensor, weight: Tensor) -> float:
    """Peak signal-to-noise ratio (dB) where `weight` is positive, for a peak of 1 (white matter)."""
    error = ((output - target).square() * weight).sum() / weight.sum()
    return float(-10 * torch.log10(error))


def select(example, which: str) -> tuple[Tensor, Tensor]:
    """Volume that a VQ-VAE sees and the weight of its voxels, each (1, n, n, n)."""
    if which == 'brain':
        return example.brain, torch.ones_like(example.brain)
    return example.head, example.weight + 0.02  # a little everywhere, so that nothing drifts


def draw_batch(augmenter: Augmenter, config: VQVAETraining, run: Run) -> tuple[Tensor, Tensor, tuple]:
    """Crops of new heads: volumes and weights (B, 1, e, e, e), and the offset in sites that they share."""
    rng = run.rng()
    free = (SITES - config.crop) // 4 + 1
    offset = tuple(4 * int(k) for k in rng.integers(free, size=3))
    edge = config.crop * PATCH
    crop = tuple(slice(PATCH * o, PATCH * o + edge) for o in offset)
    pairs = [select(augmenter.draw(rng, crop), config.which) for _ in range(config.batch)]
    volumes, weights = (torch.stack(part) for part in zip(*pairs, strict=True))
    return volumes, weights, offset


@torch.no_grad()
def validate(
    model: VQVAE, examples: list, which: str, device: torch.device, preview: Path | None = None
) -> dict:
    """PSNR inside heads (or brains) left out of training, and the share of each codebook that they use.

    With `preview` the first example and its reconstruction are written there as PNG.
    """
    scores, used = [], [set() for _ in model.levels]
    for example in examples:
        volume, _ = select(example, which)
        output, quantized = model(volume[None].to(device))
        tissue = example.weight * (example.head > 0.1) if which == 'head' else (example.brain > 0).float()
        scores.append(psnr(output.cpu(), volume[None], tissue[None]))
        if preview is not None and len(scores) == 1:
            write_preview(preview, [volume[0].numpy(), output[0, 0].cpu().numpy()])
        for level, codes in zip(used, quantized.codes, strict=True):
            level.update(codes.unique().tolist())
    share = [len(level) / model.config.codebook for level in used]
    return {'psnr': float(np.mean(scores)), 'codes_used': share}


def shaped(heads: list[Head], model: VQVAE, folder: Path) -> list[Head]:
    """Fit the shape model of a VQ-VAE, where it has one, and take the shape out of heads."""
    if model.shape is None:
        return heads
    return align_all(heads, fit_shape(model.shape, heads, folder / 'shapes.safetensors'), model.shape)


def train_vqvae(
    prepared: Path,
    folder: Path,
    config: VQVAETraining,
    *,
    device: str = 'auto',
    time_budget: float | None = None,
    start: VQVAE | None = None,
) -> VQVAE:
    """Train one VQ-VAE on a prepared file, from PCA and k-means on.

    Parameters
    ----------
    prepared : Path
        Prepared file at 2 mm.
    folder : Path
        Checkpoint, log and preview; a second call goes on from there.
    config : VQVAETraining
    device : str
    time_budget : float, optional
        Seconds.
    start : VQVAE, optional
        Start from this model instead of PCA and k-means.

    Returns
    -------
    model : VQVAE
    """
    device = pick_device(device)
    model = VQVAE(config.model)
    folder.mkdir(parents=True, exist_ok=True)
    heads = shaped(read_prepared(prepared), model, folder)
    training = [h for h in heads if h.split == 'train']
    mean = mean_volume(training) if config.which == 'head' else torch.zeros(1, *training[0].image.shape)
    augmenter = Augmenter(training, mean)
    held_out = [h for h in heads if h.split == 'validation']
    validation = [Augmenter(held_out, mean).plain(k) for k in range(len(held_out))]
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98))
    run = Run(folder, model, optimizer, seed=config.seed, time_budget=time_budget)
    log = (run.folder / 'log.jsonl').open('a', encoding='utf-8')

    def report(**record):
        log.write(json.dumps({'step': run.step, **record}) + '\n')
        log.flush()

    if run.resume():
        pass
    elif start is not None:
        start_from(model, start)
        report(validation=validate(model, validation, config.which, device), stage='earlier weights')
    else:
        volumes = torch.stack([select(augmenter.plain(k), config.which)[0] for k in range(len(training))])
        initialize(model.cpu(), volumes, mean[None], seed=config.seed)
        model.to(device)
        del volumes
        report(validation=validate(model, validation, config.which, device), stage='PCA and k-means')
    mean_on_device = mean[None].to(device)
    autocast = torch.autocast('cuda', dtype=torch.bfloat16, enabled=device.type == 'cuda')
    bar = tqdm(run.steps(config.steps), initial=run.step, total=config.steps, desc=f'{config.which} VQ-VAE')
    for step in bar:
        for group in optimizer.param_groups:
            group['lr'] = cosine(step, config.steps, peak=config.learning_rate)
        volumes, weights, offset = (
            t.to(device) if torch.is_tensor(t) else t for t in draw_batch(augmenter, config, run)
        )
        learning_codes = step < config.code_steps
        if learning_codes:
            with torch.no_grad():
                model.mean.copy_(model.stem(mean_on_device)[0])  # follows the stem
        with autocast:
            with torch.set_grad_enabled(learning_codes):
                quantized = model.quantize(model.encode_latent(volumes, offset), update=learning_codes)
            output = model.decode_latent(quantized.latent, offset)
            loss = reconstruction_loss(output.float(), volumes, weights, config.gradient)
            total = loss + config.commitment * quantized.commitment
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            used = [float((level.codebook.uses > 0.1).float().mean()) for level in model.levels]
            bar.set_postfix(loss=f'{loss.item():.4f}', used=' '.join(f'{u:.2f}' for u in used))
            report(loss=loss.item(), commitment=quantized.commitment.item(), codes_used=used)
        if step % 200 == 199:
            report(validation=validate(model, validation, config.which, device, folder / 'preview.png'))
    report(validation=validate(model, validation, config.which, device, folder / 'preview.png'), stage='end')
    return model
