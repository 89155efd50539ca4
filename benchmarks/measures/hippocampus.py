"""Is the hippocampus of the same size? hippodeep, as the package mrecover has it.

Thyreau et al., Segmentation of the hippocampus by transferring algorithmic knowledge for large cohort
processing, Medical Image Analysis 43:214-228, 2018.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks import derived
from benchmarks.pairs import DOWNSTREAM, Pair

METHODS = DOWNSTREAM

SCANS = 9
"""Of the split."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare the volumes of both hippocampi in output and original.

    Returns
    -------
    numbers : dict
        ``volume_ml`` of the output, both sides, ``volume_change`` (percent, signed; None where the original
        has none) and ``dice``.
    """
    before = segment(pair, 'original')
    after = before if pair.method == 'original' else segment(pair, 'output')
    voxel_ml = abs(float(np.linalg.det(derived.image(pair, 'original')[1][:3, :3]))) / 1000
    one, other = (float(part.sum()) for part in (before, after))
    overlap = float((np.minimum(before, after)).sum())
    return {
        'volume_ml': other * voxel_ml,
        'volume_change': 100 * (other / one - 1) if one else None,
        'dice': 2 * overlap / (one + other) if one + other else None,
    }


def segment(pair: Pair, role: derived.Role) -> np.ndarray:
    """Share of each voxel that is hippocampus; float32, shape (X, Y, Z)."""

    def make() -> np.ndarray:
        import torch

        path = pair.original if role == 'original' else pair.output
        torch.manual_seed(0)
        sides = [np.asanyarray(side.dataobj) for side in hippodeep().segment_hippocampus(str(path))]
        return np.minimum(sum(side.astype(np.float32) for side in sides) / 255, 1)

    return derived.cached(derived.folder(pair, role) / 'hippocampus.npz', make)


@cache
def hippodeep() -> ModuleType:
    """The module of mrecover with the networks; the package around it imports far more than these need."""
    package = find_spec('mrecover')
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError('mrecover: not installed: it is of the extra "benchmarks"')
    path = Path(package.submodule_search_locations[0]) / 'segmentation.py'
    spec = spec_from_file_location('mrecover_segmentation', path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f'{path}: cannot be loaded')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
