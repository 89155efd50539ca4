"""Find the brain of a scan of another contrast through a T1w scan of the same person.

A rigid map, found by mutual information, propagates brain, preserved region and affine map of the T1w scan.
What a slab does not show counts for nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage

from cpmae_bids.deid.images import masks, nifti
from cpmae_bids.deid.qc import head_checks, scan_checks
from cpmae_bids.deid.qc.thresholds import HEAD, threshold
from cpmae_bids.deid.space import alignment, coregistration, geometry
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps import Output
from cpmae_bids.steps.conform import read_affine
from cpmae_bids.steps.register import STARTS, brain_on_grid

RIM_MM = 6.0  # margin around the brain (mm): includes the skull, but no muscle of the face
# Height of the brain above the centre of mass of a scan: of a slab, and of a head with its neck
ABOVE_MM = (0.0, 40.0)
# How far apart results of a coarse search must be to be two, and how many of them are refined
APART_MM, TRIED = 10.0, 3


def locate(
    image: Path,
    t1w: Path,
    t1w_brain: Path,
    t1w_kept: Path,
    t1w_affine: Path,
    brain_mask: Annotated[Path, Output('brain_mask.nii.gz')],
    kept_mask: Annotated[Path, Output('kept_mask.nii.gz')],
    affine: Annotated[Path, Output('affine.txt')],
) -> None:
    """Write masks of a scan and its affine map to the template, by those of a T1w scan of the same person.

    InputError also if the scan does not align to the T1w scan, or lacks a part of the head that it should
    see.
    """
    scan, target = scan_checks.load_t1w(image), scan_checks.load_t1w(t1w)
    brain, kept = (nifti.read_mask(path, target) for path in (t1w_brain, t1w_kept))
    values, target_values = scan.values(), target.values()
    to_t1w = _align(scan, values, target, target_values, brain)
    if to_t1w is None:
        acquired = '' if alignment.padding(values) is None else '; give a slab as acquired, not resampled'
        raise InputError(
            f'{image}: does not align to {t1w.name}: check that both are scans of one person, and the '
            f'orientation in the headers{acquired}'
        )
    to_voxels = np.linalg.inv(target.affine) @ to_t1w @ scan.affine
    found, stays = (geometry.resample(mask, to_voxels, scan.shape, order=0) > 0.5 for mask in (brain, kept))
    head_checks.check_brain(found, scan)
    t1w_matrix = read_affine(t1w_affine)
    matrix = t1w_matrix @ to_t1w
    head_checks.check_other_head((scan, found, matrix), (target, brain, t1w_matrix))
    nifti.write_mask(brain_mask, found, scan)
    nifti.write_mask(kept_mask, stays, scan)
    np.savetxt(affine, matrix, fmt='%.9g')


def _align(
    scan: nifti.Image, values: np.ndarray, target: nifti.Image, target_values: np.ndarray, brain: np.ndarray
) -> np.ndarray | None:
    """World of the scan to world of the T1w; None if there is no plausible alignment."""
    rim = masks.dilate(brain, RIM_MM, target.voxel_sizes)
    fixed = brain_on_grid(target_values, rim, target.affine)
    moving = brain_on_grid(values, np.ones(scan.shape, bool), scan.affine)
    levels = [
        (coregistration.MutualInformation(*fixed, *moving, fwhm, points), step)
        for fwhm, points, step in coregistration.LEVELS
    ]
    (coarse, first_step), *finer = levels
    centers = [apply_affine(to_world, ndimage.center_of_mass(volume)) for volume, to_world in (fixed, moving)]

    def plausible(start: np.ndarray) -> np.ndarray | None:
        to_scan = start
        for compare, step in finer:
            to_scan = coregistration.refine(compare, to_scan, centers[0], step)
        matrix = np.linalg.inv(to_scan)
        sharpness, peak = alignment.shared_information(
            values, scan.affine, matrix, target_values, brain, target.affine
        )
        angle, _ = alignment.rotation_and_scales(matrix)
        sharp = sharpness >= threshold('t1w_sharpness', HEAD).low and peak > 1
        return matrix if sharp and angle <= threshold('rotation_deg').high else None

    # Where the scanner says that the head was, and anywhere else: information has a peak in many places
    starts = [coregistration.refine(coarse, start, centers[0], first_step) for start in _starts(*centers)]
    tried: list[np.ndarray] = []
    for start in sorted(starts, key=coarse, reverse=True):
        if all(_distance(start, other, centers[0]) > APART_MM for other in tried):
            tried.append(start)
            if (matrix := plausible(start)) is not None:
                return matrix
            if len(tried) == TRIED:
                break
    return None


def _distance(a: np.ndarray, b: np.ndarray, center: np.ndarray) -> float:
    """Greatest distance (mm) between where two maps take points around a centre."""
    points = np.append(center, 1) + 60 * np.vstack([np.eye(4)[:3], -np.eye(4)[:3]])
    return float(np.linalg.norm(points @ (a - b)[:3].T, axis=1).max())


def _starts(brain_center: np.ndarray, center: np.ndarray) -> Iterator[np.ndarray]:
    """World of the T1w to world of the scan: by the headers; turned, in the middle of the scan or above."""
    yield np.eye(4)
    for angles in STARTS:
        turn = geometry.rotation(angles)
        for above in ABOVE_MM:
            yield from_matvec(turn, center - turn @ brain_center + [0, 0, above])
