"""Training of the masked autoencoder on the codes of the two VQ-VAEs."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from cpmae_bids.models.diffeomorphism import mirror
from cpmae_bids.models.head import HeadVQVAE
from cpmae_bids.models.mae import MAE, MAEConfig, token_of
from cpmae_bids.models.shape import Shape
from cpmae_bids.models.vqvae import VQVAE
from cpmae_bids.training.data import Head
from cpmae_bids.training.loop import Run
from cpmae_bids.training.train_brain import brain_of


@dataclass(frozen=True)
class MAETraining:
    """Settings of `train_mae`."""

    steps: int = 2000
    batch: int = 16
    learning_rate: float = 1e-3  # peak of the schedule (AdamW)
    # width, depth: of the transformer
    width: int = 192
    depth: int = 4
    seed: int = 1


@dataclass(frozen=True)
class Corpus:
    """Training heads and their mirror images as the masked autoencoder sees them."""

    described: Tensor  # shape (N, sites, features)
    seen: Tensor  # bool, shape (N, sites)
    shape: Tensor  # shape (N, M): scores, quantised
    brain: Tensor  # shape (N, brain features)
    validation: Tensor  # bool, shape (N,)


@torch.no_grad()
def brain_latents(heads: list[Head], brain: VQVAE) -> Tensor:
    """Latent volumes of the codes of brains, then of their mirror images; (2 N, latent, 32, 32, 32)."""
    latents = []
    for flip in (False, True):
        for head in tqdm(heads, desc='brain codes', unit='head'):
            volume = brain_of(head)[None]
            latents.append(brain.latent_of(brain.encode(volume.flip(2) if flip else volume)))
    return torch.cat(latents)


def build(
    head: HeadVQVAE, brain: VQVAE, heads: list[Head], beyond: Tensor, donors: list[int], config: MAETraining
) -> tuple[MAE, Corpus]:
    """A masked autoencoder whose closed-form parts are fitted, and what its transformer learns from.

    `beyond`, (N, 3, *FIELD), is the shape of each head (`cpmae_bids.training.train_head.fit_head`), `donors`
    are the heads that are exemplars, in the order of the exemplars.
    """
    bank = head.exemplars
    blocks, _ = token_of(bank.live)
    sizes = {'sites': len(bank.live), 'features': len(bank.basis), 'tokens': len(blocks.unique())}
    sizes |= {'faces': 2 * len(heads), 'brain_latent': brain.config.latent}
    model = MAE(MAEConfig(**sizes, shape=head.config.shape**3, width=config.width, depth=config.depth))
    model.appearance.place(bank.live)
    latents = brain_latents(heads, brain)
    model.brain.fit(brain, latents)
    features = model.brain(latents)
    both = torch.cat([beyond, mirror(beyond)])
    scores = Shape.values(torch.cat([head.shape.encode(field[None]) for field in both]).flatten(1)).float()
    model.shape.fit(scores, features)
    model.plausibility.fit(head.frame, head.shape, scores)
    index = torch.tensor([*donors, *(k + len(heads) for k in donors)])
    held_out = torch.tensor([h.split == 'validation' for h in heads]).repeat(2)
    corpus = Corpus(bank.descriptors(), bank.known(), scores[index], features[index], held_out[index])
    return model, corpus


def explained(model: MAE, corpus: Corpus, rows: Tensor) -> tuple[float, Tensor]:
    """Explained fraction of the variance of masked descriptors, and squared errors by site and feature.

    `rows` are the heads; half of their sites are masked.
    """
    generator = torch.Generator().manual_seed(0)
    stage = model.appearance.eval()
    error, spread = (torch.zeros(corpus.described.shape[1:]) for _ in range(2))
    count = torch.zeros(corpus.described.shape[1])
    with torch.no_grad():
        for row in rows.tolist():
            seen = corpus.seen[row]
            known = seen & (torch.rand(len(seen), generator=generator) >= 0.5)
            truth, shape, brain = corpus.described[row], corpus.shape[row], corpus.brain[row]
            guess = stage(truth[None], known[None], shape[None], brain[None])[0]
            asked = (seen & ~known)[:, None].float()
            error += (guess - truth).square() * asked
            spread += truth.square() * asked
            count += asked[:, 0]
    return float(1 - error.sum() / spread.sum()), error / count.clamp_min(1)[:, None]


def train_mae(
    model: MAE, corpus: Corpus, folder: Path, config: MAETraining, *, time_budget: float | None = None
) -> MAE:
    """Train the transformer; a second call with the same folder resumes."""
    stage = model.appearance
    optimizer = torch.optim.AdamW(stage.parameters(), lr=config.learning_rate, weight_decay=0.05)
    run = Run(folder, model, optimizer, seed=config.seed, time_budget=time_budget)
    run.resume()
    train, held_out = (~corpus.validation).nonzero()[:, 0], corpus.validation.nonzero()[:, 0]
    for step in run.scheduled(config.steps, config.learning_rate):
        rows = train[torch.from_numpy(run.rng().integers(len(train), size=config.batch))]
        loss = _loss(stage.train(), corpus, rows, train)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99 or step == config.steps - 1:
            share = explained(model, corpus, held_out)[0] if len(held_out) else float('nan')
            run.log(step=step + 1, loss=loss.item(), explained=share)
    rows = held_out if len(held_out) else train
    error = explained(model, corpus, rows)[1]
    # few heads are held out: single sites are drawn towards the mean of all
    stage.variance.copy_(0.5 * error + 0.5 * error.mean(0))
    return model.eval()


def _loss(stage, corpus: Corpus, rows: Tensor, train: Tensor) -> Tensor:
    """Squared error at sites that are masked, or that show another head's patch, as in drawn heads."""
    truth, seen = corpus.described[rows], corpus.seen[rows]
    count, sites = seen.shape
    share = torch.rand(count, 1) ** 0.7
    known = seen & (torch.rand(count, sites) >= share)
    wrong = torch.rand(count, sites) < (torch.rand(count, 1) - 0.4).clamp_min(0)
    others = train[torch.randint(len(train), (count, sites))]
    strange = corpus.described[others, torch.arange(sites)]
    shown = torch.where(wrong[..., None], strange, truth)
    guess = stage(shown, known, corpus.shape[rows], corpus.brain[rows])
    asked = (seen & (~known | wrong))[..., None].float()
    return ((guess - truth).square() * asked).sum() / (asked.sum() * truth.shape[-1]).clamp_min(1)
