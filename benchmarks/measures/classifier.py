"""Would a network notice? And what it could notice: intensities and texture outside of the kept mask."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks import derived
from benchmarks.anatomy import BANDS_MM, spectrum
from benchmarks.pairs import Pair, work_folder
from benchmarks.slice_network import tell_apart

N = 128
"""Voxels of 2 mm along an edge of the template's cube, from which the slices are taken."""

_RANGES = (range(36, 96, 8), range(20, 120, 14), range(14, 114, 14))
SLICES = tuple((axis, index) for axis, part in enumerate(_RANGES) for index in part)
"""Axis and index in the cube: 8 sagittal (within 56 mm of the middle), 8 coronal (from the back of the head
to the nose) and 8 axial ones (from the neck to the crown)."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare what is outside of the kept mask, and keep the slices for `pool`.

    Returns
    -------
    numbers : dict
        ``histogram_distance``: see `histogram_distance`, in units of white matter. ``power_<a>_<b>``: power
        of the tissue at wavelengths of a to b mm, output over original; see `spectrum`. None where the
        voxels are too large, or no tissue is left. ``millimetre_<a>_<b>``: the same where the voxels are
        small enough for all of `BANDS_MM`.
    """
    from cpmae_bids.deid.space import geometry

    kept = derived.mask(pair.kept_mask)
    volumes = {}
    for role in ('original', 'output'):
        values, affine = derived.image(pair, role)
        volumes[role] = values / _scale(pair)
        path = derived.folder(pair, role) / 'slices.npz'
        derived.cached(path, lambda scaled=volumes[role], affine=affine: slices(pair, scaled, affine, kept))
    sizes = geometry.voxel_sizes(affine)
    powers = [spectrum(volume, kept, sizes) for volume in volumes.values()]
    numbers = {'histogram_distance': histogram_distance(*(volume[~kept] for volume in volumes.values()))}
    for (high, low), before, after in zip(pairwise(BANDS_MM), *powers, strict=True):
        known = np.isfinite(before) and np.isfinite(after) and before > 0
        numbers[f'power_{high:g}_{low:g}'] = float(after / before) if known else None
        if sizes.max() * 2 <= BANDS_MM[-1]:
            numbers[f'millimetre_{high:g}_{low:g}'] = numbers[f'power_{high:g}_{low:g}']
    return numbers


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict[str, list[float]]]:
    """How well a network tells the outputs of each method from the originals: see `tell_apart`."""
    pooled = {}
    for method, scans in values.items():
        names = [scan for scan in sorted(scans) if _slices_path(out, method, scan).exists()]
        subjects = [name.split('_')[0] for name in names]
        if method == 'original' or len(set(subjects)) < 2:
            continue
        before, after = (
            np.stack([_read(_slices_path(out, kind, name)) for name in names])
            for kind in ('original', method)
        )
        pooled[method] = tell_apart(before, after, subjects)
    return pooled


def _slices_path(out: Path, method: str, scan: str) -> Path:
    return work_folder(out, method, scan) / 'slices.npz'


def _read(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return file['array']


def _scale(pair: Pair) -> float:
    """White matter of the original, by which both images are divided."""
    from cpmae_bids.deid.images.intensity import brain_scale

    return brain_scale(derived.image(pair, 'original')[0][derived.mask(pair.brain_mask)])


def slices(pair: Pair, scaled: np.ndarray, affine: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """`SLICES` of the cube without the kept mask, where neither image has anything of its own.

    Parameters
    ----------
    pair : Pair
    scaled : ndarray, shape (X, Y, Z)
        White matter is about 1.
    affine : ndarray, shape (4, 4)
    kept : ndarray of bool, shape (X, Y, Z)

    Returns
    -------
    slices : ndarray of float16, shape (slices, N, N)
    """
    from cpmae_bids.deid.images import intensity
    from cpmae_bids.deid.space import geometry

    to_template = np.loadtxt(pair.affine)
    cube = geometry.to_template(scaled, affine, to_template, N, mode='nearest')
    cube = np.clip(cube, 0, intensity.CEILING)
    cube[geometry.to_template(kept, affine, to_template, N) >= 0.5] = 0
    return np.stack([cube.take(index, axis) for axis, index in SLICES]).astype(np.float16)


def histogram_distance(before: np.ndarray, after: np.ndarray) -> float:
    """Wasserstein distance of two equally large samples: mean difference of their sorted values."""
    return float(np.abs(np.sort(before) - np.sort(after)).mean(dtype=np.float64))
