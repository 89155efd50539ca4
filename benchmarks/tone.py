"""How dark and how bright are drawn heads, and the same heads as scanned?

    python -m benchmarks.tone PREPARED [--every 6]

PREPARED is the file of ``cpmae-bids-train prepare --cubic`` at 2 mm. Heads are drawn around the brains of its
training heads, before their tones are corrected; voxels deeper than 3 mm beneath the skin are compared, at
each distance from the brain and at two heights. The quantiles are those of `cpmae_bids.deid.tone`; they go to
``results/tone.json``, and to ``cpmae_bids/data/tone.json``.
"""

from __future__ import annotations

import argparse
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.drawn import draw_heads
from benchmarks.scans import write_result
from cpmae_bids.deid import tone

FIRST = 1
"""First head that is taken: heads are sorted by name."""

DEPTH_MM = 3.0
"""Depth beneath the skin from which on heads are compared."""

LEAST = 300
"""Voxels of 2 mm of a head that say nothing about its tones at a place if they are fewer."""

FEWEST = 6
"""Heads that say nothing about a place if they are fewer: there the curve is that nearer to the brain."""

TENTHS = np.linspace(0.1, 0.9, 9)

LEARNT = Path(__file__).parents[1] / 'cpmae_bids' / 'data' / 'tone.json'


def main(argv: list[str] | None = None) -> None:
    """Compare drawn and scanned heads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--every', type=int, default=6, help='one of so many heads')
    args = parser.parse_args(argv)

    found = []
    for one in draw_heads(args.prepared, FIRST, args.every):
        places = _places(one.head.brain, one.head.fov)
        found.append(
            [
                [_quantiles(volume, place & deep) for place in places]
                for volume, deep in (
                    (one.drawn, _deep(one.skin.inside)),
                    (one.scanned, _deep(one.own_skin.inside)),
                )
            ]
        )
    kinds = np.array(found)  # heads, (drawn, scanned), places, tenths
    means = np.empty(kinds.shape[1:])
    for place in range(kinds.shape[2]):
        known = np.isfinite(kinds[:, :, place]).all(axis=(1, 2))
        nearer = means[:, place - 1]
        means[:, place] = kinds[known, :, place].mean(axis=0) if known.sum() >= FEWEST else nearer
    numbers = {
        'heads': len(kinds),
        'quantiles': TENTHS.round(1).tolist(),
        'distances_mm': list(tone.DISTANCES_MM),
    }
    for part, quantiles in zip(('base', 'vault'), np.split(means.round(3), 2, axis=1), strict=True):
        numbers[part] = dict(zip(('drawn', 'scanned'), quantiles.tolist(), strict=True))
    print(numbers)
    path = write_result('tone', numbers)
    print(path, shutil.copy(path, LEARNT))


def _places(brain: np.ndarray, fov: np.ndarray) -> list[np.ndarray]:
    """Outside of the brain, in the field of view, by height (below, above) and `tone.DISTANCES_MM`."""
    edges = [0, *np.convolve(tone.DISTANCES_MM, [0.5, 0.5], 'valid'), np.inf]
    distance = np.where(fov, tone.distance_mm(brain), 0)
    share = tone.height(len(brain))
    return [
        (distance > near) & (distance <= far) & (share == part)
        for part in (0, 1)
        for near, far in pairwise(edges)
    ]


def _deep(inside: np.ndarray) -> np.ndarray:
    """Where a head is deep to its skin."""
    return ndimage.distance_transform_edt(inside > 0.5, sampling=2.0) > DEPTH_MM


def _quantiles(volume: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Tenths of a volume at a place; NaN where there is too little of it."""
    values = volume[where]
    return np.quantile(values, TENTHS) if len(values) >= LEAST else np.full(len(TENTHS), np.nan)


if __name__ == '__main__':
    main()
