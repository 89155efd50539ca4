"""Find a face in a head scan by its relief, without a brain mask, a network or any model but an average.

Seen from the front, the skin has a depth at every point. Brows, eye sockets and nose give this depth map a
relief that is much the same in everybody; a cut through the head, a blank or a bare brain has another one.
The relief is searched for its best agreement with that of an average head (`data/face_relief.json`).
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage

from cpmae_bids.deid.images import masks
from cpmae_bids.deid.images.intensity import TINY, skin_level
from cpmae_bids.deid.qc.face import foremost
from cpmae_bids.deid.qc.thresholds import threshold
from cpmae_bids.deid.space import geometry
from cpmae_bids.runtime.packaged import packaged_json

GRID_MM = 3.0  # voxel size (mm) at which heads are examined; the columns and rows of depth maps

# Multiples of the skin's usual height above the air (`intensity.skin_level`) at which the surface is taken,
# one after the other: artefacts of teeth or motion hide a face at one of them and rarely at all
LEVELS = (0.25, 1.0, 2.0)
# Directions (degrees) from which heads are viewed: in a scanner they turn to the side
YAWS = (0.0, -15.0, 15.0)
# The same where a face is looked for along all axes: brains and cut heads agree by up to 0.85 along some
MIN_TURNED = 0.86
STRENGTH = (0.5, 2.0)  # range of the height of the relief, as a multiple of the average's
BELOW_TOP_MM = (60.0, 170.0)  # range of distances of the nose from the top of what is in view
OFF_CENTRE_MM = 15.0  # how far the middle of the face may lie from the middle of the silhouette
# What lies further behind the foremost point of a window counts as this deep: beside the head, or a hole
DEEPEST_MM = 60.0
MAX_EMPTY = 0.3  # share of a window where there may be nothing at all
# Rows of the relief (brows, eyes, root of the nose) that must be in view, where the scan ends below them
MIN_ROWS = 16
FILLED = 0.001  # share of a scan that has its least value, from which on it may be filled with that value
# How far below air a filling is ignored, as a share of the contrast between air and bright tissue
DARKER = 0.3

# Share of the border of the field of view that may seem to be tissue: with more, air and head cannot be
# distinguished and there may be a face within
MAX_OPAQUE_BORDER = 0.6

# The same where less than half of it is solid: MP2RAGE images have such noise in place of air. Up to 0.14 in
# whole heads, whose necks are cut by the border.
MAX_NOISY_BORDER = 0.2


@dataclass(frozen=True)
class Relief:
    """What the relief of a scan shows."""

    agreement: float  # greatest correlation with the average relief, -1 if there is nothing to compare
    opaque: bool = False  # whether head and air could not be distinguished, so that nothing can be said

    @property
    def is_face(self) -> bool:
        return self.agreement >= threshold('face_relief').low


def find_face(values: np.ndarray, affine: np.ndarray, yaws: tuple[float, ...] = YAWS) -> Relief:
    """Look for a face in a scan.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
        Scaled intensities of any contrast with dark air, in any orientation.
    affine : ndarray, shape (4, 4)
        Voxel indices to world coordinates (RAS, mm).
    yaws : tuple of float
        Directions (degrees) from which to look; 0 is enough where the head is known to look ahead.
    """
    low, high = np.min(values), np.max(values)
    if low == high:
        return Relief(-1.0)
    if np.all((values == low) | (values == high)):  # a mask: what it leaves out has a shape, too
        other = low + high - values
    elif (lifted := _without_dark_filling(values, low)) is not None:
        other = lifted
    else:
        return _search(values, affine, yaws)
    both = [_search(one, affine, yaws) for one in (values, other)]
    return max(both, key=lambda found: (found.agreement, not found.opaque))


def find_turned(values: np.ndarray, affine: np.ndarray) -> Relief:
    """Look for a face along all axes, since a header may be wrong; see `find_face`, `MIN_TURNED`."""
    coarse, grid, _ = _on_grid(values, affine)
    grid[:3, 3] -= apply_affine(grid, (np.array(coarse.shape) - 1) / 2)
    found = []
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            turn = np.diag(signs)[list(order)]
            if np.linalg.det(turn) > 0:
                found.append(find_face(coarse, from_matvec(turn) @ grid, yaws=(0.0,)))
    return max(found, key=lambda one: one.agreement)


def _without_dark_filling(values: np.ndarray, low: float) -> np.ndarray | None:
    """Raise a filling far darker than air (CT's -2000, resliced MR) to the level of air; None without one."""
    rest = values[values > low]
    if values.size - rest.size < FILLED * values.size:
        return None
    air, bright = np.percentile(rest, (1, 99))
    return np.maximum(values, air) if air - low > DARKER * (bright - air) else None


def _search(values: np.ndarray, affine: np.ndarray, yaws: tuple[float, ...]) -> Relief:
    values, affine, in_fov = _on_grid(values, affine)
    seen = values[in_fov]
    try:
        skin = skin_level(seen)
    except ValueError:  # all that differs lies outside of the grid
        return Relief(-1.0)
    air = float(np.median(seen[seen <= skin]))
    levels = [air + factor * (skin - air) for factor in LEVELS]
    opaque = _is_opaque(masks.head_mask(values, skin, sigma=0, within=in_fov), in_fov)
    best = -1.0
    for yaw in yaws:
        turned, covered = _turn(values, in_fov, yaw)
        for level in levels:
            head = masks.head_mask(turned, level, sigma=0, within=covered)
            best = max(best, agreement(depth_map(turned, head, level)))
    return Relief(best, opaque)


def _on_grid(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return geometry.on_world_grid(values, affine, GRID_MM)


def _turn(values: np.ndarray, in_fov: np.ndarray, yaw: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn a volume about the vertical axis through its middle, by degrees, within its own grid."""
    if yaw == 0:
        return values, in_fov
    turn, middle = geometry.rotation((0, 0, yaw)), (np.array(values.shape) - 1) / 2
    matrix = from_matvec(turn, middle - turn @ middle)
    covered = geometry.resample(in_fov, matrix, values.shape) > 0.99
    return geometry.resample(values, matrix, values.shape, mode='nearest'), covered


def _is_opaque(head: np.ndarray, in_fov: np.ndarray) -> bool:
    border = in_fov & ~ndimage.binary_erosion(in_fov)
    share = head[border].mean()
    solid = ndimage.binary_erosion(head | ~in_fov, border_value=1)[border & head]
    return bool(share > MAX_OPAQUE_BORDER or (share > MAX_NOISY_BORDER and solid.mean() < 0.5))


def depth_map(values: np.ndarray, head: np.ndarray, level: float) -> np.ndarray:
    """Position of the skin along each ray from the front; shape (X, Z), mm from an arbitrary origin.

    NaN where a ray meets nothing. `values` and `head` (bool) lie on one grid (X, Y, Z), y to the front;
    `level` is the intensity of the skin, to which the position is interpolated between two voxels.
    """
    hit, there = foremost(head)
    before = np.minimum(hit + 1, head.shape[1] - 1)
    inner, outer = (np.take_along_axis(values, y[:, None], axis=1)[:, 0] for y in (hit, before))
    with np.errstate(over='ignore'):  # at the end of the grid both are the same voxel
        step = np.clip((inner - level) / np.maximum(inner - outer, TINY), 0, 1)
    return np.where(there, (hit + step) * GRID_MM, np.nan)


def agreement(depth: np.ndarray) -> float:
    """Greatest correlation of a part of a depth map with the relief of an average face.

    It is -1 if no part has the size and strength of a face. Position along all axes and the tilt of the face
    are free: a plane is taken away from both.
    """
    average, nose_row = average_relief()
    width, height = average.shape
    there = np.isfinite(depth)
    rows = np.flatnonzero(there.sum(axis=0) > 3)
    if not rows.size:
        return -1.0
    padded = np.pad(depth, ((width // 2, width // 2), (0, 0)), constant_values=np.nan)
    nearest, furthest = (mm / GRID_MM for mm in BELOW_TOP_MM)
    best = -1.0
    for bottom in range(-(height - MIN_ROWS), depth.shape[1] - MIN_ROWS + 1):
        if not nearest <= rows[-1] - (bottom + nose_row) <= furthest:
            continue
        low, high = max(0, -bottom), min(height, depth.shape[1] - bottom)
        columns = np.flatnonzero(there[:, max(0, bottom) : bottom + high].any(axis=1))
        if high - low < MIN_ROWS or not columns.size:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(
            padded[:, bottom + low : bottom + high], (width, high - low)
        )[:, 0]
        off_centre = np.abs(np.arange(len(windows)) - (columns[0] + columns[-1]) / 2)
        windows = windows[off_centre <= OFF_CENTRE_MM / GRID_MM]
        if len(windows):
            best = max(best, _correlate(windows, average[:, low:high]))
    return best


def _correlate(windows: np.ndarray, average: np.ndarray) -> float:
    """Greatest correlation of windows, (N, X, Z), with a relief, (X, Z), both less their planes."""
    x, z = np.indices(average.shape)
    planes, _ = np.linalg.qr(np.stack([np.ones(x.size), x.ravel(), z.ravel()], axis=1))
    target = average.ravel() - planes @ (planes.T @ average.ravel())
    flat = windows.reshape(len(windows), -1)
    empty = np.isnan(flat)
    flat = np.where(empty, -np.inf, flat)
    front = flat.max(axis=1, keepdims=True)
    front[np.isinf(front)] = 0  # nothing there at all
    flat = np.maximum(flat, front - DEEPEST_MM)
    flat = flat - (flat @ planes) @ planes.T
    along = flat @ target
    correlation = along / np.maximum(np.linalg.norm(flat, axis=1) * np.linalg.norm(target), 1e-6)
    strength = along / (target @ target)
    usable = (strength >= STRENGTH[0]) & (strength <= STRENGTH[1]) & (empty.mean(axis=1) <= MAX_EMPTY)
    return float(correlation[usable].max(initial=-1.0))


@cache
def average_relief() -> tuple[np.ndarray, int]:
    """Relief of an average face, and the row of the tip of its nose.

    Shape (X, Z), mm, subject's left to right and bottom to top, voxels of `GRID_MM`.
    """
    content = packaged_json('face_relief')
    return np.array(content['depth_mm'], dtype=float), int(content['nose_row'])
