"""Skull-stripping alone: the brain, and 0 around it."""

from __future__ import annotations

from benchmarks.methods.brain_mask import version
from benchmarks.pairs import Pair

__all__ = ['make', 'version']

NEEDS = ('brain_mask',)


def make(pair: Pair) -> None:
    import numpy as np

    from cpmae_bids.deid.images import nifti

    scan = nifti.read(pair.original)
    mask = nifti.read_mask(pair.brain_mask, scan)
    nifti.write(pair.output, np.where(mask, scan.raw, scan.raw.dtype.type(0)), scan)
