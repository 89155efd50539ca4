"""Put the generated head, or noise, around the kept part of a scan, on its own grid."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cpmae_bids.deid import blending, cubes, inspect, nifti, noise, seam, sharpness
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps.conform import read_affine

_COARSE = 64  # voxels along a cube of nothing


def blend(
    t1w: Path,
    kept_mask: Path,
    affine: Path,
    head: Path | None,
    conformed: Path,
    seed: int,
    refaced: Path,
    deface_mask: Path,
) -> None:
    """Write the refaced scan, and the mask of what was replaced.

    Parameters
    ----------
    t1w, kept_mask, affine : Path
        The scan, what of it stays, and its affine map to the template.
    head : Path or None
        ``.npz``, (n, n, n): generated head in the cube; None for noise alone.
    conformed : Path
        ``.npz`` of the brain: gives ``scale``, the intensity of the scan that is 1 in the cube, and how sharp
        the scan is.
    seed : int
        Of the noise.
    refaced, deface_mask : Path
        NIfTI to write; 1 in the mask where the scan was replaced.

    Raises
    ------
    InputError
        If a file cannot be read, or there is no air around the head to take the noise from.
    """
    scan = inspect.load_t1w(t1w)
    kept = nifti.read_mask(kept_mask, scan)
    scale = float(cubes.read(conformed, 'scale'))
    try:
        air = noise.measure(scan.values(), kept, scan.voxel_sizes, scale)
    except InputError as error:
        raise InputError(f'{t1w}: {error}') from error
    place = (scale, scan.affine, read_affine(affine), scan.shape, air, seed)
    if head is None:
        nothing = np.zeros((_COARSE,) * 3, np.float32)
        raw = blending.blend(scan, kept, blending.synthesize(nothing, *place))
    else:
        sigma_mm = sharpness.blur_mm(cubes.read(conformed, 'brain'))
        raw = _softened(scan, kept, cubes.read(head, 'head'), sigma_mm, place)
    nifti.write(refaced, raw, scan)
    nifti.write_mask(deface_mask, ~kept, scan)


def _softened(
    scan: nifti.Scan, kept: np.ndarray, cube: np.ndarray, sigma_mm: float, place: tuple
) -> np.ndarray:
    """Stored values with a head blurred by so many mm, or more where its seam would be visible."""
    weights = blending.feather(kept, scan.voxel_sizes)
    for more in (0.0, *seam.SOFTER_MM):
        soft = sharpness.soften(cube, float(np.hypot(sigma_mm, more)))
        raw = blending.blend(scan, kept, blending.synthesize(soft, *place), weights)
        if not seam.ratio(scan.raw, raw, weights > 0) > seam.VISIBLE:
            break
    return raw


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ('--t1w', '--kept-mask', '--affine', '--conformed', '--refaced', '--deface-mask'):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument('--head', type=Path)
    parser.add_argument('--seed', type=int, required=True)


def main(args: argparse.Namespace) -> None:
    blend(
        args.t1w,
        args.kept_mask,
        args.affine,
        args.head,
        args.conformed,
        args.seed,
        args.refaced,
        args.deface_mask,
    )
