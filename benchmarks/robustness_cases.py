"""Scans as other scanners, protocols and positions would give them, made from a whole head.

A case takes a `Head` and gives intensities and affine of another scan of the same person. What a real
scanner does is imitated as far as it matters here: resampling happens once, air stays the scan's own air.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import masks
from cpmae_bids.deid.space import geometry

NOSE_Y, LIPS_Z, EYES_Z = 84.0, -92.0, -48.0
"""Planes of the template's world (mm): root of the nose's tip, between the lips, below the eyes."""


@dataclass(frozen=True)
class Head:
    """A scan that was aligned to the template.

    Attributes
    ----------
    values : ndarray of float32, shape (X, Y, Z)
        Scaled intensities, voxel axes to the right, front and top.
    affine : ndarray, shape (4, 4)
        Voxel indices to world (RAS mm).
    kept : ndarray of bool, shape (X, Y, Z)
        Brain and guard rim.
    world_to_template : ndarray, shape (4, 4)
    scale : float
        Intensity of white matter, about.
    """

    values: np.ndarray
    affine: np.ndarray
    kept: np.ndarray
    world_to_template: np.ndarray
    scale: float

    @classmethod
    def read(cls, t1w, kept_mask, world_to_template: np.ndarray, scale: float) -> Head:
        image, kept = (nib.as_closest_canonical(nib.load(path)) for path in (t1w, kept_mask))
        values = np.asarray(image.dataobj, np.float32)
        return cls(values, image.affine, np.asarray(kept.dataobj) > 0, world_to_template, scale)

    @property
    def sizes(self) -> np.ndarray:
        return geometry.voxel_sizes(self.affine)

    def air(self) -> np.ndarray:
        """Intensities of the air at some distance from the head."""
        rough = ndimage.gaussian_filter(self.values, 4 / self.sizes) > 0.06 * self.scale
        far = ~ndimage.binary_dilation(rough, iterations=int(np.ceil(6 / self.sizes.min())))
        return self.values[far] if far.sum() > 1000 else np.zeros(1, np.float32)

    def index_at(self, axis: int, mm: float) -> int:
        """Voxel along an axis at a position (mm) along the same axis of the template, in the middle."""
        point = np.array([0.0, 0.0, 0.0, 1.0])
        point[axis] = mm
        point[(axis + 1) % 3 if axis == 1 else 1] = {1: -60.0, 2: 60.0}[axis]
        voxel = np.linalg.inv(self.affine) @ np.linalg.inv(self.world_to_template) @ point
        return int(np.clip(np.rint(voxel[axis]), 0, self.values.shape[axis]))


Scan = tuple[np.ndarray, np.ndarray]
"""Intensities and affine."""


def sample(head: Head, affine: np.ndarray, shape, motion: np.ndarray | None = None) -> Scan:
    """The head on another grid, after a motion (4, 4) of its world; outside of the scan is air."""
    motion = np.eye(4) if motion is None else motion
    sigma = np.sqrt(np.clip((geometry.voxel_sizes(affine)) ** 2 - head.sizes**2, 0, None) / (8 * np.log(2)))
    values = ndimage.gaussian_filter(head.values, sigma / head.sizes)
    matrix = np.linalg.inv(head.affine) @ np.linalg.inv(motion) @ affine
    result = geometry.resample(values, matrix, shape, mode='nearest')
    outside = ~geometry.inside_grid(matrix, shape, values.shape)
    result[outside] = np.random.default_rng(1).choice(head.air(), int(outside.sum()))
    return result, affine


def turned(axis: int, degrees: float) -> Callable[[Head], Scan]:
    """The head turned about the middle of the brain, in a larger field of view."""

    def case(head: Head) -> Scan:
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        motion, angle = np.eye(4), np.radians(degrees)
        motion[i, i] = motion[j, j] = np.cos(angle)
        motion[j, i], motion[i, j] = np.sin(angle), -np.sin(angle)
        middle = head.affine[:3, :3] @ np.argwhere(head.kept).mean(axis=0) + head.affine[:3, 3]
        motion[:3, 3] = middle - motion[:3, :3] @ middle
        margin = np.ceil(24 / head.sizes).astype(int)
        affine = head.affine.copy()
        affine[:3, 3] -= head.affine[:3, :3] @ margin
        return sample(head, affine, tuple(np.array(head.values.shape) + 2 * margin), motion)

    return case


def resized(factor: float) -> Callable[[Head], Scan]:
    """A head of another size: a child's, or a large adult's."""

    def case(head: Head) -> Scan:
        return head.values, np.diag([factor, factor, factor, 1.0]) @ head.affine

    return case


def child(head: Head) -> Scan:
    """A brain of 0.93 of the size and a low face, as at about six years."""
    motion = np.eye(4)
    to_template = head.world_to_template
    index = np.indices(head.values.shape, dtype=np.float32).reshape(3, -1)
    world = head.affine[:3, :3] @ index + head.affine[:3, 3:]
    height = (to_template[:3, :3] @ world + to_template[:3, 3:])[2].reshape(head.values.shape)
    # What lies below the eyes is looked up farther below: the face gets lower by a quarter
    shift = np.clip(-20 - height, 0, None) / 3 / head.sizes[2]
    index = np.indices(head.values.shape, dtype=np.float32)
    index[2] -= shift
    squeezed = ndimage.map_coordinates(head.values, index, order=1, mode='constant', cval=-1)
    empty = squeezed < 0
    squeezed[empty] = np.random.default_rng(1).choice(head.air(), int(empty.sum()))
    motion[:3, :3] *= 0.93
    return squeezed, motion @ head.affine


def cut(axis: int, mm: float, *, keep: str) -> Callable[[Head], Scan]:
    """A field of view that ends at a plane of the template's world."""

    def case(head: Head) -> Scan:
        index, window, affine = head.index_at(axis, mm), [slice(None)] * 3, head.affine.copy()
        window[axis] = slice(0, index) if keep == 'below' else slice(index, None)
        if keep == 'above':
            affine[:3, 3] += head.affine[:3, axis] * index
        return head.values[tuple(window)], affine

    return case


def slab(mm: float) -> Callable[[Head], Scan]:
    """Sagittal slices over a part of the head: ears and the sides of the scalp are cut."""

    def case(head: Head) -> Scan:
        middle = np.argwhere(head.kept).mean(axis=0)[0]
        count = round(mm / head.sizes[0])
        start = max(0, round(middle - count / 2))
        affine = head.affine.copy()
        affine[:3, 3] += head.affine[:3, 0] * start
        return head.values[start : start + count], affine

    return case


def voxels(*sizes: float) -> Callable[[Head], Scan]:
    """Other voxels over the same field of view."""

    def case(head: Head) -> Scan:
        extent = head.sizes * head.values.shape
        shape = tuple(int(n) for n in np.floor(extent / sizes))
        affine = head.affine @ np.diag([*(np.array(sizes) / head.sizes), 1.0])
        affine[:3, 3] += head.affine[:3, :3] @ ((np.array(sizes) / head.sizes - 1) / 2)
        return sample(head, affine, shape)

    return case


def bias_field(head: Head) -> Scan:
    """A surface coil at the back: its sensitivity falls to a sixth over the head, and twists to one side."""
    x, y, z = (np.linspace(-1, 1, n) for n in head.values.shape)
    x, y, z = x[:, None, None], y[:, None], z[None]
    return head.values * np.exp(0.2 * x - 0.9 * y + 0.25 * z - 0.15 * z * y).astype(np.float32), head.affine


def rician(values: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    """Magnitude of values with noise in both channels."""
    rng = np.random.default_rng(seed)
    real, imaginary = (sigma * rng.standard_normal(values.shape, np.float32) for _ in range(2))
    return np.hypot(values + real, imaginary)


def low_field(head: Head) -> Scan:
    """Blurred to 3 mm, less contrast between tissues, and a signal-to-noise ratio of 12."""
    blurred = ndimage.gaussian_filter(head.values, 3 / 2.355 / head.sizes)
    tissue = np.clip(blurred / (0.5 * head.scale), 0, 1)
    flat = blurred * (1 - 0.35 * tissue) + 0.35 * tissue * 0.7 * head.scale
    return rician(flat, head.scale / 12), head.affine


def noisy(head: Head) -> Scan:
    """A signal-to-noise ratio of 8."""
    return rician(head.values, head.scale / 8), head.affine


def mp2rage(head: Head) -> Scan:
    """The uniform image of MP2RAGE: no bias, and noise over the whole range in air and in bone.

    Two complex images are made whose ratio gives the contrast, noise is added to both, and they are combined
    as Re(S1 S2*) / (|S1|^2 + |S2|^2).
    """
    rng = np.random.default_rng(1)
    signal = np.clip((head.values / head.scale - 0.05) / 0.25, 0, 1)
    contrast = np.clip(head.values / head.scale / 1.5 - 0.5, -0.49, 0.49)
    ratio = np.where(
        np.abs(contrast) < 1e-3, contrast, (1 - np.sqrt(1 - 4 * contrast**2)) / (2 * contrast + 1e-9)
    )
    images = []
    for part in (signal * ratio, signal):
        noise = rng.standard_normal((2, *part.shape), np.float32) * 0.02
        images.append(part + noise[0] + 1j * noise[1])
    first, second = images
    uniform = (first * second.conj()).real / (np.abs(first) ** 2 + np.abs(second) ** 2)
    return ((uniform + 0.5) * 4095).astype(np.float32), head.affine


def no_background(head: Head) -> Scan:
    """The scanner's software set the air to 0."""
    mask = ndimage.binary_dilation(ndimage.gaussian_filter(head.values, 1) > 0.08 * head.scale)
    return np.where(ndimage.binary_fill_holes(masks.largest_component(mask)), head.values, 0), head.affine


def wrapped(head: Head) -> Scan:
    """Phase wrap: 20 mm of the nose fold over behind the back of the head."""
    front = head.index_at(1, NOSE_Y)
    values = head.values[:, :front].copy()
    folded = head.values[:, front:]
    depth = min(folded.shape[1], values.shape[1])
    values[:, :depth] += folded[:, :depth]
    return values, head.affine


def inverted(head: Head) -> Scan:
    """White and grey matter and fluid as in a T2w scan."""
    tissue = head.values > 0.15 * head.scale
    dark = np.clip(1.5 * head.scale - head.values, 0.1 * head.scale, None)
    return np.where(tissue, dark, head.values), head.affine


def skull_stripped(head: Head) -> Scan:
    return np.where(head.kept, head.values, 0), head.affine


def defaced(head: Head) -> Scan:
    """Everything in front of a plane from the brow to the throat is 0."""
    matrix = head.world_to_template @ head.affine
    index = [np.arange(n, dtype=np.float32) for n in head.values.shape]
    y, z = (
        row[0] * index[0][:, None, None] + row[1] * index[1][:, None] + row[2] * index[2] + row[3]
        for row in matrix[1:3]
    )
    front = (y - 0.4 * z > 75) & ~head.kept
    return np.where(front, 0, head.values), head.affine


def half_brain(head: Head) -> Scan:
    """The field of view ends in the middle of the brain."""
    middle = int(np.argwhere(head.kept).mean(axis=0)[2])
    return head.values[:, :, :middle], head.affine


@dataclass(frozen=True)
class Case:
    """A kind of scan.

    Attributes
    ----------
    text : str
        What it is.
    make : callable
        `Head` to intensities and affine.
    refused : bool
        Whether a person would refuse it, too.
    fine : bool
        Whether it needs a head of 1 mm and the preset 256.
    """

    text: str
    make: Callable[[Head], Scan]
    refused: bool = False
    fine: bool = False


CASES = {
    'as_is': Case('as it is', lambda head: (head.values, head.affine)),
    'pitch_up': Case('head tilted back by 30°', turned(0, 30)),
    'pitch_down': Case('head tilted forward by 30°', turned(0, -30)),
    'roll': Case('head tilted to the side by 30°', turned(1, 30)),
    'yaw': Case('head turned by 30°', turned(2, 30)),
    'bias': Case('strong bias field (1 to 6)', bias_field),
    'noisy': Case('noise, SNR 8', noisy),
    'low_field': Case('low field: 3 mm blur, less contrast, SNR 12', low_field),
    'mp2rage': Case('MP2RAGE: noise over the whole range in the air', mp2rage),
    'no_background': Case('air set to 0 by the scanner', no_background),
    'wrapped': Case('nose folded over behind the head', wrapped),
    'no_nose': Case('nose out of the field of view', cut(1, NOSE_Y, keep='below')),
    'no_chin': Case('chin out of the field of view', cut(2, LIPS_Z, keep='above')),
    'no_face': Case('all below the eyes out of the field of view', cut(2, EYES_Z, keep='above')),
    'slab': Case('slab of 150 mm, ears cut', slab(150)),
    'child': Case('brain of 0.93 of the size, low face', child),
    'small': Case('head of 0.85 of the size', resized(0.85)),
    'large': Case('head of 1.12 of the size', resized(1.12)),
    'thick_axial': Case('1 x 1 x 3 mm', voxels(1, 1, 3), fine=True),
    'thick_sagittal': Case('3 x 1 x 1 mm', voxels(3, 1, 1), fine=True),
    'half_mm': Case('0.5 mm', voxels(0.5, 0.5, 0.5), fine=True),
    'mp2rage_fine': Case('MP2RAGE, 1 mm', mp2rage, fine=True),
    'half_brain': Case('half of the brain out of the field of view', half_brain, refused=True),
    'inverted': Case('contrast of a T2w scan', inverted, refused=True),
    'skull_stripped': Case('skull-stripped before', skull_stripped, refused=True),
    'defaced': Case('defaced before', defaced, refused=True),
}
