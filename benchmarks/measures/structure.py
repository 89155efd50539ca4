"""Is what was generated anatomy? Structure of the tissue, globes and ears, output over original."""

from __future__ import annotations

from pathlib import Path

from benchmarks import derived, structure
from benchmarks.pairs import DOWNSTREAM, Pair
from benchmarks.statistics import share

METHODS = DOWNSTREAM


def measure(pair: Pair) -> dict[str, float | int | None]:
    """Compare output and original; see `benchmarks.structure.over`."""
    after = _describe(pair, 'output')
    before = after if pair.method == 'original' else _describe(pair, 'original')
    return structure.over(before, after)


def _describe(pair: Pair, role: derived.Role) -> dict:
    import numpy as np

    masks = derived.mask(pair.brain_mask), derived.mask(pair.kept_mask)

    def make() -> dict:
        values, affine = derived.image(pair, role)
        return structure.describe(values, *masks, affine, np.loadtxt(pair.affine))

    return structure.cached(derived.folder(pair, role) / 'structure.json', make)


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """By method, which share of the globes and ears of the originals the outputs have."""
    pooled: dict[str, dict] = {}
    for method, scans in values.items():
        pooled[method] = {}
        for name in ('globes', 'ears'):
            before = sum(one[f'{name}_before'] for one in scans.values())
            hits = sum(one[name] for one in scans.values())
            # each counts: a head with one ear is half right
            pooled[method][f'{name}_of_originals'] = list(share([1.0] * hits + [0.0] * (before - hits)))
    return pooled
