"""Identity controls: the scan's own head, sent through ever more of the way that a generated one takes.

What a measure finds between the original and

``own-grid`` is of the template grid, the resampling and the blend;
``own-air`` of these and of the generated air;
``own-codes`` also of the codec (encoded and decoded at 2 mm);
``own-detail`` also of the detail of 1 mm.

What is left between the last of them and this tool is of the generator. They keep the original head: none of
their outputs leaves the private folder of the run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.methods.cpmae import SEED, version
from benchmarks.methods.meanhead import paste
from benchmarks.pairs import Pair

__all__ = ['make', 'version']

NEEDS = ('brain_mask', 'alignment')

PRESETS = {'own-codes': '128', 'own-detail': '256'}
"""The grid on which the codes are decoded: detail is what the finer one adds."""


def make(pair: Pair) -> None:
    if pair.method == 'own-grid':
        through_grid(pair)
    elif pair.method == 'own-air':
        paste(without_air(own_head(pair)), pair)
    else:
        through_codec(pair, PRESETS[pair.method])


def own_head(pair: Pair) -> np.ndarray:
    """The head of the scan in the template grid of 1 mm; float32, shape (256, 256, 256), white matter 1."""
    from cpmae_bids.deid.images import nifti
    from cpmae_bids.deid.space import conforming
    from cpmae_bids.steps.conform import read_affine

    scan = nifti.read(pair.original)
    place = (nifti.read_mask(pair.brain_mask, scan), scan.affine, read_affine(pair.affine))
    _, scale = conforming.conform_brain(scan.values(), *place, 128)
    return conforming.conform_head(scan.values(), *place, 256, scale).head


def without_air(head: np.ndarray) -> np.ndarray:
    """A head in the template grid with 0 around it, as a generated one has it."""
    from scipy import ndimage

    from cpmae_bids.deid.images.masks import head_mask

    return np.where(ndimage.binary_dilation(head_mask(head), iterations=2), head, 0).astype(np.float32)


def through_grid(pair: Pair) -> None:
    """Into the template grid and back, with the own air, blended around the brain; writes ``pair.output``.

    Where the grid does not reach, the scan stays as it is.
    """
    from cpmae_bids.deid.images import nifti
    from cpmae_bids.deid.space import geometry
    from cpmae_bids.deid.synthesis import blending
    from cpmae_bids.steps.conform import read_affine

    scan = nifti.read(pair.original)
    place, n = (scan.affine, read_affine(pair.affine)), 256
    values, shape = scan.values(), scan.raw.shape
    cube = geometry.to_template(values, *place, n, mode='nearest')
    back = geometry.from_template(cube, *place, shape, order=3)
    reached = geometry.from_template(np.ones((64,) * 3, np.float32), *place, shape) > 0.99
    kept = nifti.read_mask(pair.kept_mask, scan)
    nifti.write(pair.output, blending.blend(scan, kept, np.where(reached, back, values)), scan)


def through_codec(pair: Pair, preset: str) -> None:
    """Encoded and decoded by the head VQ-VAE, then as a generated head; writes ``pair.output``."""
    from cpmae_bids.steps.blend import blend
    from cpmae_bids.steps.conform import conform
    from cpmae_bids.steps.decode import decode
    from cpmae_bids.steps.encode import encode

    files = {name: pair.work / f'{name}.npz' for name in ('brain', 'head', 'codes', 'decoded')}
    replaced, statistics = pair.work / 'replaced.nii.gz', pair.work / 'statistics.json'
    noise_model = pair.work / 'noise_model.json'
    conform(pair.original, pair.brain_mask, pair.affine, files['brain'], files['head'], statistics)
    encode(files['head'], files['codes'], 'head')
    decode(files['codes'], files['brain'], files['decoded'], preset, seed=SEED)
    blend(
        pair.original,
        pair.kept_mask,
        pair.affine,
        files['brain'],
        SEED,
        pair.output,
        replaced,
        noise_model,
        files['decoded'],
        statistics,
    )
    for path in (*files.values(), replaced, noise_model, statistics):
        Path(path).unlink()
