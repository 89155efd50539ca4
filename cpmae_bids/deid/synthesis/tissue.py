"""Brightness of tissue: a few numbers of the original by which a generated head is toned.

Scanners differ in how bright they show fat, marrow and muscle: quantiles in three zones by depth below the
skin describe this, and nine terms the shading of the coil. The numbers are rounded, hold no shape, and are
published with the output (docs/privacy.md).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import masks
from cpmae_bids.deid.images.intensity import TISSUE
from cpmae_bids.deid.space import geometry

PROBABILITIES = (0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.87, 0.95, 0.99)  # of the quantiles of a zone
# Depth below the skin at which a zone is pure: scalp, what lies beneath, deep tissue
DEPTHS_MM = (5.0, 14.0, 40.0)
STEP = 0.05  # numbers are rounded to this: white matter is 1
MIN_VOXELS = 800  # voxels of 2 mm that it takes to say something about a zone
BRAIN_ROOM_MM = 4.0  # tissue nearer to the preserved region does not count: it follows the brain
PARTIAL_MM = 2.5  # depth below the skin from which on a voxel is no partial volume with air
# Voxels along an edge of the blocks by which the shading is found, and how many of them it takes
BLOCK, MIN_BLOCKS = 8, 40
# Limits of the shading, which is not known where there is no tissue: a darker face sinks into the noise
GAINS = (0.7, 3.0)

# Least share of its brightness that tissue keeps in a zone that does not get darker as a whole: the darkest
# part of the original's scalp is bone and hair, that of a generated one may be its lids and lips
DARKEST = 0.8
ROUNDS, WITHIN = 4, (0.7, 1.4)  # of the refinement of curves, and by how much one round may move them
_N = 128
Curve = tuple[np.ndarray, np.ndarray]  # knots of a monotone curve: values before and after


@dataclass(frozen=True)
class TissueStatistics:
    """Quantiles of the tissue of a head, and its shading: 36 numbers."""

    # float32, shape (3, 9): intensity (white matter 1) at `PROBABILITIES`, by zone from the skin inwards; NaN
    # for a zone out of view
    quantiles: np.ndarray
    # float32, shape (9,): logarithm of the mean intensity of tissue by x, y, z, x^2, y^2, z^2, xy, xz, yz, in
    # units of 100 mm from the middle of the template grid
    shading: np.ndarray

    def rounded(self) -> 'TissueStatistics':
        """As published: in steps of `STEP`."""
        return TissueStatistics(*(np.round(x / STEP) * STEP for x in (self.quantiles, self.shading)))

    def to_dict(self) -> dict:
        """Plain JSON-serialisable dictionary; a zone out of view holds None."""
        rows = [[None if np.isnan(v) else round(float(v), 2) for v in row] for row in self.quantiles]
        return {'Quantiles': rows, 'Shading': [round(float(v), 2) for v in self.shading]}

    @classmethod
    def from_dict(cls, values: dict) -> 'TissueStatistics':
        """Inverse of `to_dict`."""
        return cls(*(np.array(values[name], dtype=np.float32) for name in ('Quantiles', 'Shading')))


def outer(volume: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """What the skin encloses, at 2 mm; bool, shape (n, n, n)."""
    return masks.fill_head(masks.head_mask(volume, TISSUE, sigma=0.7, brain=brain))


def zones(depth_mm: np.ndarray) -> np.ndarray:
    """Share of each zone by depth below the skin; float32, shape (3, ...), adds up to 1."""
    middles = np.log(DEPTHS_MM)
    place = np.interp(np.log(np.maximum(depth_mm, 1e-3)), middles, np.arange(3.0))
    return np.stack([np.clip(1 - np.abs(place - k), 0, 1) for k in range(3)]).astype(np.float32)


def measure(volume: np.ndarray, brain: np.ndarray, seen: np.ndarray) -> TissueStatistics:
    """Statistics of a head on the template grid, (128, 128, 128), air about 0, white matter about 1.

    `brain` and `seen` are brain mask and field of view, bool.
    """
    share, counted = _places(volume, brain, seen)
    shading = _shading(volume, counted)
    return TissueStatistics(_quantiles(volume, share, counted), shading)


def _places(volume: np.ndarray, brain: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of each zone (3, n, n, n), and the voxels that count (n, n, n)."""
    head = outer(volume * seen, brain)
    # beyond the field of view the head goes on: its edge is no skin
    depth = ndimage.distance_transform_edt(head | ~seen) * geometry.GRID_EDGE_MM / _N
    near = ndimage.binary_dilation(brain, iterations=round(BRAIN_ROOM_MM * _N / geometry.GRID_EDGE_MM))
    return zones(depth), head & seen & ~near & (volume > TISSUE) & (depth > PARTIAL_MM)


def _quantiles(values: np.ndarray, share: np.ndarray, counted: np.ndarray) -> np.ndarray:
    quantiles = np.full((3, len(PROBABILITIES)), np.nan, np.float32)
    for zone in range(3):
        inside = counted & (share[zone] > 0.5)
        if inside.sum() >= MIN_VOXELS:
            quantiles[zone] = np.quantile(values[inside], PROBABILITIES)
    return quantiles


def like(head: np.ndarray, brain: np.ndarray, wanted: TissueStatistics) -> np.ndarray:
    """A generated head whose tissue is as bright as the statistics of an original say; float32.

    The head, float32, (n, n, m), lies on the template grid and below it, n 128 or 256, white matter about 1,
    air 0; `brain`, bool, (128, 128, 128), is what it lies around.
    """
    if not np.isfinite(wanted.quantiles).any():
        return head
    factor = len(head) // _N
    small = geometry.pool(head, factor)
    brain = np.pad(brain, ((0, 0), (0, 0), (small.shape[2] - _N, 0)))
    share, counted = _places(small, brain, np.ones_like(brain))
    counted[..., : small.shape[2] - _N] = False  # below the template grid, where the scan was not measured
    before = _gain(_shading(small, counted), small.shape)
    after = _gain(wanted.shading, small.shape)
    curves = _fit_curves(small / before, after, share, counted, wanted.quantiles)
    toned = np.array(head, np.float32)
    for x in range(0, len(head), 16):  # slab by slab: all of it takes 1 GB
        part = toned[x : x + 16]
        where = np.nonzero(part > 0.01)
        coarse = (where[0] + x) // factor, where[1] // factor, where[2] // factor
        values = part[where] / before[coarse]
        part[where] = _through(values, share[(slice(None), *coarse)], curves) * after[coarse]
    return toned


def _fit_curves(
    flat: np.ndarray, gain: np.ndarray, share: np.ndarray, counted: np.ndarray, wanted: np.ndarray
) -> list[Curve]:
    """Curves by which the zones, once they are shaded, have the wanted quantiles.

    Curves come before the shading: the other way round they would deepen it.
    """
    own, target = _quantiles(flat, share, counted), wanted
    flat, gain, share = flat[counted], gain[counted], share[:, counted]
    for _ in range(ROUNDS):
        shaded = _through(flat, share, _curves(own, target)) * gain
        ratio = np.nan_to_num(wanted / _quantiles(shaded, share, shaded > TISSUE), nan=1.0)
        target = target * np.clip(ratio, *WITHIN)
    return _curves(own, target)


def _through(values: np.ndarray, share: np.ndarray, curves: list[Curve]) -> np.ndarray:
    """Values (n,) after the curves of their zones, by the share (3, n) of each."""
    return sum(w * np.interp(values, *curve) for w, curve in zip(share, curves, strict=True))


def _curves(own: np.ndarray, wanted: np.ndarray) -> list[Curve]:
    """Monotone curves of the zones, as knots; a zone that is not known has the curve of the next one."""
    known = [k for k in range(len(own)) if np.isfinite(own[k]).all() and np.isfinite(wanted[k]).all()]
    if not known:
        identity = np.array([0.0, 10.0])
        return [(identity, identity)] * len(own)
    curves = []
    for zone in range(len(own)):
        k = min(known, key=lambda other: abs(other - zone))
        before = np.maximum.accumulate(np.concatenate([[0], own[k]]) + np.arange(own.shape[1] + 1) * 1e-5)
        middle = len(own[k]) // 2
        least = DARKEST * min(1.0, wanted[k][middle] / own[k][middle])
        after = np.maximum.accumulate(np.maximum(np.concatenate([[0], wanted[k]]), least * before))
        top = after[-1] / before[-1]  # beyond the last quantile in proportion
        curves.append((np.append(before, 10 * before[-1]), np.append(after, 10 * top * before[-1])))
    return curves


def _gain(shading: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """By how much a shading brightens each voxel (of 2 mm); float32."""
    logarithm = sum(weight * term for weight, term in zip(shading, _terms(shape), strict=True))
    return np.clip(np.exp(np.broadcast_to(logarithm, shape)), *GAINS)


def _terms(shape: tuple[int, ...], block: int = 1) -> list[np.ndarray]:
    """Terms of the shading on a volume (of 2 mm) with the top of the template grid, averaged over blocks."""
    axes = [((np.arange(n) + _N - n + 0.5) / _N - 0.5) * geometry.GRID_EDGE_MM / 100 for n in shape]
    x, y, z, xx, yy, zz = (
        at.reshape(-1, block).mean(1).astype(np.float32) for at in (*axes, *map(np.square, axes))
    )
    (x, y, z), squares = np.ix_(x, y, z), np.ix_(xx, yy, zz)
    return [x, y, z, *squares, x * y, x * z, y * z]


def _shading(volume: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Smooth logarithm of the intensity of tissue, in `_terms`; shape (9,)."""
    cells = [part for n in volume.shape for part in (n // BLOCK, BLOCK)]
    count = counted.reshape(cells).sum((1, 3, 5)).ravel()
    total = np.where(counted, volume, 0).reshape(cells).sum((1, 3, 5)).ravel()
    use = count >= BLOCK**3 / 8
    if use.sum() < MIN_BLOCKS:
        return np.zeros(9, np.float32)
    values = np.log(total[use] / count[use])
    terms = np.broadcast_arrays(*_terms(volume.shape, BLOCK))
    design = np.stack([*(term.ravel()[use] for term in terms), np.ones(use.sum())], 1)
    solution = _solve(design, values)
    for _ in range(4):  # blocks of another tissue must not count much
        weight = 1 / np.maximum(np.abs(values - design @ solution), 0.1)
        solution = _solve(design * weight[:, None] ** 0.5, values * weight**0.5)
    return solution[:9].astype(np.float32)


def _solve(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    ridge = np.eye(design.shape[1])
    ridge[-1, -1] = 0
    return np.linalg.solve(design.T @ design + 2 * ridge, design.T @ values)
