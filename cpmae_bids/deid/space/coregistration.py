"""Rigid map between two contrasts of one head, by normalised mutual information.

Normalised information (Studholme et al., Pattern Recognition 1999) needs no like contrast and does not grow
with the overlap, so that a slab does not slide to where more of it overlaps. What it does not show counts for
nothing.
"""

import numpy as np
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage, optimize

from cpmae_bids.deid.space import geometry

# Full width at half maximum (mm) to which both volumes are smoothed, number of points at which they are
# compared, and first step of the search (degrees and mm), coarse to fine
LEVELS = ((8.0, 2_000, 4.0), (4.0, 10_000, 2.0), (2.0, 40_000, 0.5))
MIN_SEEN = 0.4  # least share of the points that the other volume must show
_BINS = 32


class MutualInformation:
    """Normalised mutual information of two volumes under rigid maps, at some points of the first.

    The `fixed` volume (A, B, C) is compared where it is above 0, at that many of its voxels (`points`);
    affines lead to world (RAS mm), and both volumes are smoothed to `fwhm` (mm).
    """

    def __init__(self, fixed, fixed_affine, moving, moving_affine, fwhm: float, points: int) -> None:
        inside = np.argwhere(fixed > 0)
        if len(inside) > points:
            inside = inside[np.random.default_rng(0).choice(len(inside), points, replace=False)]
        reference = geometry.smooth(fixed, geometry.antialias_sigma(fixed_affine, fwhm))[tuple(inside.T)]
        self._moving = geometry.smooth(moving, geometry.antialias_sigma(moving_affine, fwhm))
        self._to_voxels = np.linalg.inv(moving_affine)
        self._world = apply_affine(fixed_affine, inside)
        self._bins = _bin(reference)

    def __call__(self, to_moving: np.ndarray) -> float:
        """Information under a map from the world of the first volume to that of the other; 0 to 1."""
        voxels = apply_affine(self._to_voxels @ to_moving, self._world)
        seen = ((voxels > -0.5) & (voxels < np.array(self._moving.shape) - 0.5)).all(axis=1)
        if seen.mean() < MIN_SEEN:
            return 0.0
        sampled = ndimage.map_coordinates(self._moving, voxels[seen].T, order=1, mode='nearest')
        index, share = _bin(sampled)
        other_index, other_share = (part[seen] for part in self._bins)
        joint = np.zeros(_BINS**2)
        for i, weight in ((0, 1 - share), (1, share)):  # to both bins between which a value lies
            for j, other_weight in ((0, 1 - other_share), (1, other_share)):
                pair = (index + i) * _BINS + other_index + j
                joint += np.bincount(pair, weight * other_weight, _BINS**2)
        joint = (joint / joint.sum()).reshape(_BINS, _BINS)
        whole = _entropy(joint)
        return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / whole - 1 if whole else 0.0


def refine(compare: MutualInformation, to_moving: np.ndarray, center: np.ndarray, step: float) -> np.ndarray:
    """Rigid map (4, 4) near another under which two volumes share most information.

    `center` is that of rotation, in the world of the first volume, `step` the first one, in degrees and mm.
    """
    found = optimize.minimize(
        lambda change: -compare(to_moving @ _change(change, center)),
        np.zeros(6),
        method='Powell',
        options={'direc': step * np.eye(6), 'xtol': 0.05, 'ftol': 1e-4, 'maxfev': 300},
    )
    return to_moving @ _change(found.x, center)


def _change(parameters: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Rotation by degrees about x, y and z, and shift by mm."""
    rotation = geometry.rotation(parameters[:3])
    return from_matvec(rotation, center - rotation @ center + parameters[3:])


def _bin(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bin of each value between the first and the 99th percentile, and how far it lies towards the next."""
    low, high = np.percentile(values, (1, 99))
    if low >= high:
        return np.zeros(len(values), int), np.zeros(len(values))
    place = np.clip((values - low) / (high - low), 0, 1) * (_BINS - 1)
    index = np.minimum(place.astype(int), _BINS - 2)
    return index, place - index


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
