"""Find the brain of a scan of another contrast by way of a T1w scan of the same person.

A rigid map takes the scan to the T1w, whose brain, kept mask and affine map are carried over. Rigid bones and
brain are compared by mutual information, which needs no like contrast.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from cpmae_bids.deid import alignment, geometry, inspect, masks, nifti, prior
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps.conform import read_affine
from cpmae_bids.steps.register import STARTS, brain_on_grid, optimise, rotation

RIM_MM = 6.0
"""Around the brain: the skull there tells where the brain ends, and no muscle of the face reaches it."""


def locate(
    image: Path,
    t1w: Path,
    t1w_brain: Path,
    t1w_kept: Path,
    t1w_affine: Path,
    brain_mask: Path,
    kept_mask: Path,
    affine: Path,
) -> None:
    """Write the masks of a scan and its affine map to the template.

    Parameters
    ----------
    image : Path
        Any contrast of the whole head.
    t1w, t1w_brain, t1w_kept : Path
        A T1w scan of the same person, its brain and its kept mask, on its grid.
    t1w_affine : Path
        Affine map of the T1w scan to the template.
    brain_mask, kept_mask : Path
        NIfTI to write, uint8 on the grid of the scan.
    affine : Path
        Text file to write: 4x4, world of the scan (RAS mm) to world of the template (RAS mm).

    Raises
    ------
    InputError
        If the scan does not align to the T1w scan, or shows no whole head.
    """
    scan, target = inspect.load_t1w(image), inspect.load_t1w(t1w)
    brain, kept = (nifti.read_mask(path, target) for path in (t1w_brain, t1w_kept))
    values, target_values = scan.values(), target.values()
    to_t1w = _align(scan, values, target, target_values, brain)
    if to_t1w is None:
        raise InputError(
            f'{image}: does not align to {t1w.name}: check that both are scans of one person, and the '
            'orientation in the headers'
        )
    to_voxels = np.linalg.inv(target.affine) @ to_t1w @ scan.affine
    found, stays = (geometry.resample(mask, to_voxels, scan.shape, order=0) > 0.5 for mask in (brain, kept))
    prior.check_brain(found, scan)
    matrix = read_affine(t1w_affine) @ to_t1w
    prior.check_head(scan, found, matrix)
    nifti.write_mask(brain_mask, found, scan)
    nifti.write_mask(kept_mask, stays, scan)
    np.savetxt(affine, matrix, fmt='%.9g')


def _align(
    scan: nifti.Scan, values: np.ndarray, target: nifti.Scan, target_values: np.ndarray, brain: np.ndarray
) -> np.ndarray | None:
    """World of the scan to world of the T1w; None if there is no plausible alignment."""
    rim = masks.dilate(brain, RIM_MM, target.voxel_sizes)
    fixed, fixed_affine = brain_on_grid(target_values, rim, target.affine)
    moving, moving_affine = brain_on_grid(values, np.ones(scan.shape, bool), scan.affine)
    for start in _starts(moving, moving_affine, fixed, fixed_affine):
        matrix = optimise(
            moving, moving_affine, fixed, fixed_affine, start, rigid=True, mask=(fixed > 0).astype(np.float32)
        )
        sharpness, peak = alignment.shared_information(
            values, scan.affine, matrix, target_values, brain, target.affine
        )
        angle, _ = alignment.rotation_and_scales(matrix)
        if sharpness >= alignment.MIN_SHARPNESS and peak > 1 and angle <= alignment.MAX_ROTATION:
            return matrix
    return None


def _starts(moving, moving_affine, fixed, fixed_affine) -> Iterator[np.ndarray]:
    """Where the scanner says that the head was; then centres of mass on each other, turned."""
    yield np.eye(4)
    centres = [
        affine[:3, :3] @ ndimage.center_of_mass(volume) + affine[:3, 3]
        for volume, affine in ((moving, moving_affine), (fixed, fixed_affine))
    ]
    for angles in STARTS:
        start = np.eye(4)
        start[:3, :3] = rotation(angles)
        start[:3, 3] = centres[1] - start[:3, :3] @ centres[0]
        yield start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in (
        *('image', 't1w', 't1w-brain', 't1w-kept', 't1w-affine'),
        *('brain-mask', 'kept-mask', 'affine'),
    ):
        parser.add_argument(f'--{name}', type=Path, required=True)


def main(args: argparse.Namespace) -> None:
    locate(**vars(args))
