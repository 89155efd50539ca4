"""The training head whose brain is most like that of the scan, pasted around it.

What a generator has to beat: a real head, sharp and whole, but somebody's, and the next one around the next
brain alike. Brains are compared in the cube, as the models see them. Alignment, blending and noise are those
of this tool, so that only the head makes the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.methods.cpmae import version
from benchmarks.methods.meanhead import paste
from benchmarks.pairs import Pair, run_folder

__all__ = ['make', 'nearest', 'version']

NEEDS = ('brain_mask', 'alignment')
COARSE = 64
"""Voxels along the cube in which brains are compared: 4 mm."""


def coarse_brain(pair: Pair, cache: Path) -> np.ndarray:
    """Brain of a scan in the coarse cube; ndarray of float32, shape (64, 64, 64), made once."""
    kept = cache / f'{pair.scan}.npy'
    if not kept.exists():
        from cpmae_bids.deid.space import conforming

        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        brain, _ = conforming.conform_brain(*_in_template(pair), COARSE)
        part = kept.with_suffix(f'.{os.getpid()}.part')
        with part.open('wb') as file:
            np.save(file, brain.astype(np.float16))
        part.replace(kept)
    return np.load(kept).astype(np.float32)


def nearest(brain: np.ndarray, others: list[np.ndarray]) -> int:
    """Which of the others differs least from a brain (mean square); arrays of one shape."""
    return int(np.argmin([np.square(brain - other).mean() for other in others]))


def make(pair: Pair) -> None:
    from cpmae_bids.deid.space import conforming

    run = run_folder(pair)
    lines = (run / 'gallery.jsonl').read_text(encoding='utf-8').splitlines()
    gallery = [Pair.load(line) for line in lines]
    cache = run / 'anatomy' / 'coarse'
    chosen = gallery[nearest(coarse_brain(pair, cache), [coarse_brain(one, cache) for one in gallery])]
    place, n = _in_template(chosen), 128
    _, scale = conforming.conform_brain(*place, n)
    paste(conforming.conform_head(*place, n, scale).head, pair)


def _in_template(pair: Pair) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values of a scan, its brain mask, its affine, and that to the template."""
    from cpmae_bids.deid.images import nifti
    from cpmae_bids.steps.conform import read_affine

    scan = nifti.read(pair.original)
    return scan.values(), nifti.read_mask(pair.brain_mask, scan), scan.affine, read_affine(pair.affine)
