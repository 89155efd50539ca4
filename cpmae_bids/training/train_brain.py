"""Training of the brain's VQ-VAE."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cpmae_bids.deid.images.intensity import from_levels
from cpmae_bids.models.vqvae import PATCH, SITES, VQVAE, VQVAEConfig
from cpmae_bids.training.data import Head, on_grid
from cpmae_bids.training.initialize import initialize
from cpmae_bids.training.loop import Run, pick_device


@dataclass(frozen=True)
class BrainTraining:
    """Settings of `train_brain`."""

    model: VQVAEConfig = field(default_factory=VQVAEConfig)
    # optimiser steps of the decoder; encoder and codebooks are fitted before, without gradients
    steps: int = 600
    batch: int = 3  # crops per step
    crop: int = 16  # edge of a crop in sites of 8 mm; a multiple of 4
    learning_rate: float = 1e-3  # peak of the schedule (Adam)
    gradient: float = 0.5  # weight of the L1 loss on finite differences, which keeps edges
    seed: int = 1


def brain_of(head: Head) -> Tensor:
    """Brain of a head, 0 elsewhere; float32, shape (1, n, n, n)."""
    return torch.from_numpy(on_grid(from_levels(head.image) * head.brain))[None]


def reconstruction_loss(output: Tensor, target: Tensor, gradient: float) -> Tensor:
    """L1 of intensities, and of their finite differences with the weight `gradient`."""
    loss = (output - target).abs().mean()
    for axis in (2, 3, 4):
        loss = loss + gradient * (torch.diff(output, dim=axis) - torch.diff(target, dim=axis)).abs().mean()
    return loss


def psnr(output: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio (dB) within the brain, for a peak of 1 (white matter)."""
    return float(-10 * torch.log10((output - target).square()[target > 0].mean()))


def draw_batch(brains: list[Tensor], config: BrainTraining, rng: np.random.Generator) -> Tensor:
    """Crops of brains or their mirror images (B, 1, e, e, e), of other contrast by a power law."""
    edge, crops = config.crop * PATCH, []
    for _ in range(config.batch):
        volume = brains[rng.integers(len(brains))]
        start = [PATCH * 4 * int(k) for k in rng.integers((SITES - config.crop) // 4 + 1, size=3)]
        crop = volume[(slice(None), *(slice(s, s + edge) for s in start))]
        crop = crop.flip(1) if rng.random() < 0.5 else crop
        crops.append(crop.clamp_min(0) ** float(rng.uniform(0.8, 1.25)))
    return torch.stack(crops)


def train_brain(
    heads: list[Head],
    folder: Path,
    config: BrainTraining,
    *,
    device: str = 'auto',
    time_budget: float | None = None,
) -> VQVAE:
    """Train the brain VQ-VAE, starting from principal components and k-means.

    `folder` holds checkpoint and log, from which a second call resumes; `time_budget` is in seconds.
    """
    model = VQVAE(config.model)
    train = [brain_of(head) for head in heads if head.split == 'train']
    held_out = [brain_of(head) for head in heads if head.split == 'validation']
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98))
    run = Run(folder, model, optimizer, seed=config.seed, time_budget=time_budget)
    if not run.checkpoint.exists():
        initialize(model, torch.stack(train), seed=config.seed)
    on = pick_device(device)
    model.to(on)
    run.resume()  # moments of the optimiser come to the device of the weights
    for step in run.scheduled(config.steps, config.learning_rate):
        crops = draw_batch(train, config, run.rng()).to(on)
        latent = model.latent_of(model.encode(crops)).detach()  # the codes stand still
        loss = reconstruction_loss(model.decode_latent(latent), crops, config.gradient)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99 or step == config.steps - 1:
            scores = [psnr(model.decode(model.encode(b[None].to(on))).cpu(), b[None]) for b in held_out]
            run.log(step=step + 1, loss=loss.item(), psnr=scores)
    return model
