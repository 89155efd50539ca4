"""Affine maps between a scan and the template: conventions and plausibility.

Of a scan, ``values`` are intensities, shape (X, Y, Z), and ``mask`` is its brain, bool; ``affine`` and
``world_to_template`` are as in `geometry`.
"""

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage

from cpmae_bids.deid.images.intensity import TINY, without_spikes
from cpmae_bids.deid.space import geometry

# Gaussians (sigma, mm) between which a scan is compared with the template, an average over many brains. Finer
# is the anatomy of one person; coarser is the coil, and the dark rim and bright middle of any brain.
BAND_MM = (4.0, 12.0)

# Gaussian (sigma, mm) that leaves the shading of a brain, and the ratio of its 95th to its fifth percentile
# from which on it is taken off: surface coils without normalisation give tissue by the rim several times the
# signal of the same tissue in the middle, which hides all detail there
SHADING_MM, STRONG_SHADING = 20.0, 2.0
# Shifts (mm) along each axis, after which two volumes of one head must share less than before
SHIFT_MM, PEAK_MM = 4.0, 2.0
# Depth below the surface of the template's brain from which on a brain is compared by what is within it
INTERIOR_MM = 12.0
SIZES = np.arange(0.8, 1.42, 0.02)  # sizes that are tried, as multiples of that after the alignment
_BINS = 32
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Template:
    """The average brain that scans are aligned to."""

    brain: np.ndarray  # float32, shape (X, Y, Z): intensities, 0 outside the mask
    mask: np.ndarray  # bool, shape (X, Y, Z)
    affine: np.ndarray  # shape (4, 4): voxel indices to template world (RAS mm)
    name: str  # what to record as the template in use


def to_lps(affine: np.ndarray) -> np.ndarray:
    """Affine of a grid in ITK's world, whose x points to the left and y to the back."""
    return _LPS @ affine


def itk_to_ras(parameters: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Matrix (4, 4) of an ITK affine transform between RAS worlds.

    It leads from the world of ITK's fixed image to that of its moving image: the way in which ITK looks up
    intensities, and the inverse of the way in which it moves the image. `parameters`, shape (12,), are the
    rows of the 3x3 matrix, then the translation; `center`, shape (3,), is that of rotation.
    """
    linear = np.reshape(parameters[:9], (3, 3))
    shift = np.asarray(parameters[9:12]) + center - linear @ center
    return _LPS @ from_matvec(linear, shift) @ _LPS


def rotation_and_scales(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """Angle (degrees) of the rotation of an affine map, and its three principal stretches."""
    left, stretches, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        return 180.0, stretches  # a mirror image: no rotation of a head gives it
    cosine = np.clip((np.trace(rotation) - 1) / 2, -1, 1)
    return float(np.degrees(np.arccos(cosine))), stretches


def template_overlap(
    mask: np.ndarray, affine: np.ndarray, world_to_template: np.ndarray, template: Template
) -> float:
    """Dice of a brain mask with the template's, on the grid of the template."""
    matrix = _template_to_scan_voxels(affine, world_to_template, template)
    aligned = geometry.resample(mask, matrix, template.mask.shape) >= 0.5
    return dice(aligned, template.mask)


def intensity_correlation(
    values: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    world_to_template: np.ndarray,
    template: Template,
) -> float:
    """Pearson correlation of a scan's intensities with the template's where both have brain.

    Both are band-pass filtered (`BAND_MM`) within the brain that they share, after strong shading was taken
    off. NaN if the brains do not meet, or one of them is constant.
    """
    template = _coarse(template)
    matrix = _template_to_scan_voxels(affine, world_to_template, template)
    share = geometry.resample(mask, matrix, template.mask.shape)
    values = np.where(mask, without_spikes(values, mask), 0) if mask.any() else np.zeros(mask.shape)
    brain = geometry.resample(values, matrix, template.mask.shape)
    inside = (share >= 0.5) & template.mask
    brain = np.divide(brain, share, out=np.zeros_like(brain), where=inside)
    brain = _without_shading(brain, inside, template.affine)
    details = _band(brain, inside, template.affine), _band(template.brain, inside, template.affine)
    if not inside.any() or min(np.ptp(detail) for detail in details) < 1e-3:
        return float('nan')
    return float(np.corrcoef(*details)[0, 1])


def volume_by_interior(
    values: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    world_to_template: np.ndarray,
    template: Template,
) -> float:
    """Volume of a brain mask over that of the template's, where the size is that of what lies within.

    An alignment fits the outlines of two brains. A mask that holds skull and scalp is shrunk by it, with the
    brain within; it then has the size of a brain, and the brain has not. So the size is changed (`SIZES`) to
    that at which the interiors correlate most. NaN if they do for none.
    """
    template = _coarse(template)
    sizes = geometry.voxel_sizes(template.affine)
    deep = ndimage.distance_transform_edt(np.pad(template.mask, 1), sampling=sizes) > INTERIOR_MM
    deep = deep[1:-1, 1:-1, 1:-1]
    if not deep.any():
        return float('nan')
    center = apply_affine(template.affine, np.argwhere(template.mask).mean(axis=0))
    window, grid = geometry.crop(deep, template.affine, margin=1)
    deep = deep[window]
    expected = _band(template.brain[window], deep, grid)
    found = []
    for size in SIZES:
        resize = from_matvec(size * np.eye(3), center - size * center)
        matrix = np.linalg.inv(affine) @ np.linalg.inv(resize @ world_to_template) @ grid
        detail = _band(geometry.resample(values, matrix, deep.shape), deep, grid)
        if min(np.ptp(detail), np.ptp(expected)) >= 1e-3:
            found.append((float(np.corrcoef(detail, expected)[0, 1]), matrix))
    if not found:
        return float('nan')
    _, matrix = max(found, key=lambda one: one[0])
    # The mask may reach beyond the grid of the template: counted by its own voxels
    return float(mask.sum() * abs(np.linalg.det(np.linalg.inv(matrix)[:3, :3])) / max(template.mask.sum(), 1))


def _coarse(template: Template) -> Template:
    """The template at every second or fourth voxel, which hold all that `BAND_MM` lets pass."""
    steps = np.maximum(1, BAND_MM[0] / geometry.voxel_sizes(template.affine) + 1e-3).astype(int)
    part = tuple(slice(None, None, step) for step in steps)
    affine = template.affine @ np.diag([*steps, 1])
    return Template(template.brain[part], template.mask[part], affine, template.name)


def shared_information(
    values: np.ndarray,
    affine: np.ndarray,
    to_other: np.ndarray,
    other: np.ndarray,
    other_mask: np.ndarray,
    other_affine: np.ndarray,
) -> tuple[float, float]:
    """How sharply two contrasts of one brain share most information where they are aligned.

    Mutual information (histograms of 32 bins) within the brain, over the greatest of those after a shift
    along one axis, at `SHIFT_MM` and at `PEAK_MM`. Brains of two persons have no such peak, nor has one brain
    beside its place.

    Parameters
    ----------
    values : ndarray of float32, shape (X, Y, Z)
    affine, to_other : ndarray, shape (4, 4)
        Its voxels to world, and its world to that of the other volume (RAS mm).
    other, other_mask : ndarray, shape (A, B, C)
        Intensities and brain of the other volume.
    other_affine : ndarray, shape (4, 4)

    Returns
    -------
    sharpness, peak : float
        NaN if the first volume, less its `padding`, shows less than half of the brain, there or after a
        shift.
    """
    steps = np.maximum(1, 2.0 / geometry.voxel_sizes(other_affine) + 1e-3).astype(int)
    part = tuple(slice(None, None, step) for step in steps)
    inside = np.argwhere(other_mask[part]) * steps
    reference = other[part][other_mask[part]]
    world = apply_affine(other_affine, inside)
    smoothed = geometry.smooth(values, 1.0 / geometry.voxel_sizes(affine))
    to_voxels = np.linalg.inv(affine) @ np.linalg.inv(to_other)
    unseen = padding(values)

    def information(shift) -> float:
        voxels = apply_affine(to_voxels, world + shift)
        seen = ((voxels > -0.5) & (voxels < np.array(values.shape) - 0.5)).all(axis=1)
        if unseen is not None:
            seen[seen] = values[tuple(np.rint(voxels[seen]).astype(int).T)] != unseen
        if seen.mean() < 0.5:
            return float('nan')
        sampled = ndimage.map_coordinates(smoothed, voxels[seen].T, order=1, mode='nearest')
        return _mutual_information(sampled, reference[seen])

    here, directions = information(np.zeros(3)), np.concatenate([np.eye(3), -np.eye(3)])
    # NaN if any of them is: what is seen of the brain must not decide which shifts count
    greatest = [np.max([information(mm * way) for way in directions]) for mm in (SHIFT_MM, PEAK_MM)]
    sharpness, peak = (here / value if value > 0 else float('nan') for value in greatest)
    return sharpness, peak


def padding(values: np.ndarray) -> float | None:
    """Value of what lies around a slab that was resampled onto a larger grid, or around masked air.

    None if no side of the volume (X, Y, Z) is constant.
    """
    sides = (np.take(values, end, axis=axis) for axis in range(3) for end in (0, -1))
    return next((float(side.flat[0]) for side in sides if np.ptp(side) == 0), None)


def _mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """In nats, of the joint histogram between the first and the 99th percentile of each."""
    ranges = [np.percentile(x, (1, 99)) for x in (a, b)]
    if any(low >= high for low, high in ranges):
        return 0.0
    a, b = (np.clip(x, low, high) for x, (low, high) in zip((a, b), ranges, strict=True))
    joint = np.histogram2d(a, b, bins=_BINS)[0] / a.size
    independent = joint.sum(axis=1)[:, None] * joint.sum(axis=0)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / independent[some])).sum())


def _band(volume: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Detail of a volume in units of its mean, at the voxels of a mask and from them alone."""
    volume = np.where(inside, volume, 0)
    scale = max(float(np.abs(volume).sum()), TINY) / max(int(inside.sum()), 1)
    fine, coarse = (_local_mean(volume, inside, affine, mm)[inside] for mm in BAND_MM)
    return (fine - coarse) / scale


def _without_shading(volume: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A brain over its shading, if that is strong; else as it is."""
    field = _local_mean(np.where(inside, volume, 0), inside, affine, SHADING_MM)
    low, high = np.percentile(field[inside], (5, 95)) if inside.any() else (1, 1)
    if not 0 < STRONG_SHADING * low < high:
        return volume
    return np.divide(volume, field, out=np.zeros_like(volume), where=inside & (field > 0.1 * low))


def _local_mean(volume: np.ndarray, inside: np.ndarray, affine: np.ndarray, mm: float) -> np.ndarray:
    sigma = mm / geometry.voxel_sizes(affine)
    return geometry.smooth(volume, sigma) / np.maximum(geometry.smooth(inside, sigma), 1e-6)


def _template_to_scan_voxels(affine, world_to_template, template: Template) -> np.ndarray:
    return np.linalg.inv(affine) @ np.linalg.inv(world_to_template) @ template.affine


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks; 0 if both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 0.0
