"""Decode head codes into a head in the cube."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpmae_bids.deid import codes as code_files
from cpmae_bids.deid import cubes, geometry, intensity, shading, skin, tone


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
    """Write the head that codes stand for, with detail that they cannot say.

    Parameters
    ----------
    head_codes : Path
    conformed : Path
        ``.npz`` of the brain in the cube, as the conform step writes it: the skull follows the brain.
    head : Path
        To write, ``.npz``: float16 (256, 256, 256), axes x to the right, y to the front, z up; white matter
        is about 1.
    preset : {'128', '256'}
        Voxels along an edge of the cube in which detail is drawn. The skin has 1 mm in any case.
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
    import numpy as np
    import torch
    from torch.nn.functional import adaptive_avg_pool3d

    from cpmae_bids.models.drawing import draw
    from cpmae_bids.models.weights import load_model, resolve_weights

    levels = [torch.from_numpy(level).long()[None].to(device) for level in code_files.read(head_codes)]
    inside = torch.from_numpy(cubes.read(conformed, 'brain').astype(np.float32))[None, None].to(device)
    inside, brain = (
        adaptive_avg_pool3d(part, geometry.PRESETS['128']) for part in (inside, (inside > 0).float())
    )
    brain = (brain >= 0.5).float()
    gain = shading.draw((inside * brain)[0, 0].cpu().numpy(), np.random.default_rng(seed))
    found = resolve_weights(weights)
    drawn = draw(
        load_model(found, 'head', device),
        load_model(found, 'detail', device),
        levels,
        brain,
        seed=seed,
        millimetre=geometry.PRESETS[preset] == 256,
    )
    decoded, mean, detailed = (part[0, 0].cpu().numpy() for part in drawn)
    surface = skin.find(decoded, mean)
    detailed = detailed.clip(0, intensity.CEILING, out=detailed)
    toned = tone.correct(detailed, brain[0, 0].cpu().numpy() > 0)
    cubes.write(head, head=shading.apply(skin.cover(toned, surface), gain))


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
