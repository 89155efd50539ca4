"""Reject scans that show no whole head: another body part, a cut brain, or a face that was removed before.

Skull-stripping and defacing remove what distinguishes tissue from air, and the result would pass for a whole
head. The limits were set on 165 whole heads, all of which pass, and on the same heads stripped, sheared by
quickshear and masked by pydeface.
"""

from typing import NamedTuple

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage

from cpmae_bids.deid.images import intensity, masks, nifti, noise
from cpmae_bids.deid.qc import margin
from cpmae_bids.deid.qc.decision import violation
from cpmae_bids.deid.qc.thresholds import THRESHOLDS, threshold
from cpmae_bids.deid.space import alignment, geometry, regions
from cpmae_bids.exceptions import InputError

# Area of brain that may touch one side of the field of view; the spinal cord does, half a brain must not
CUT_BRAIN_CM2 = 60.0

# Largest area in the face where tissue borders on the constant background without a transition, see
# `measure_head`: up to 18 in whole heads, 26 and more after a plane or a mask was cut through the face
MAX_FACE_CUT_CM2 = 22.0
AIR_MM = 40.0  # distance from the brain beyond which there is nothing but air in `regions.ABOVE_EARS`
# Share of that air that may be as bright as tissue: 0 in magnitude images, all in ratios of images
MAX_BRIGHT_AIR = 0.3

# Least share of the tissue that a T1w shows, away from the brain and in the face, which another contrast of
# the same head shows as well: 0.8 and more in real T2w, FLAIR and PDw
MIN_SHOWN = 0.5
# The same of all levels, those that the other contrast does not see included: with less, the generated head
# is more than twice the original one (`head_volume_ratio`)
MIN_LEVELS_SHOWN = 0.45
# Volumes of tissue that it takes to say anything about a level of the head, and about a face
MIN_LEVEL_ML, MIN_FACE_ML = 2.0, 10.0
# Least share of the brain without the value of the padding around a resampled slab, which fluid may have
MIN_BRAIN = 0.7
# Share of the field of view, the darkest, that is air, and multiple of its level that tissue exceeds in the
# shade of the coil, where it may be as dark as noise is elsewhere
AIR_SHARE, ABOVE_AIR = 0.1, 2.5
_COARSE = 64  # voxels along the template grid: 4 mm show whether there is tissue, and cost next to nothing
Placed = tuple[nifti.Image, np.ndarray, np.ndarray]  # a scan, its brain, and its affine map to the template


def check_brain(brain: np.ndarray, scan: nifti.Image) -> None:
    """Check that a mask (bool, on the grid of the scan) is that of one whole brain.

    Raises InputError if the mask is empty, of the wrong size, or cut by the field of view.
    """
    if not brain.any():
        raise InputError(f'{scan.path}: no brain found: is this a scan of a head?')
    sizes = scan.voxel_sizes
    volume = float(brain.sum() * np.prod(sizes) / 1000)
    row = threshold('brain_ml')
    if not row.holds(volume):
        raise InputError(
            f'{scan.path}: a brain of {volume:.0f} mL was found, not {row.low:.0f} to {row.high:.0f}: '
            'is this a scan of a whole human head?'
        )
    for axis in range(3):
        area = np.prod(sizes) / sizes[axis] / 100
        for end in (0, -1):
            touching = float(np.take(brain, end, axis=axis).sum() * area)
            if touching > CUT_BRAIN_CM2:
                raise InputError(
                    f'{scan.path}: the field of view cuts {touching:.0f} cm2 of the brain: '
                    'give a scan of the whole brain'
                )


def alignment_fault(world_to_template: np.ndarray, overlap: float, correlation: float) -> str | None:
    """Say in a few words why an affine map (4, 4) cannot be that of a brain to the template; None if it can.

    `overlap` and `correlation` are those of the aligned brain with the template's; NaN is a fault.
    """
    angle, stretches = alignment.rotation_and_scales(world_to_template)
    metrics = {'template_overlap': overlap, 'template_correlation': correlation, 'rotation_deg': angle}
    metrics |= {'stretch_min': stretches.min(), 'stretch_max': stretches.max()}
    faults = (violation(row, metrics[row.metric]) for row in THRESHOLDS if row.metric in metrics)
    return next(filter(None, faults), None)


def check_head(scan: nifti.Image, brain: np.ndarray, world_to_template: np.ndarray) -> None:
    """Check that there is a head around the brain, with its face as far as it lies in the field of view.

    Raises InputError if the scan was skull-stripped or defaced, or if its air cannot be distinguished from
    tissue.
    """
    metrics = measure_head(scan, brain, world_to_template)
    if metrics['bright_air_share'] > MAX_BRIGHT_AIR:
        raise InputError(
            f'{scan.path}: noise as bright as tissue in place of air, as in the uniform image of MP2RAGE: '
            'give a version with its background noise removed'
        )
    if metrics['head_share'] < threshold('head_per_brain').low:
        raise InputError(f'{scan.path}: no head around the brain, skull-stripped before: give the original')
    if metrics['nose_share'] < threshold('nose_share').low or metrics['face_cut_cm2'] > MAX_FACE_CUT_CM2:
        raise InputError(f'{scan.path}: the face is missing or cut, defaced before: give the original scan')


def measure_head(scan: nifti.Image, brain: np.ndarray, world_to_template: np.ndarray) -> dict[str, float]:
    """What `check_head` decides on.

    ``head_share``: volume of tissue at 1 cm and more from the brain over that of the brain. ``nose_share``:
    share of tissue in `regions.NOSE`, 1 where the box lies outside the field of view. ``bright_air_share``:
    share of what must be air (`regions.ABOVE_EARS`, `AIR_MM`) that is as bright as tissue, 0 where none is in
    view. ``face_cut_cm2``: area of the face that borders on the background without a transition, less half of
    the same on the scalp, which is large where software removed the whole background.
    """
    coarse = _coarse(scan, brain, world_to_template)
    away = ~ndimage.binary_dilation(coarse.brain, iterations=2)
    box = regions.box(regions.NOSE, _COARSE)
    nose = box & coarse.in_fov
    visible = nose.sum() > 0.3 * box.sum()
    values = scan.values()
    return {
        'head_share': float((coarse.tissue & away).sum() / max(coarse.brain.sum(), 1)),
        'nose_share': float(coarse.tissue[nose].mean()) if visible else 1.0,
        'bright_air_share': _bright_air(coarse),
        'face_cut_cm2': _face_cut(
            values, intensity.brain_scale(values[brain]), scan.affine, world_to_template
        ),
    }


def check_other_head(other: Placed, t1w: Placed) -> None:
    """Check that a scan of another contrast shows the head that its T1w shows, as far as it sees it.

    Raises InputError if the scan shows a part of the brain only, was skull-stripped or defaced, or if its air
    cannot be distinguished from tissue.
    """
    scan, by = other[0], t1w[0].path.name
    values = scan.values()
    padding = alignment.padding(values)
    shown = 1.0 if padding is None else float((values[other[1]] != padding).mean())
    if shown < MIN_BRAIN:
        raise InputError(f'{scan.path}: shows only {shown:.0%} of the brain: give a scan of the whole brain')
    metrics = measure_other_head(other, t1w)
    if metrics['bright_air_share'] > MAX_BRIGHT_AIR:
        raise InputError(
            f'{scan.path}: noise as bright as tissue in place of air: give a version without background noise'
        )
    if metrics['head_shown'] < MIN_SHOWN:
        raise InputError(
            f'{scan.path}: no head around the brain, unlike {by}, skull-stripped before: give the original'
        )
    if metrics['face_shown'] < MIN_SHOWN:
        raise InputError(
            f'{scan.path}: the face that {by} shows is missing, defaced before: give the original scan'
        )
    if metrics['levels_shown'] < MIN_LEVELS_SHOWN:
        raise InputError(
            f'{scan.path}: shows {metrics["levels_shown"]:.0%} of the head that {by} shows in its field of '
            'view, as a slab does that was resampled onto a larger grid: give it as acquired'
        )


def measure_other_head(other: Placed, t1w: Placed) -> dict[str, float]:
    """What `check_other_head` decides on.

    A slab may end anywhere, in its own grid or, once resampled, in a larger one. There the whole level of the
    head is missing, whereas a face that was removed leaves what is behind it. ``head_shown``, ``face_shown``:
    share of the tissue of the T1w, away from the brain and in the face, that is tissue in the other contrast
    too; 1 for a face that lies outside the field of view. ``levels_shown``: the same of all levels.
    ``bright_air_share``: see `measure_head`.
    """
    coarse, of_t1w = _coarse(*other), _coarse(*t1w)
    tissue = coarse.tissue
    seen = ndimage.binary_erosion(coarse.in_fov & of_t1w.in_fov)  # the outermost voxels are half empty
    expected = of_t1w.tissue & seen & ~ndimage.binary_dilation(of_t1w.brain | coarse.brain, iterations=2)
    voxel_ml = (geometry.GRID_EDGE_MM / _COARSE) ** 3 / 1000
    levels_shown = float(tissue[expected].mean()) if expected.any() else 0.0
    behind = expected & regions.box(regions.REAR, _COARSE)
    total = behind.sum(axis=(0, 1)) * voxel_ml
    shown = (behind & tissue).sum(axis=(0, 1)) * voxel_ml
    expected &= (total < MIN_LEVEL_ML) | (shown > 0.5 * total)
    face = expected & regions.box(regions.FRONT, _COARSE)
    return {
        'head_shown': float(tissue[expected].mean()) if expected.any() else 0.0,
        'face_shown': float(tissue[face].mean()) if face.sum() * voxel_ml > MIN_FACE_ML else 1.0,
        'levels_shown': levels_shown,
        'bright_air_share': _bright_air(coarse),
    }


class _Coarse(NamedTuple):
    """A scan on a coarse template grid; bool, shape (64, 64, 64) each."""

    tissue: np.ndarray
    bright: np.ndarray  # tissue wherever the coil sees as much as of the brain
    brain: np.ndarray
    in_fov: np.ndarray


def _coarse(scan: nifti.Image, brain: np.ndarray, world_to_template: np.ndarray) -> _Coarse:
    values = scan.values()
    scale = intensity.brain_scale(values[brain])
    level = noise.floor(values, scan.voxel_sizes, scale)
    inside = geometry.to_template(brain, scan.affine, world_to_template, _COARSE) >= 0.5
    in_fov = geometry.field_of_view(scan.shape, scan.affine, world_to_template, _COARSE)
    volume = geometry.to_template(values, scan.affine, world_to_template, _COARSE)
    volume = noise.above_floor(volume, level) / scale
    air = np.quantile(volume[in_fov], AIR_SHARE) if in_fov.any() else 0.0
    shade = margin.gain(volume, inside, geometry.GRID_EDGE_MM / _COARSE)
    dark = np.minimum(np.maximum(intensity.TISSUE * shade, ABOVE_AIR * air), intensity.TISSUE)
    return _Coarse(volume > dark, volume > intensity.TISSUE, inside, in_fov)


def _bright_air(coarse: _Coarse) -> float:
    far = ndimage.distance_transform_edt(~coarse.brain, sampling=geometry.GRID_EDGE_MM / _COARSE) > AIR_MM
    air = regions.box(regions.ABOVE_EARS, _COARSE) & coarse.in_fov & far
    return float(coarse.bright[air].mean()) if air.any() else 0.0


def _face_cut(values, scale: float, affine: np.ndarray, world_to_template: np.ndarray) -> float:
    """Area (cm2) of hard edges between background and bright tissue: face less half of the scalp.

    Skin is blurred by voxel and coil; only software sets a voxel to the background beside a bright one.
    """
    background = (values == values.min()) | (values == 0)
    tissue = values > 0.35 * scale
    sizes = geometry.voxel_sizes(affine)
    face = scalp = 0.0
    for axis in range(3):
        lower, upper = masks.neighbours(axis)
        edges = (background[lower] & tissue[upper]) | (tissue[lower] & background[upper])
        position = apply_affine(world_to_template @ affine, np.argwhere(edges))
        area = np.prod(sizes) / sizes[axis] / 100
        face += area * ((position[:, 1] > 30) & (position[:, 2] < 0)).sum()
        scalp += area * (position[:, 2] > 20).sum()
    return max(0.0, float(face - scalp / 2))
