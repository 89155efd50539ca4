"""Remodelling: from nothing but brain codes to the codes of a head.

Test time of the paper (arXiv 2310.15778, Figure 4): starting from a random code the masked autoencoder
refines its estimate. The original head is not an input of any function here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cpmae_bids.models.mae import MAE, Stage
from cpmae_bids.models.mixture import Mixture
from cpmae_bids.models.shape_stage import ShapeStage
from cpmae_bids.models.vqvae import VQVAE

SHAPE_TEMPERATURE = 1.7
"""Of the codes of shape. At 1 faces differ less than real ones: 64 components leave a fifth of their variance
out, and codes that are drawn in one round do not know of each other. docs/model.md has the trials."""


@torch.no_grad()
def refine(
    stage: Stage,
    context: Tensor | None,
    brain: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Tensor:
    """Codes of one level, by `steps` rounds of prediction and renewed doubt.

    Every round draws all unknown codes at once and keeps some of them; how many stay unknown falls along a
    quarter of a cosine. Which are kept is left to chance: to keep those of which the model is surest, as is
    usual (Chang et al., CVPR 2022, section 3.3), makes all heads alike, since the surest shapes lie near the
    mean, and too dark by a tenth, since the surest codes are the most frequent ones and these are dark.
    Random numbers are drawn on the CPU, so that devices agree.

    Parameters
    ----------
    stage : Stage
    context, brain : Tensor
        See `Stage.forward`; a batch of any size.
    steps : int
        Rounds, at least 1.
    generator : torch.Generator
        On the CPU.
    temperature : float
        Divides the logits.

    Returns
    -------
    codes : Tensor of int64, shape (B, g, g, g)
    """
    batch, device = len(brain), brain.device
    shape = (batch, len(stage.live), stage.members)
    codes = torch.full(shape, stage.unknown, device=device)
    for step in range(steps):
        unknown = codes == stage.unknown
        share = unknown.flatten(1).float().mean(1)
        logits = stage(codes, context, brain, share).float() / temperature
        uniform = torch.rand(*logits.shape, generator=generator).clamp_(1e-9, 1 - 1e-7)
        drawn = (logits - torch.log(-torch.log(uniform)).to(device)).argmax(-1)
        codes = torch.where(unknown, drawn, codes)
        doubtful = int(math.cos(math.pi / 2 * (step + 1) / steps) * shape[1] * shape[2] + 1e-6)
        if doubtful:
            lot = torch.rand(shape, generator=generator).to(device).masked_fill(~unknown, math.inf)
            order = lot.flatten(1).argsort(1)[:, :doubtful]
            codes = codes.flatten(1).scatter(1, order, stage.unknown).view(shape)
    return stage.scatter(codes)


def steps_per_stage(steps: int, stages: int) -> list[int]:
    """Rounds of each stage: all of `steps` at the first, fewer where less is left to choose."""
    return [max(1, round(steps * 0.6**stage)) for stage in range(stages)]


@torch.no_grad()
def remodel(
    mae: MAE, head: VQVAE, brain: VQVAE, brain_codes: list[Tensor], *, seed: int, steps: int = 12
) -> list[Tensor]:
    """Codes of a new head around a brain.

    Parameters
    ----------
    mae : MAE
    head, brain : VQVAE
        Give meaning to codes; nothing of an original head enters.
    brain_codes : list of Tensor of int64, shape (B, g, g, g) each
    seed : int
        The same seed and brain give the same head.
    steps : int
        Rounds of refinement at the coarsest level.

    Returns
    -------
    head_codes : list of Tensor of int64, shape (B, g, g, g) each
    """
    generator = torch.Generator().manual_seed(seed)
    return complete(mae, head, brain.latent_of(brain_codes), [], generator=generator, steps=steps)


@torch.no_grad()
def complete(
    mae: MAE,
    head: VQVAE,
    condition: Tensor,
    codes: list[Tensor],
    *,
    generator: torch.Generator,
    steps: int = 12,
) -> list[Tensor]:
    """Draw the integer volumes that are missing; `codes` holds the coarser ones, none of them in `remodel`.

    Volumes that are drawn together are known together.

    Parameters
    ----------
    mae : MAE
    head : VQVAE
    condition : Tensor, shape (B, brain_latent, 32, 32, 32)
        Latent volume of the brain.
    codes : list of Tensor of int64, shape (B, g, g, g) each
    generator : torch.Generator
        On the CPU.
    steps : int
        See `remodel`.

    Returns
    -------
    head_codes : list of Tensor of int64, shape (B, g, g, g) each

    Raises
    ------
    ValueError
        If some of the volumes are known that are drawn together, and others are not.
    """
    codes = list(codes)
    if len(codes) not in (*mae.firsts, head.volumes):
        raise ValueError(f'{len(codes)} known volumes end within those that are drawn together')
    rounds = steps_per_stage(steps, len(mae.stages))
    for stage, first, most in zip(mae.stages, mae.firsts, rounds, strict=True):
        if first < len(codes):
            continue
        if isinstance(stage, Mixture):
            latent = stage.draw(len(condition), generator)
            codes += head.quantize(latent).codes[: stage.volumes]
        else:
            context = head.latent_of(codes)
            temperature = SHAPE_TEMPERATURE if isinstance(stage, ShapeStage) else 1.0
            codes.append(
                refine(stage, context, condition, steps=most, generator=generator, temperature=temperature)
            )
    return codes
