"""Learn how another contrast looks where the T1w scan looks so and so."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cpmae_bids.deid.images import cubes
from cpmae_bids.deid.synthesis import contrast
from cpmae_bids.exceptions import InputError


def learn(image: Path, t1w_head: Path, head: Path, table: Path) -> None:
    """Write the table of a contrast; see `cpmae_bids.deid.synthesis.contrast.learn`.

    Parameters
    ----------
    image : Path
        The scan of that contrast, for the name in messages.
    t1w_head, head : Path
        Heads of the T1w scan and of the scan on the template grid, ``.npz`` as the conform step writes them.
    table : Path
        To write, ``.npy``: float32 (11, 3).

    Raises
    ------
    InputError
        If the scans have too little of a head in common.
    """
    t1w, other = (cubes.read(path, 'head') for path in (t1w_head, head))
    where = np.logical_and.reduce(
        [cubes.read(path, 'seen') & ~cubes.read(path, 'brain') for path in (t1w_head, head)]
    )
    try:
        np.save(table, contrast.learn(t1w, other, where))
    except InputError as error:
        raise InputError(f'{image}: {error}') from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ('image', 't1w-head', 'head', 'table'):
        parser.add_argument(f'--{name}', type=Path, required=True)


def main(args: argparse.Namespace) -> None:
    learn(**vars(args))
