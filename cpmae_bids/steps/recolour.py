"""Give a generated head another contrast. No file of an original is an input but a table of intensities."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cpmae_bids.deid import contrast, cubes


def recolour(generated: Path, table: Path, head: Path, seed: int) -> None:
    """Write a generated head in another contrast.

    Parameters
    ----------
    generated : Path
        ``.npz``, (n, n, n): generated head in the cube, as a T1w.
    table : Path
        From the contrast step.
    head : Path
        To write, ``.npz``: float16 (n, n, n), in units of the brain scale of the contrast.
    seed : int
        Of what a T1w intensity leaves open.
    """
    cubes.write(head, head=contrast.apply(cubes.read(generated, 'head'), np.load(table), seed))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ('generated', 'table', 'head'):
        parser.add_argument(f'--{name}', type=Path, required=True)
    parser.add_argument('--seed', type=int, required=True)


def main(args: argparse.Namespace) -> None:
    recolour(**vars(args))
