"""One mean head for everybody, pasted around the brain: the idea of mri_reface and MiDeFace.

The mean is that of this tool's training heads (its head VQ-VAE decodes what differs from it). Alignment,
blending and noise are those of this tool, so that only the head makes the difference.
"""

from __future__ import annotations

import numpy as np

from benchmarks.methods.cpmae import version
from benchmarks.pairs import Pair

__all__ = ['make', 'mean_head', 'paste', 'version']

NEEDS = ('brain_mask', 'alignment')
SEED = 1


def mean_head() -> np.ndarray:
    """The mean head on the template grid and below it; float32 (128, 128, 144), white matter about 1."""
    import torch
    from torch.nn.functional import interpolate

    from cpmae_bids.models.drawing import lay_around
    from cpmae_bids.models.frame import FIELD, SHAPE
    from cpmae_bids.models.weights import load_model, resolve_weights

    mean = load_model(resolve_weights(None), 'head').frame.mean[None].float()
    root, skin = interpolate(mean, size=SHAPE, mode='trilinear', align_corners=False)[:, :2].split(1, 1)
    return lay_around(root.square() * (skin < 0), torch.zeros(1, 3, *FIELD))[0, 0].numpy()


def make(pair: Pair) -> None:
    paste(mean_head(), pair)


def paste(head: np.ndarray, pair: Pair) -> None:
    """Put a head around the brain of a scan as this tool does, and write ``pair.output``.

    Parameters
    ----------
    head : ndarray of float32, shape (128, 128, m)
        On the template grid, or reaching below it; white matter about 1.
    pair : Pair
    """
    from cpmae_bids.deid.images import nifti, volumes
    from cpmae_bids.deid.space import conforming
    from cpmae_bids.steps.blend import blend
    from cpmae_bids.steps.conform import read_affine

    scan = nifti.read(pair.original)
    mask = nifti.read_mask(pair.brain_mask, scan)
    place = (mask, scan.affine, read_affine(pair.affine), 128)
    brain, scale = conforming.conform_brain(scan.values(), *place)
    volume, conformed = pair.work / 'head.npz', pair.work / 'brain.npz'
    volumes.write(volume, head=head)
    np.savez(conformed, brain=brain, scale=scale)
    unused = pair.work / 'replaced.nii.gz', pair.work / 'noise_model.json'
    blend(pair.original, pair.kept_mask, pair.affine, conformed, SEED, pair.output, *unused, volume)
    for path in (volume, conformed, *unused):
        path.unlink()
