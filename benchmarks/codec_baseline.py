"""Head codec without a gradient step, beside the trained head VQ-VAE, on heads that neither has seen.

    python -m benchmarks.codec_baseline PREPARED HEADS WORK [--split test] [--weights DIR]

The codec is `benchmarks.patch_codec`. Both see the head without its brain in the 2 mm cube; what counts is
PSNR and SSIM inside the head (see `benchmarks.metrics`) at a given number of bits per head.

PREPARED is the file of ``cpmae-bids-train prepare``, of which the train split fits the codec. HEADS is a BIDS
dataset whose ``participants.tsv`` has a column ``split``; WORK keeps brain masks and affines of its scans.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.metrics import TISSUE, inside_head, psnr, ssim
from benchmarks.patch_codec import fit
from benchmarks.scans import find_t1w, read_split, write_result
from cpmae_bids.deid.intensity import CEILING, HOLE

SITES = (4, 8)
"""Voxels of 2 mm along the edge of a site: 8 mm and 16 mm."""

ENTRIES = (512, 1024)
"""Entries per codebook."""

CODES = (1, 2, 4)
"""Codes per site. No stage depends on a later one, so the longest is fitted once and cut short."""


@dataclass(frozen=True)
class CubeHead:
    """One head without brain in the cube.

    Attributes
    ----------
    volume : ndarray of float32, shape (n, n, n)
        Intensities, `HOLE` inside the brain.
    brain, fov : ndarray of bool, shape (n, n, n)
    """

    volume: np.ndarray
    brain: np.ndarray
    fov: np.ndarray


def evaluate(reconstruct: Callable[[np.ndarray], np.ndarray], heads: list[CubeHead]) -> dict[str, float]:
    """Mean PSNR (dB, peak 1 = white matter) and SSIM over heads.

    Parameters
    ----------
    reconstruct : callable
        (n, n, n) float32 to the same shape.
    heads : list of CubeHead

    Returns
    -------
    dict
        ``psnr_inside`` and ``ssim_inside`` from the skin inwards, ``psnr_tissue`` where there is signal.
    """
    scores = []
    for head in heads:
        estimate = np.clip(reconstruct(head.volume), 0, CEILING)
        estimate = np.where(head.brain, HOLE, estimate).astype(np.float32)  # the hole is known to both
        inside = inside_head(head.volume, head.brain, head.fov)
        scores.append(
            (
                psnr(head.volume, estimate, inside),
                ssim(head.volume, estimate, inside),
                psnr(head.volume, estimate, inside & (head.volume > TISSUE)),
            )
        )
    names = ('psnr_inside', 'ssim_inside', 'psnr_tissue')
    return {name: round(float(value), 4) for name, value in zip(names, np.mean(scores, axis=0), strict=True)}


def cube_head(stored: np.ndarray, brain: np.ndarray, fov: np.ndarray) -> CubeHead:
    """Head without brain from what a prepared file holds."""
    from cpmae_bids.training.data import decode_intensity

    return CubeHead(np.where(brain, np.float32(HOLE), decode_intensity(stored)), brain, fov)


def vqvae_codec(weights: Path | None) -> tuple[Callable[[np.ndarray], np.ndarray], dict]:
    """The trained head VQ-VAE as a function of a volume, and its levels and bits."""
    import torch

    from cpmae_bids.models.shape import LEVELS
    from cpmae_bids.models.weights import load_model, read_registry, resolve_weights

    model = load_model(read_registry(weights, ('head',)) if weights else resolve_weights(), 'head')
    config = model.config

    def reconstruct(volume: np.ndarray) -> np.ndarray:
        with torch.no_grad():  # not inference mode: finding the shape takes gradients
            return model.decode(model.encode(torch.from_numpy(volume)[None, None]))[0, 0].numpy()

    bits = sum(grid**3 for grid in config.grids) * int(np.ceil(np.log2(config.codebook)))
    bits += config.shape**3 * int(np.ceil(np.log2(LEVELS)))
    return reconstruct, {'grids': list(config.grids), 'entries': config.codebook, 'bits': bits}


def codec_rows(train: list[np.ndarray], test: list[CubeHead]) -> list[dict]:
    """Measure the codec without a gradient step at every setting."""
    rows = []
    for site, entries in product(SITES, ENTRIES):
        longest = fit(train, site, max(CODES), entries)
        for codes in CODES:
            codec = longest.first(codes)
            setting = {'site_mm': 2 * site, 'codes_per_site': codes, 'entries': entries}
            bits = codec.bits(train[0].shape[0])
            rows.append({**setting, 'bits': bits, **evaluate(codec.reconstruct, test)})
            print(rows[-1], flush=True)
    return rows


def main(argv: list[str] | None = None) -> None:
    """Fit on the train split, measure on the test heads, write ``results/codec_baseline.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('prepared', type=Path, help='prepared file of the train split, 2 mm')
    parser.add_argument('heads', type=Path, help='BIDS dataset with the test heads')
    parser.add_argument('work', type=Path, help='folder that keeps masks and affines')
    parser.add_argument('--split', default='test')
    parser.add_argument('--weights', type=Path, help='folder of weights (default: those of the package)')
    args = parser.parse_args(argv)

    from cpmae_bids.training.data import read_prepared
    from cpmae_bids.training.prepare import conform_scan

    train = [
        cube_head(h.image, h.brain, h.fov).volume for h in read_prepared(args.prepared) if h.split == 'train'
    ]
    args.work.mkdir(parents=True, exist_ok=True)
    paths = find_t1w(args.heads, read_split(args.heads / 'participants.tsv', args.split))
    test = [cube_head(*conform_scan(path, args.work, train[0].shape[0])[1:]) for path in paths]
    reconstruct, setting = vqvae_codec(args.weights)
    vqvae = {**setting, **evaluate(reconstruct, test)}
    print(vqvae, flush=True)
    numbers = {'train_heads': len(train), 'test_heads': len(test), 'vqvae': vqvae}
    print(write_result('codec_baseline', {**numbers, 'pca_kmeans': codec_rows(train, test)}))


if __name__ == '__main__':
    main()
