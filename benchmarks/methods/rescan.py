"""Another scan of the same person on the grid of this one: what two real scans differ by.

The brains are registered rigidly, and the other scan is resampled once, by cubic splines. What needs no
common grid is measured on the other scan itself: see `partner`.
"""

from __future__ import annotations

import json
from importlib.metadata import version as installed

import numpy as np

from benchmarks.pairs import Pair, run_folder

NEEDS = ('brain_mask',)

COARSER = 1.5
"""Largest ratio of the longest voxel edges of two scans: thick slices are no floor for thin ones."""

SETTINGS = {
    'aff_metric': 'mattes',
    'aff_random_sampling_rate': 0.5,
    'aff_iterations': (100, 50),
    'aff_shrink_factors': (2, 1),
    'aff_smoothing_sigmas': (1, 0),
}
"""Of ANTs, on a grid of at least 2 mm around the brains."""


def version() -> str:
    return f'antspyx {installed("antspyx")}'


def next_scans(people: dict[str, str], edges: dict[str, float]) -> dict[str, str]:
    """Which scan each scan is compared with: the next one of the person, and after the last one the first.

    Parameters
    ----------
    people : dict of str to str
        Person by scan.
    edges : dict of str to float
        Longest edge of the voxels by scan (mm).

    Returns
    -------
    partners : dict of str to str
        Scans that have no comparable other one are left out.
    """

    def comparable(one: str, other: str) -> bool:
        fine, coarse = sorted((edges[one], edges[other]))
        return people[one] == people[other] and coarse <= COARSER * fine

    partners = {}
    for scan in people:
        own = sorted(other for other in people if comparable(scan, other))
        if len(own) > 1:
            partners[scan] = own[(own.index(scan) + 1) % len(own)]
    return partners


def partner(pair: Pair) -> Pair:
    """The other scan of the person, as an original."""
    out = run_folder(pair)
    name = json.loads((out / 'rescans.json').read_text(encoding='utf-8'))[pair.scan]
    for part in ('scans.jsonl', 'gallery.jsonl'):
        for line in (out / part).read_text(encoding='utf-8').splitlines():
            if (found := Pair.load(line)).scan == name:
                return found
    raise RuntimeError(f'{name}: no brain mask or no alignment, without which {pair.scan} has no other scan')


def make(pair: Pair) -> None:
    from cpmae_bids.deid.images import nifti
    from cpmae_bids.deid.space import geometry
    from cpmae_bids.deid.synthesis import blending

    other = partner(pair)
    scan, moving = nifti.read(pair.original), nifti.read(other.original)
    masks = nifti.read_mask(pair.brain_mask, scan), nifti.read_mask(other.brain_mask, moving)
    brains = [np.where(mask, one.values(), 0) for mask, one in zip(masks, (scan, moving), strict=True)]
    to_other = rigid(brains[0], scan.affine, brains[1], moving.affine)
    voxels = np.linalg.inv(moving.affine) @ to_other @ scan.affine
    values = geometry.resample(moving.values(), voxels, scan.raw.shape, order=3, mode='constant')
    # in the range of the scan, whose type it is stored in: tools do not mind the unit
    ratio = np.percentile(scan.values()[masks[0]], 75) / np.percentile(moving.values()[masks[1]], 75)
    nifti.write(pair.output, blending.to_raw((values * ratio).astype(np.float32), scan), scan)


def rigid(
    fixed: np.ndarray, fixed_affine: np.ndarray, moving: np.ndarray, moving_affine: np.ndarray
) -> np.ndarray:
    """Rigid registration of two brains by ANTs, from their centres of mass; same input, same output.

    Parameters
    ----------
    fixed, moving : ndarray, shape (X, Y, Z)
        0 outside of the brain.
    fixed_affine, moving_affine : ndarray, shape (4, 4)

    Returns
    -------
    matrix : ndarray, shape (4, 4)
        World of `fixed` to world of `moving` (RAS, mm).
    """
    import tempfile
    from pathlib import Path

    from cpmae_bids.steps.register import import_ants, to_ants

    ants = import_ants()
    with tempfile.TemporaryDirectory(prefix='cpmae-rescan-') as folder:
        result = ants.registration(
            fixed=to_ants(*compact(fixed, fixed_affine)),
            moving=to_ants(*compact(moving, moving_affine)),
            type_of_transform='Rigid',
            outprefix=str(Path(folder, 'to_')),
            **SETTINGS,
        )
        transform = ants.read_transform(result['fwdtransforms'][-1])
    moved = [transform.apply_to_point(point) for point in np.vstack([np.zeros(3), np.eye(3)]).tolist()]
    matrix = np.eye(4)  # of ITK's worlds, in which right and anterior are negative
    matrix[:3, :3] = np.subtract(moved[1:], moved[0]).T
    matrix[:3, 3] = moved[0]
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ matrix @ flip


def compact(brain: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The brain on a small grid of at least 2 mm, and the affine of that grid."""
    from benchmarks.measures.registration import coarse
    from cpmae_bids.deid.space import geometry

    window, cropped = geometry.crop(brain > 0, affine, margin=4)
    return coarse(brain[window], cropped)
