"""Training of the masked autoencoder on the codes of the two VQ-VAEs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from cpmae_bids.exceptions import UsageError, WeightsError
from cpmae_bids.models.mae import MAE, TOKENS, MAEConfig, Stage, degrade, group
from cpmae_bids.models.mixture import Mixture
from cpmae_bids.models.sampling import remodel
from cpmae_bids.models.shape import Shape
from cpmae_bids.models.shape_stage import ShapeStage
from cpmae_bids.models.vqvae import VQVAE
from cpmae_bids.models.weights import load_model, read_registry
from cpmae_bids.training.data import read_prepared
from cpmae_bids.training.loop import Run, cosine, pick_device, saved_model, start_from
from cpmae_bids.training.preview import write_preview
from cpmae_bids.training.tokens import corpus, find_shapes, make_tokens

Tokens = dict[str, Tensor]

SMOOTHING = 5.0
"""Heads that the frequencies over all sites count for, at each site."""


@dataclass(frozen=True)
class MAETraining:
    """Settings of `train_mae`.

    Attributes
    ----------
    steps : int
        Optimiser steps, shared among the levels by `turns`.
    together : int
        Levels, from the coarsest on, that are drawn together; they are fitted in closed form.
    turns : tuple of int
        How often each stage takes a step, per round: the shape, then each level; those that are drawn
        together take none.
    batches : tuple of int
        Heads per step of each of them.
    learning_rate : float
        Peak of the schedule (AdamW).
    tokens : int
        Augmented heads to encode beforehand.
    widths, depths : tuple of int
        Of the levels; see `MAEConfig`.
    shape_width, shape_depth : int
        See `MAEConfig`.
    components : int
        Of the mixture that levels are drawn from together.
    label_smoothing : float
    seed : int
    """

    steps: int = 6000
    together: int = 0
    turns: tuple[int, ...] = (2, 3, 3, 2, 2)
    batches: tuple[int, ...] = (32, 16, 16, 8, 4)
    learning_rate: float = 1e-3
    tokens: int = 1000
    widths: tuple[int, ...] = (256, 256, 256, 256)
    depths: tuple[int, ...] = (4, 4, 4, 4)
    shape_width: int = 128
    shape_depth: int = 3
    components: int = 96
    label_smoothing: float = 0.02
    seed: int = 1


def live_tokens(codes: Tensor, grid: int, rare: float = 0.03) -> tuple[Tensor, Tensor]:
    """Tokens that are not always the same, and the most frequent code of every site.

    Parameters
    ----------
    codes : Tensor of int16, shape (N, g, g, g)
    grid : int
        Grid of the level.
    rare : float
        A site that differs from its most frequent code in a smaller share of heads is taken as constant.

    Returns
    -------
    live : Tensor of int64, shape (M,)
        Flat indices of tokens.
    resting : Tensor of int64, shape (tokens^3, members)
        Most frequent code.
    """
    rows = group(codes[:, None], min(grid, TOKENS))
    resting = rows.mode(0).values
    changing = (rows != resting).float().mean(0).amax(-1) > rare
    return changing.nonzero()[:, 0], resting.long()


def build(
    tokens: Tokens,
    head: VQVAE,
    brain: VQVAE,
    config: MAETraining,
    state: dict[str, Tensor] | None = None,
) -> MAE:
    """A fresh masked autoencoder for the given codes; live tokens as in `state` where training goes on.

    Parameters
    ----------
    tokens : Tokens
        Varied heads: they tell which sites ever change, and how often each code is seen there.
    head, brain : VQVAE
    config : MAETraining
    state : dict of Tensor, optional
    """
    first = head.shape is not None
    levels = range(config.together, len(head.levels))
    stages = {level: first + bool(config.together) + level - config.together for level in levels}
    found = [(torch.zeros(0), torch.zeros(0))] * config.together
    for level, stage in stages.items():
        if state is None:
            found.append(live_tokens(tokens[f'head{first + level}'], head.config.grids[level]))
        else:
            found.append((state[f'stages.{stage}.live'], state[f'stages.{stage}.resting']))
    shape = MAEConfig(
        grids=head.config.grids,
        dims=head.config.dims,
        codebook=head.config.codebook,
        latent=head.config.latent,
        brain_latent=brain.config.latent,
        widths=config.widths,
        depths=config.depths,
        live=tuple(len(live) for live, _ in found),
        shape=head.config.shape,
        shape_width=config.shape_width,
        shape_depth=config.shape_depth,
        together=config.together,
        mixed_components=config.components,
    )
    if state is not None and config.together:
        shape = replace(shape, mixed_sites=len(state[f'stages.{int(first)}.live']))
    mae = MAE(shape)
    for level, number in stages.items():
        stage, (live, resting) = mae.stages[number], found[level]
        stage.live.copy_(live)
        stage.resting.copy_(resting)
        if state is None:
            seen = stage.gather(tokens[f'head{first + level}'].long())
            entries = head.levels[level].codebook.entries.cpu()
            stage.know_codes(entries, site_frequencies(seen, stage.codes))
    return mae


@torch.no_grad()
def fit_shape_stage(stage: ShapeStage, plain: Tokens, head: VQVAE, brain: VQVAE) -> None:
    """Fit how shape follows the brain, in closed form; see `ShapeStage.fit`.

    Parameters
    ----------
    stage : ShapeStage
        On the CPU.
    plain : Tokens
        The heads as they are, and their mirror images.
    head, brain : VQVAE
    """
    stage.know_brains(brain)
    conditions = Conditions(plain, head, brain)
    count = len(plain['head0'])
    occupancy = [
        stage.occupancy(conditions.brain_latent(torch.arange(start, min(start + 8, count))).cpu())
        for start in range(0, count, 8)
    ]
    stage.fit(Shape.values(plain['head0'].flatten(1).float()), torch.cat(occupancy))


@torch.no_grad()
def fit_mixture(mae: MAE, plain: Tokens, head: VQVAE, brain: VQVAE) -> None:
    """Fit what draws levels together, in closed form; see `Mixture.fit`.

    Parameters
    ----------
    mae : MAE
        On the CPU.
    plain : Tokens
        The heads as they are, and their mirror images.
    head, brain : VQVAE
    """
    conditions = Conditions(plain, head, brain)
    for stage, first in zip(mae.stages, mae.firsts, strict=True):
        if isinstance(stage, Mixture):
            rows = torch.arange(len(plain['head0'])).split(8)
            codes = (conditions.codes('head', first + stage.volumes, some) for some in rows)
            stage.fit(torch.cat([head.latent_of(some).half().cpu() for some in codes]))
            mae.config = replace(mae.config, mixed_sites=len(stage.live))


class Conditions:
    """What a stage sees besides its own codes, from cached codes.

    Parameters
    ----------
    tokens : Tokens
    head, brain : VQVAE
    """

    def __init__(self, tokens: Tokens, head: VQVAE, brain: VQVAE):
        self.tokens, self.head, self.brain = tokens, head, brain
        self.device = head.mean.device

    def codes(self, name: str, levels: int, index: Tensor) -> list[Tensor]:
        """Codes of some heads, (B, g, g, g) int64 per level."""
        return [self.tokens[f'{name}{level}'][index].long().to(self.device) for level in range(levels)]

    @torch.no_grad()
    def of(self, stage: Stage, level: int, index: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Codes of live tokens, latent volume of the coarser levels, latent volume of the brain."""
        codes = self.codes('head', level + 1, index)
        return stage.gather(codes[level]), self.head.latent_of(codes[:level]), self.brain_latent(index)

    @torch.no_grad()
    def brain_latent(self, index: Tensor) -> Tensor:
        """Latent volumes of the brains of some heads."""
        return self.brain.latent_of(self.codes('brain', self.brain.volumes, index))


def masked_loss(logits: Tensor, codes: Tensor, corrupted: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy (nats) over corrupted codes."""
    return F.cross_entropy(logits[corrupted], codes[corrupted], label_smoothing=smoothing)


def trained(mae: MAE, levels: Iterable[int] | None = None) -> list[tuple[int, Stage | ShapeStage]]:
    """Stages that learn by steps, of all or of some integer volumes, with the number of their volume."""
    pairs = zip(mae.firsts, mae.stages, strict=True)
    learn = [(first, stage) for first, stage in pairs if not isinstance(stage, Mixture)]
    return [(first, stage) for first, stage in learn if levels is None or first in levels]


@torch.no_grad()
def validate(mae: MAE, conditions: Conditions, training: Tokens, levels=None) -> dict[int, dict]:
    """Validation cross-entropy (nats per code) with all, half and a tenth of the sites masked, per level.

    Beside it the loss of a unigram, which knows the frequencies of codes at every site and nothing else:
    context helps where the loss lies below.
    """
    mae.eval()
    count = len(next(iter(conditions.tokens.values())))
    results = {}
    for level, stage in trained(mae, levels):
        losses: dict[str, list[float]] = {'1': [], '0.5': [], '0.1': []}
        generator = torch.Generator().manual_seed(0)
        for start in range(0, count, 4):
            index = torch.arange(start, min(start + 4, count))
            codes, context, brain = conditions.of(stage, level, index)
            for name in losses:
                share = torch.full((len(index),), float(name), device=codes.device)
                rank = torch.rand(codes.shape, generator=generator).to(codes.device).argsort(1).argsort(1)
                corrupted = rank < share[:, None, None] * codes.shape[1]
                logits = stage(codes.masked_fill(corrupted, stage.unknown), context, brain, share)
                losses[name].append(float(masked_loss(logits, codes, corrupted)))
        unigram = unigram_loss(training[f'head{level}'], conditions.tokens[f'head{level}'], stage)
        results[level] = {name: round(float(np.mean(v)), 4) for name, v in losses.items()}
        results[level]['unigram'] = round(unigram, 4)
    mae.train()
    return results


def write_samples(path: Path, mae: MAE, conditions: Conditions, count: int = 3) -> None:
    """Write slices of heads generated around brains that were left out of training."""
    mae.eval()
    brains = conditions.codes('brain', conditions.brain.volumes, torch.arange(count))
    codes = remodel(mae, conditions.head, conditions.brain, brains, seed=0)
    write_preview(path, list(conditions.head.decode(codes)[:, 0].float().cpu().numpy()))
    mae.train()


def site_frequencies(seen: Tensor, codebook: int) -> Tensor:
    """Frequency of every code at every site, smoothed towards that over all sites.

    Parameters
    ----------
    seen : Tensor of int64, shape (N, M, members)
        Codes of N heads.
    codebook : int

    Returns
    -------
    frequencies : Tensor of float32, shape (M, members, codebook)
        Positive; they add up to 1.
    """
    heads, tokens, members = seen.shape
    counts = torch.zeros(tokens * members, codebook)
    flat = seen.flatten(1).T
    counts.scatter_add_(1, flat, torch.ones(flat.shape))
    overall = counts.sum(0) + 1
    frequencies = (counts + SMOOTHING * overall / overall.sum()) / (heads + SMOOTHING)
    return frequencies.view(tokens, members, codebook)


def unigram_loss(training: Tensor, validation: Tensor, stage: Stage) -> float:
    """Cross-entropy (nats per code) of the frequencies of codes at each site."""
    frequencies = site_frequencies(stage.gather(training.long()), stage.codes)
    wanted = stage.gather(validation.long())
    found = frequencies.expand(len(wanted), -1, -1, -1).gather(-1, wanted[..., None])
    return -float(found.log().mean())


def train_mae(
    tokens: Tokens,
    plain: Tokens,
    validation: Tokens,
    head: VQVAE,
    brain: VQVAE,
    folder: Path,
    config: MAETraining,
    *,
    device: str = 'auto',
    time_budget: float | None = None,
    levels: tuple[int, ...] | None = None,
    start: MAE | None = None,
) -> MAE:
    """Train the masked autoencoder.

    Parameters
    ----------
    tokens, plain, validation : Tokens
        Codes (see `cpmae_bids.training.tokens`) to learn from, of these heads unvaried, and to validate on.
    head, brain : VQVAE
        The models that made the codes.
    folder : Path
        Checkpoint and log; a second call goes on from there.
    config : MAETraining
    device : str
    time_budget : float, optional
        Seconds.
    levels : tuple of int, optional
        Train these levels only; levels are independent of each other, so several machines can share them.
    start : MAE, optional
        Start from this model instead of a unigram.

    Returns
    -------
    mae : MAE
    """
    device = pick_device(device)
    head, brain = (model.to(device).eval().requires_grad_(False) for model in (head, brain))
    torch.manual_seed(config.seed)
    saved = saved_model(folder)
    state = saved if saved is not None or start is None else start.state_dict()
    mae = build(tokens, head, brain, config, state)
    if saved is None:
        if start is not None:
            start_from(mae, start)
        if isinstance(mae.stages[0], ShapeStage):  # of these heads, whatever it started from
            fit_shape_stage(mae.stages[0], plain, head, brain)
        fit_mixture(mae, plain, head, brain)
    mae.to(device)
    conditions, held_out = Conditions(tokens, head, brain), Conditions(validation, head, brain)
    optimizer = torch.optim.AdamW(
        mae.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.02
    )
    run = Run(folder, mae, optimizer, seed=config.seed, time_budget=time_budget)
    run.resume()
    chosen = dict(trained(mae, levels))
    order = [level for level in chosen for _ in range(config.turns[level])]
    autocast = torch.autocast('cuda', dtype=torch.bfloat16, enabled=device.type == 'cuda')
    steps = config.steps if order else 0  # what was fitted needs none
    count = len(next(iter(tokens.values())))
    running: dict[int, float] = {}
    with (run.folder / 'log.jsonl').open('a', encoding='utf-8') as log:
        bar = tqdm(run.steps(steps), initial=run.step, total=steps, desc='MAE')
        for step in bar:
            for group_ in optimizer.param_groups:
                group_['lr'] = cosine(step, config.steps, peak=config.learning_rate, warmup=50)
            level = order[step % len(order)]
            stage, rng = chosen[level], run.rng()
            index = torch.from_numpy(rng.choice(count, config.batches[level], replace=False))
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            codes, context, brain_latent = conditions.of(stage, level, index)
            # cosine schedule: most of the practice is with much unknown, as when a head is made from nothing
            share = torch.cos(math.pi / 2 * torch.rand(len(index), generator=generator)).to(device)
            degraded, corrupted = degrade(codes, share, stage.unknown, generator=generator)
            with autocast:
                logits = stage(degraded, context, brain_latent, share)
                loss = masked_loss(logits.float(), codes, corrupted, config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
            optimizer.step()
            running[level] = 0.98 * running.get(level, loss.item()) + 0.02 * loss.item()
            if step % 50 == 0:
                bar.set_postfix({f'L{k}': f'{v:.2f}' for k, v in sorted(running.items())})
                log.write(
                    json.dumps({'step': step, 'loss': {k: round(v, 4) for k, v in running.items()}}) + '\n'
                )
            if step % 300 == 299:
                log.write(
                    json.dumps({'step': step, 'validation': validate(mae, held_out, tokens, chosen)}) + '\n'
                )
                log.flush()
                write_samples(folder / 'preview.png', mae, held_out)
        log.write(
            json.dumps({'step': run.step, 'validation': validate(mae, held_out, tokens, chosen)}) + '\n'
        )
    write_samples(folder / 'preview.png', mae, held_out)
    return mae


def keep_other_levels(mae: MAE, weights: Path, levels: list[int]) -> None:
    """Take the levels that were not trained from the weights in a folder, where they have the same shape.

    Levels do not depend on each other: two machines can train some each, one after the other writing its own.
    """
    try:
        former = load_model(read_registry(weights, ('mae',)), 'mae')
    except WeightsError:
        return
    if former.config == mae.config:
        for number, first in enumerate(mae.firsts):
            if first not in levels:
                mae.stages[number] = former.stages[number]


def run_mae(
    prepared: Path,
    weights: Path,
    folder: Path,
    config: MAETraining,
    *,
    device: str = 'auto',
    time_budget: float | None = None,
    levels: tuple[int, ...] | None = None,
    start: MAE | None = None,
) -> MAE:
    """Encode the heads of a prepared file with trained VQ-VAEs, then `train_mae` on the codes.

    Parameters
    ----------
    prepared : Path
        Prepared file at 2 mm.
    weights : Path
        Folder of weights with the two VQ-VAEs.
    folder : Path
        Codes, checkpoint and log.
    config, device, time_budget, levels, start
        See `train_mae`.
    """
    started = time.monotonic()
    found = read_registry(weights)
    head, brain = (load_model(found, name, str(pick_device(device))) for name in ('head', 'brain'))
    if head.shape is None:
        raise UsageError(
            f'{weights}: its VQ-VAE of heads has no shape codes: train it with shape > 0 in [head.model]'
        )
    heads = read_prepared(prepared)
    # other encoders or codebooks give other codes; a better decoder changes nothing
    cache = folder / f'tokens-{head.code_hash()}-{brain.code_hash()}'
    cache.mkdir(parents=True, exist_ok=True)
    displacements = find_shapes(head, heads, cache / 'displacements.safetensors')
    corpora = {split: corpus(heads, displacements, head, split) for split in ('train', 'validation')}
    tokens = make_tokens(corpora['train'], head, brain, cache, config.tokens, seed=config.seed)
    plain = corpora['train'].encode_plain(head, brain, mirrored=True)
    validation = corpora['validation'].encode_plain(head, brain)
    if time_budget is not None:
        time_budget -= time.monotonic() - started
    return train_mae(
        tokens,
        plain,
        validation,
        head,
        brain,
        folder,
        config,
        device=device,
        time_budget=time_budget,
        levels=levels,
        start=start,
    )
