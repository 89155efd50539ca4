"""How does the shading of a scanned head follow that of its brain, and differ from that of drawn heads?

    python -m benchmarks.shading PREPARED [--every 6]

PREPARED is the file of ``cpmae-bids-train prepare --cubic`` at 2 mm. Means of the tissue in blocks of 16 mm,
of each training head over those of drawn heads, are described by the terms of `cpmae_bids.deid.shading`. How
these follow the terms of the brain, and how far they deviate from that, is what that module draws from. The
numbers go to ``results/shading.json``, and to ``cpmae_bids/data/shading.json``.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.drawn import draw_heads, without_brain
from benchmarks.generate import halved
from benchmarks.scans import write_result
from cpmae_bids.deid import geometry, intensity, shading, skin, tone
from cpmae_bids.training.data import decode_intensity, read_prepared

BLOCK = 8
"""Voxels of 2 mm along the edge of a block."""

LEAST = 40
"""Voxels of tissue that a block has at least."""

TISSUE = 0.15
"""Intensity (white matter 1) of tissue."""

RIDGE = 3.0
"""Penalty of the regression, in standardised units."""

FOLDS = 10
"""Parts of the heads for cross-validation."""

LEARNT = Path(__file__).parents[1] / 'cpmae_bids' / 'data' / 'shading.json'


def blocks(volume: np.ndarray, tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the tissue in each block, NaN where there is hardly any, and its voxels; (n,) both."""
    parts = [p for size in volume.shape for p in (size // BLOCK, BLOCK)]
    count = tissue.reshape(parts).sum(axis=(1, 3, 5)).ravel()
    total = np.where(tissue, volume, 0).reshape(parts).sum(axis=(1, 3, 5)).ravel()
    return np.where(count >= LEAST, total / np.maximum(count, 1), np.nan), count


def outside(volume: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Tissue away from the brain."""
    return (volume > TISSUE) & ~ndimage.binary_dilation(brain, np.ones((3, 3, 3)))


def main(argv: list[str] | None = None) -> None:
    """Compare the shading of drawn and scanned heads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--every', type=int, default=6, help='draw one of so many heads')
    args = parser.parse_args(argv)

    import torch

    from cpmae_bids.models.detail import double

    drawn = []
    for one in draw_heads(args.prepared, 0, args.every):
        fine = double(torch.from_numpy(one.drawn)[None, None])[0, 0].clamp(0, intensity.CEILING).numpy()
        covered = halved(skin.cover(tone.correct(fine, one.head.brain), one.skin))
        drawn.append(blocks(covered, outside(covered, one.head.brain)))
    means, counts = (np.array(part) for part in zip(*drawn, strict=True))
    known = np.isfinite(means).mean(axis=0) > 0.5
    reference = np.nansum(means * counts, 0) / np.maximum(np.where(np.isfinite(means), counts, 0).sum(0), 1)

    terms = shading.terms(geometry.PRESETS['128'] // BLOCK)
    of_heads, of_brains = [], []
    for one in read_prepared(args.prepared):
        if one.split != 'train':
            continue
        around = without_brain(one)
        mean, count = blocks(around, outside(around, one.brain) & one.fov)
        use = known & np.isfinite(mean)
        weight = np.sqrt(count[use])
        gain = np.log(mean[use] / reference[use])
        of_heads.append(np.linalg.lstsq(terms[use] * weight[:, None], gain * weight, rcond=None)[0])
        of_brains.append(shading.of_brain(np.where(one.brain, decode_intensity(one.image), 0)))
    heads, brains = np.array(of_heads), np.array(of_brains)
    heads, brains = heads.astype(float), brains.astype(float)
    centre, spread = brains.mean(0), brains.std(0)
    features = (brains - centre) / spread
    predicted = np.zeros_like(heads)
    for fold in range(FOLDS):
        test = np.arange(len(heads)) % FOLDS == fold
        predicted[test] = heads[~test].mean(0) + features[test] @ _ridge(features[~test], heads[~test])
    free = heads - predicted
    numbers = {
        'heads': len(heads),
        'drawn': len(drawn),
        'brain_mean': centre.round(3).tolist(),
        'brain_sd': spread.round(3).tolist(),
        'mean': heads.mean(0).round(3).tolist(),
        'slopes': _ridge(features, heads).round(3).tolist(),
        'free_sd': free.std(0).round(3).tolist(),
        'explained': (1 - free.var(0) / heads.var(0)).round(2).tolist(),
        'gain_sd': _spread(heads, terms[known]),
        'gain_free_sd': _spread(free, terms[known]),
    }
    print(numbers)
    path = write_result('shading', numbers)
    print(path, shutil.copy(path, LEARNT))


def _spread(shading: np.ndarray, terms: np.ndarray) -> float:
    """Standard deviation over heads of the logarithm of the gain, mean of the blocks."""
    return float((shading @ terms.T).std(0).mean().round(3))


def _ridge(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Slopes (features, values) of centred values on standardised features."""
    normal = features.T @ features + RIDGE * np.eye(features.shape[1])
    return np.linalg.solve(normal, features.T @ (values - values.mean(0)))


if __name__ == '__main__':
    main()
