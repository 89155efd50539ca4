"""Put the generated head, or noise, around the kept part of a scan, on its own grid."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cpmae_bids.deid import blending, cubes, inspect, nifti, noise, sharpness
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
    if head is None:
        cube = np.zeros((_COARSE,) * 3, np.float32)
    else:
        cube = sharpness.soften(cubes.read(head, 'head'), sharpness.blur_mm(cubes.read(conformed, 'brain')))
    try:
        air = noise.measure(scan.values(), kept, scan.voxel_sizes, scale)
    except InputError as error:
        raise InputError(f'{t1w}: {error}') from error
    generated = blending.synthesize(cube, scale, scan.affine, read_affine(affine), scan.shape, air, seed)
    nifti.write(refaced, blending.blend(scan, kept, generated), scan)
    nifti.write_mask(deface_mask, ~kept, scan)


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
