"""Is the brain untouched? Stored voxels and header fields that differ, by nibabel alone."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from benchmarks.derived import mask
from benchmarks.pairs import Pair
from benchmarks.run_test_split import header_changed


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare the output with the original, value by value as stored.

    Returns
    -------
    numbers : dict
        ``kept_voxels`` and ``brain_voxels`` in the masks, ``kept_changed`` and ``brain_changed`` of them that
        differ (all of them, where the grid is another), and ``header_changed``, header fields that differ.
        Where the data type or the scaling is another, scaled values are compared instead.
    """
    before, after = nib.load(pair.original), nib.load(pair.output)
    numbers = {'header_changed': header_changed(before.header, after.header)}
    differs = changed(before, after)
    for name, path in (('kept', pair.kept_mask), ('brain', pair.brain_mask)):
        inside = mask(path)
        numbers[f'{name}_voxels'] = int(inside.sum())
        numbers[f'{name}_changed'] = int(inside.sum() if differs is None else differs[inside].sum())
    return numbers


def changed(before: nib.Nifti1Image, after: nib.Nifti1Image) -> np.ndarray | None:
    """Voxels that differ; None where the grids do. Bool, shape (X, Y, Z)."""
    if before.shape != after.shape or not np.allclose(before.affine, after.affine, atol=1e-3):
        return None
    a, b = (np.asanyarray(one.dataobj.get_unscaled()) for one in (before, after))
    scaling = [(one.dataobj.slope, one.dataobj.inter) for one in (before, after)]
    if a.dtype.newbyteorder('=') != b.dtype.newbyteorder('=') or scaling[0] != scaling[1]:
        a, b = (one.get_fdata(dtype=np.float32) for one in (before, after))
    return (a != b) & ~((a != a) & (b != b))  # a NaN is equal to itself
