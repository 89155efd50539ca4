"""Encode brain or head into integer volumes with its VQ-VAE."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpmae_bids.deid.images import codes as code_files
from cpmae_bids.deid.images import cubes


def encode(
    conformed: Path, codes: Path, which: str, *, weights: Path | None = None, device: str = 'cpu'
) -> None:
    """Write the codes of a brain or a head on the template grid.

    Parameters
    ----------
    conformed : Path
        ``.npz`` with an array named `which`, float16 (n, n, n), as the conform step writes it; for a head
        ``brain`` and ``seen`` as well.
    codes : Path
        To write, ``.npz``: ``level0``, ``level1``, ...; int16, coarse to fine.
    which : {'brain', 'head'}
    weights : Path, optional
        Folder of weights; see `cpmae_bids.models.weights.resolve_weights`.
    device : str

    Raises
    ------
    InputError
        If `conformed` cannot be read.
    WeightsError
        If the weights cannot be used.
    """
    import torch

    from cpmae_bids.models.weights import load_model, resolve_weights

    volume = cubes.read(conformed, which).astype('float32')
    found = resolve_weights(weights)
    if which == 'head':
        masks = (cubes.read(conformed, name) for name in ('brain', 'seen'))
        levels = load_model(found, 'head').encode(volume, *masks)
    else:
        levels = load_model(found, 'brain', device).encode(torch.from_numpy(volume)[None, None].to(device))
    code_files.write(codes, [level[0].cpu().numpy() for level in levels])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--conformed', type=Path, required=True)
    parser.add_argument('--codes', type=Path, required=True)
    parser.add_argument('--which', choices=('brain', 'head'), required=True)
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--device', default='cpu')


def main(args: argparse.Namespace) -> None:
    encode(args.conformed, args.codes, args.which, weights=args.weights, device=args.device)
