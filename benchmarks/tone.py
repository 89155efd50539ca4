"""How dark and how bright are drawn heads, and the same heads as scanned?

    python -m benchmarks.tone PREPARED [--every 11]

PREPARED is the file of ``cpmae-bids-train prepare --cubic`` at 2 mm. Heads are drawn around the brains of its
training heads, before their tones are corrected; voxels deeper than some 6 mm beneath the skin are compared.
The quantiles are those of `cpmae_bids.deid.tone`; they go to ``results/tone.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.drawn import draw_heads
from benchmarks.scans import write_result
from cpmae_bids.deid import skin

FIRST = 3
"""First head that is taken: heads are sorted by name."""

DEPTH = 3
"""Voxels of 2 mm beneath the skin from which on heads are compared."""

TENTHS = np.linspace(0.1, 0.9, 9)


def main(argv: list[str] | None = None) -> None:
    """Compare drawn and scanned heads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--every', type=int, default=11, help='one of so many heads')
    args = parser.parse_args(argv)

    scanned, drawn = [], []
    for one in draw_heads(args.prepared, FIRST, args.every):
        outside = one.head.fov & ~ndimage.binary_dilation(one.head.brain, np.ones((3, 3, 3)))
        scanned.append(np.quantile(one.scanned[_deep(one.own_skin) & outside], TENTHS))
        drawn.append(np.quantile(one.drawn[_deep(one.skin) & outside], TENTHS))
    numbers = {
        'heads': len(drawn),
        'quantiles': TENTHS.round(1).tolist(),
        'drawn': np.mean(drawn, 0).round(3).tolist(),
        'scanned': np.mean(scanned, 0).round(3).tolist(),
    }
    print(numbers)
    print(write_result('tone', numbers))


def _deep(surface: skin.Skin) -> np.ndarray:
    """Where a head is deep to its skin."""
    return ndimage.binary_erosion(surface.inside > 0.5, iterations=DEPTH)


if __name__ == '__main__':
    main()
