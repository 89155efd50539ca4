"""Remodel: brain codes and a seed in, the codes of a new head out. The original head is no input."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpmae_bids.deid.images import codes as code_files


def remodel(
    brain_codes: Path,
    head_codes: Path,
    *,
    seed: int,
    steps: int,
    weights: Path | None = None,
    device: str = 'cpu',
) -> None:
    """Write the codes of a new head around a brain.

    Parameters
    ----------
    brain_codes : Path
        Codes of the brain, from the encode step.
    head_codes : Path
        To write.
    seed : int
        Seed of the scan.
    steps : int
        Rounds of refinement.
    weights : Path, optional
    device : str

    Raises
    ------
    InputError
        If the codes cannot be read.
    WeightsError
        If the weights cannot be used.
    """
    import torch

    from cpmae_bids.models.sampling import remodel as sample
    from cpmae_bids.models.weights import load_model, resolve_weights

    condition = [torch.from_numpy(level).long()[None] for level in code_files.read(brain_codes)]
    found = resolve_weights(weights)
    mae, head, brain = (load_model(found, name) for name in ('mae', 'head', 'brain'))
    levels = sample(mae, head, brain, condition, seed=seed, steps=steps)
    code_files.write(head_codes, [level[0].cpu().numpy() for level in levels])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--brain-codes', type=Path, required=True)
    parser.add_argument('--head-codes', type=Path, required=True)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--steps', type=int, required=True)
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--device', default='cpu')


def main(args: argparse.Namespace) -> None:
    remodel(
        args.brain_codes,
        args.head_codes,
        seed=args.seed,
        steps=args.steps,
        weights=args.weights,
        device=args.device,
    )
