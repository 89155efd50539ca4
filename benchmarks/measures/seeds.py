"""Is it diverse: how far apart are the heads that different seeds give to one brain?"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks import generate, surfaces
from benchmarks.pairs import Pair
from benchmarks.statistics import bootstrap
from cpmae_bids.deid.images.intensity import SKIN

METHODS = ('cpmae-256',)
SCANS = 4
SEEDS = (1, 2, 3)


def measure(pair: Pair) -> dict[str, float]:
    """Mean distance (mm) of face, ears and outline between the heads of three seeds."""
    pair.work.mkdir(parents=True, exist_ok=True)
    brain = generate.brain_codes(pair.original, pair.brain_mask, pair.affine, pair.work)
    everywhere = np.ones((surfaces.N,) * 3, bool)
    heads = []
    for seed in SEEDS:
        generate.head_codes(brain, seed, pair.work)
        heads.append(surfaces.smooth(generate.head(seed, pair.work)))
    found = {}
    for region in ('face', 'ears', 'outline'):
        depths = [surfaces.trace(head, everywhere, region, SKIN) for head in heads]
        found[region] = float(np.mean([np.nanmean(np.abs(a - b)) for a, b in combinations(depths, 2)]))
    return found


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """Mean over scans, by method and region."""
    return {
        method: {
            region: list(bootstrap([value[region] for value in scans.values()]))
            for region in ('face', 'ears', 'outline')
        }
        for method, scans in values.items()
    }
