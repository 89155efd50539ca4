"""Training of the detail networks: at 2 mm from what the codes leave of heads, at 1 mm from heads alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from cpmae_bids.exceptions import UsageError
from cpmae_bids.models.detail import Detail, DetailConfig, Discriminator, Refiner, double, places, remoteness
from cpmae_bids.models.mae import MAE
from cpmae_bids.models.sampling import complete
from cpmae_bids.models.vqvae import VQVAE
from cpmae_bids.training.augment import HOLE
from cpmae_bids.training.data import Head, decode_intensity, read_prepared
from cpmae_bids.training.loop import Run, cosine, pick_device

TISSUE = 0.15
"""Least intensity (white matter 1) of the voxels around which crops are taken."""


@dataclass(frozen=True)
class DetailTraining:
    """Settings of `train_detail`.

    Attributes
    ----------
    model : DetailConfig
    steps, fine_steps : int
        Optimiser steps at 2 mm and at 1 mm.
    batch : int
        Crops of a step.
    crop : int
        Edge of a crop in sites of 4 mm, at least 6; with context, a multiple of four, at least 12.
    learning_rate : float
        Peak of the schedule (Adam).
    lead : float
        How much faster the discriminator learns (Heusel et al., NeurIPS 2017).
    anchor : float
        Weight of the difference to the scan after both were blurred: detail may move no structure.
    pixel : float
        Weight of the difference voxel by voxel.
    features : float
        Weight of the difference of mean and spread of the discriminator's features.
    average : float
        Decay of the moving average of the weights, which is what is kept.
    known : int
        Integer volumes of a training head, shape first, that are its own; the finer ones are drawn by the
        masked autoencoder, as they are in generated heads.
    place : int
        Channels of what the discriminator learns about places.
    critic : int
        Channels of the discriminator.
    seed : int
    """

    model: DetailConfig = field(default_factory=DetailConfig)
    steps: int = 3500
    fine_steps: int = 1500
    batch: int = 4
    crop: int = 16
    learning_rate: float = 2e-4
    lead: float = 4.0
    anchor: float = 20.0
    pixel: float = 2.0
    features: float = 2.0
    average: float = 0.998
    known: int = 4
    place: int = 8
    critic: int = 64
    seed: int = 1


@dataclass(frozen=True)
class Sharpening:
    """A head as it is, and blurred as the network will see it.

    Attributes
    ----------
    real, blurred : ndarray of float16, shape (n, n, n)
    valid : ndarray of bool, shape (n, n, n)
        Within the field of view and outside of the brain.
    where : ndarray of float16, shape (3, 64, 64, 64), or None
        Places of the sites, see `cpmae_bids.models.detail.places`.
    remote : ndarray of float16, shape (n, n, n), or None
        Distance from the brain, see `cpmae_bids.models.detail.remoteness`.
    """

    real: np.ndarray
    blurred: np.ndarray
    valid: np.ndarray
    where: np.ndarray | None = None
    remote: np.ndarray | None = None


class Contest(nn.Module):
    """Both networks, and the moving average of the one that is kept: what a checkpoint holds."""

    def __init__(self, refiner: Refiner, config: DetailTraining):
        super().__init__()
        self.generator = refiner
        self.discriminator = Discriminator(
            refiner.factor,
            config.critic,
            config.place if refiner.places else 0,
            brain=refiner.brain,
            scales=3 if refiner.context else 2,
        )
        self.average = copy.deepcopy(refiner).requires_grad_(False)


def train_detail(
    mae: MAE,
    head: VQVAE,
    brain: VQVAE,
    prepared: Path,
    fine: Path,
    folder: Path,
    config: DetailTraining,
    *,
    device: str = 'auto',
    time_budget: float | None = None,
    start: Detail | None = None,
) -> Detail:
    """Train the networks that add detail to decoded heads.

    Parameters
    ----------
    mae : MAE
    head, brain : VQVAE
        What draws heads, and whose blur they learn to undo.
    prepared, fine : Path
        Prepared files at 2 mm and at 1 mm.
    folder : Path
        Checkpoints and logs; a second call goes on from there.
    config : DetailTraining
    device : str
    time_budget : float, optional
        Seconds, for each of the two.
    start : Detail, optional
        Start from this model.

    Returns
    -------
    model : Detail

    Raises
    ------
    UsageError
        If `start` has another shape than the settings say, or `known` parts volumes that are drawn together.
    """
    torch.manual_seed(config.seed)
    model = widened(start, config.model) if start else Detail(config.model)
    budget = {'device': device, 'time_budget': time_budget}
    if config.steps:
        if config.known < head.volumes and config.known not in mae.firsts:
            raise UsageError(
                f'known = {config.known} in [detail] parts volumes that are drawn together: set it to '
                f'{", ".join(str(first) for first in mae.firsts)} or {head.volumes}'
            )
        models = (model.to(pick_device(device)) for model in (mae, head, brain))
        examples = decoded(_training(prepared), *models, config)
        model.coarse = train_refiner(model.coarse, examples, folder / '2mm', config, config.steps, **budget)
    if config.fine_steps:
        examples = halved(_training(fine))
        model.fine = train_refiner(model.fine, examples, folder / '1mm', config, config.fine_steps, **budget)
    return model.cpu()


def widened(start: Detail, config: DetailConfig) -> Detail:
    """A model that goes on from another one; what that one lacks adds nothing at first.

    Parameters
    ----------
    start : Detail
    config : DetailConfig
        May ask for the brain and for context where `start` has none.

    Raises
    ------
    UsageError
        If they differ in more than that.
    """
    if start.config == config:
        return start
    kept = replace(config, brain=start.config.brain, context=start.config.context)
    if kept != start.config or start.config.brain > config.brain or start.config.context:
        raise UsageError('--from-weights: these differ in shape from [detail.model] of the settings')
    model, known = Detail(config), start.state_dict()
    weight = torch.zeros_like(model.coarse.enter.weight)
    weight[:, : start.coarse.enter.in_channels] = known['coarse.enter.weight']
    model.load_state_dict({**model.state_dict(), **known, 'coarse.enter.weight': weight})
    return model


def _training(prepared: Path) -> list[Head]:
    return [head for head in read_prepared(prepared) if head.split == 'train']


def _plain(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Head without brain (float32), and where it counts; both (n, n, n)."""
    image = np.where(head.brain, np.float32(HOLE), decode_intensity(head.image))
    brain = torch.from_numpy(head.brain.astype(np.float32))[None]
    near_brain = F.max_pool3d(brain, 3, stride=1, padding=1)[0].numpy() > 0
    return image, head.fov & ~near_brain


@torch.no_grad()
def decoded(
    heads: list[Head], mae: MAE, model: VQVAE, brain: VQVAE, config: DetailTraining
) -> list[Sharpening]:
    """Heads, and what the coarse ones of their codes say, the finer ones being drawn."""
    device, generator = model.mean.device, torch.Generator().manual_seed(config.seed)
    examples = []
    for head in tqdm(heads, 'decoding', unit='head'):
        image, valid = _plain(head)
        inside = np.where(head.brain, decode_intensity(head.image), np.float32(0))
        around, inside = (torch.from_numpy(volume)[None, None].to(device) for volume in (image, inside))
        condition = brain.latent_of(brain.encode(inside))
        codes = complete(mae, model, condition, model.encode(around)[: config.known], generator=generator)
        blurred = model.decode(codes)[0, 0].cpu().numpy()
        where = None if model.shape is None else places(model.displacement(codes))[0].cpu().numpy()
        remote = remoteness(torch.from_numpy(head.brain.astype(np.float32))[None, None])[0, 0].numpy()
        examples.append(
            Sharpening(
                image.astype(np.float16),
                blurred.astype(np.float16),
                valid,
                None if where is None else where.astype(np.float16),
                remote.astype(np.float16),
            )
        )
    return examples


def halved(heads: list[Head]) -> list[Sharpening]:
    """Heads at 1 mm, and what is left of them at 2 mm."""
    examples = []
    for head in heads:
        image, valid = _plain(head)
        blurred = double(F.avg_pool3d(torch.from_numpy(image)[None, None], 2))[0, 0].numpy()
        examples.append(Sharpening(image.astype(np.float16), blurred.astype(np.float16), valid))
    return examples


def train_refiner(
    refiner: Refiner,
    examples: list[Sharpening],
    folder: Path,
    config: DetailTraining,
    steps: int,
    *,
    device: str = 'auto',
    time_budget: float | None = None,
) -> Refiner:
    """Train one network against a discriminator; returns the moving average over the steps."""
    device = pick_device(device)
    models = Contest(refiner.requires_grad_(True), config).to(device)
    groups = [
        {'params': list(models.generator.parameters()), 'pace': 1},
        {'params': list(models.discriminator.parameters()), 'pace': config.lead},
    ]
    optimizer = torch.optim.Adam(groups, lr=config.learning_rate, betas=(0.5, 0.95))
    run = Run(folder, models, optimizer, seed=config.seed, time_budget=time_budget)
    run.resume()
    centres = [np.argwhere((e.real > TISSUE) & e.valid).astype(np.int16) for e in examples]
    bar = tqdm(run.steps(steps), initial=run.step, total=steps, desc=folder.name)
    with (run.folder / 'log.jsonl').open('a', encoding='utf-8') as log:
        for step in bar:
            for group in optimizer.param_groups:
                group['lr'] = group['pace'] * cosine(step, steps, peak=config.learning_rate)
            batch = _batch(examples, centres, run.rng(), config, refiner)
            losses = _step(
                models, optimizer, *(part if part is None else part.to(device) for part in batch), config
            )
            with torch.no_grad():
                pairs = zip(models.average.parameters(), models.generator.parameters(), strict=True)
                for kept, new in pairs:
                    kept.lerp_(new, 1 - config.average)
            if step % 50 == 0:
                bar.set_postfix({name: f'{value:.3f}' for name, value in losses.items()})
                log.write(json.dumps({'step': step, **losses}) + '\n')
                log.flush()
    return models.average


def _step(
    models: Contest,
    optimizer,
    real: Tensor,
    blurred: Tensor,
    valid: Tensor,
    where: Tensor | None,
    remote: Tensor | None,
    config: DetailTraining,
) -> dict[str, float]:
    """One step of both networks, by gradients at the same weights."""
    generator, discriminator = models.generator, _off_lattice(models.discriminator)
    # where the scan says nothing all volumes are the blurred one, and nothing can be told there
    fake = torch.where(valid, generator(blurred, generator.draw(blurred), where, remote), blurred)
    optimizer.zero_grad()
    told_of_fake = discriminator(fake.detach(), blurred, where, remote)[0]
    real_logits, real_features = discriminator(real, blurred, where, remote)
    told = mean(
        F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        for real, fake in zip(real_logits, told_of_fake, strict=True)
    )
    told.backward()

    models.discriminator.requires_grad_(False)
    fake_logits, fake_features = discriminator(fake, blurred, where, remote)
    fooled = -mean(logits.mean() for logits in fake_logits)
    pairs = [(a, b.detach()) for a, b in zip(fake_features, real_features, strict=True)]
    features = sum(
        (moment(a, (2, 3, 4)) - moment(b, (2, 3, 4))).abs().mean()
        for a, b in pairs
        for moment in (torch.mean, torch.std)
    )
    pixel = (fake - real).abs().mean()
    anchor = _blur(fake - real, generator.factor).abs().mean()
    loss = config.anchor * anchor + config.pixel * pixel + config.features * features + fooled
    loss.backward()
    models.discriminator.requires_grad_(True)
    torch.nn.utils.clip_grad_norm_(generator.parameters(), 5.0)
    optimizer.step()
    return {
        'told': told.item(),
        'fooled': fooled.item(),
        'features': features.item(),
        'pixel': pixel.item(),
        'anchor': anchor.item(),
        'power': (_high(fake, generator.factor) / _high(real, generator.factor)).item(),
    }


def _off_lattice(discriminator: Discriminator) -> Callable[..., tuple[list[Tensor], list[Tensor]]]:
    """The discriminator, which sees crops from some voxel on: the same one for all crops of a step.

    Its sites then lie elsewhere than those of the network that it judges, so that steps between these do not
    pass for texture.
    """
    factor = discriminator.factor
    begin = torch.randint(factor, (3,)).tolist()

    def judge(*parts: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        *volumes, where, remote = parts
        voxels = (..., *(slice(b, b - factor) for b in begin))
        if where is not None:
            where = where[..., :-1, :-1, :-1]  # these change little within a site
        cut = [None if volume is None else volume[voxels] for volume in (*volumes, remote)]
        return discriminator(*cut[:2], where, cut[2])

    return judge


def mean(terms: Iterable[Tensor]) -> Tensor:
    """Mean of losses."""
    return torch.stack(list(terms)).mean()


def _blur(volume: Tensor, factor: int) -> Tensor:
    """Mean over 4 mm, twice."""
    once = F.avg_pool3d(volume, factor, stride=1)
    return F.avg_pool3d(once, factor, stride=1)


def _high(volume: Tensor, factor: int) -> Tensor:
    """Mean square of what a mean over 8 mm takes away."""
    size = 2 * factor
    smooth = F.interpolate(F.avg_pool3d(volume, size), scale_factor=size, mode='trilinear')
    return (volume - smooth).detach().square().mean()


def _batch(
    examples: list[Sharpening],
    centres: list[np.ndarray],
    rng: np.random.Generator,
    config: DetailTraining,
    refiner: Refiner,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Crops (B, 1, e, e, e) of scans, of the same decoded, of where to compare, places of their sites, and
    the distance from the brain.

    Half are mirrored.
    """
    factor, stride = refiner.factor, refiner.stride
    edge = config.crop * factor
    crops, wheres, remotes = [], [], []
    for _ in range(config.batch):
        which = int(rng.integers(len(examples)))
        example = examples[which]
        centre = centres[which][int(rng.integers(len(centres[which])))]
        last = (np.array(example.real.shape) - edge) // factor
        start = np.clip((centre - edge // 2) // factor, 0, last) // stride * stride
        box = tuple(slice(s * factor, s * factor + edge) for s in start)
        real, blurred, valid = (a[box] for a in (example.real, example.blurred, example.valid))
        brighter = rng.uniform(0.9, 1.1)
        crop = np.stack([brighter * np.where(valid, real, blurred), brighter * blurred, valid])
        flip = rng.random() < 0.5
        crops.append(crop[:, ::-1] if flip else crop)
        if example.remote is not None:
            remotes.append(example.remote[box][::-1] if flip else example.remote[box])
        if example.where is not None:
            sites = example.where[(slice(None), *(slice(s, s + config.crop) for s in start))]
            wheres.append(sites[:, ::-1] * _MIRROR if flip else sites)
    batch = torch.from_numpy(np.stack(crops).astype(np.float32))[:, :, None]
    where = torch.from_numpy(np.stack(wheres).astype(np.float32)) if wheres else None
    remote = torch.from_numpy(np.stack(remotes).astype(np.float32))[:, None] if remotes else None
    return batch[:, 0], batch[:, 1], batch[:, 2] > 0.5, where, remote


_MIRROR = np.array([-1, 1, 1], np.float16).reshape(3, 1, 1, 1)
