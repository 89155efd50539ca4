"""Decode head codes into a head on the template grid."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpmae_bids.deid.images import codes as code_files
from cpmae_bids.deid.images import cubes, intensity
from cpmae_bids.deid.space import geometry


def decode(
    head_codes: Path,
    conformed: Path,
    head: Path,
    preset: str,
    *,
    seed: int,
    weights: Path | None = None,
    device: str = 'cpu',
) -> None:
    """Write the head that codes stand for, around a brain.

    Parameters
    ----------
    head_codes : Path
    conformed : Path
        ``.npz`` of the brain on the template grid, as the conform step writes it: the skull follows the
        brain.
    head : Path
        To write, ``.npz``: float16 (256, 256, 256), axes x to the right, y to the front, z up; white matter
        is about 1.
    preset : {'128', '256'}
        Whether detail is drawn at 2 mm or 1 mm.
    seed : int
        Of the detail.
    weights : Path, optional
    device : str

    Raises
    ------
    InputError
        If the codes or the brain cannot be read.
    WeightsError
        If the weights cannot be used.
    """
    import torch

    from cpmae_bids.models.drawing import draw
    from cpmae_bids.models.weights import load_model, resolve_weights

    levels = [torch.from_numpy(level).long()[None] for level in code_files.read(head_codes)]
    inside = cubes.read(conformed, 'brain') > 0
    brain = geometry.pool(inside, len(inside) // geometry.PRESETS['128']) >= 0.5
    found = resolve_weights(weights)
    drawn = draw(
        load_model(found, 'head'),
        load_model(found, 'superresolution', device),
        levels,
        brain,
        seed=seed,
        millimetre=geometry.PRESETS[preset] == 256,
    )[0, 0].numpy()
    cubes.write(head, head=drawn.clip(0, intensity.CEILING))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ('--head-codes', '--conformed', '--head'):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--preset', choices=sorted(geometry.PRESETS), required=True)
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--device', default='cpu')


def main(args: argparse.Namespace) -> None:
    decode(
        args.head_codes,
        args.conformed,
        args.head,
        args.preset,
        seed=args.seed,
        weights=args.weights,
        device=args.device,
    )
