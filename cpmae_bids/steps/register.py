"""Align the brain of a scan to the template by an affine map.

Only the brain counts, so that the face can neither drive the alignment nor leave a trace in it.
"""

import os
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
from nibabel.affines import apply_affine, from_matvec

from cpmae_bids.deid.images import nifti
from cpmae_bids.deid.images.intensity import TINY, without_spikes
from cpmae_bids.deid.qc import head_checks, scan_checks
from cpmae_bids.deid.space import alignment, geometry
from cpmae_bids.deid.space.alignment import Template
from cpmae_bids.deid.space.geometry import rotation
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime import scratch, threads
from cpmae_bids.steps import Output
from cpmae_bids.templates import find_template

GRID_MM = 2.0  # voxels of the grid on which the brains are compared

# Of ANTs. A head turned by 20 degrees comes out within 0.1 mm of itself in 3 s; global correlation (GC) took
# three times as long to come within 1 mm, and the full resolution gained nothing.
SETTINGS = {
    'aff_metric': 'mattes',
    'aff_random_sampling_rate': 0.25,
    'aff_iterations': (200, 100),
    'aff_shrink_factors': (4, 2),
    'aff_smoothing_sigmas': (2, 1),
}

# Rotations (degrees about x, y, z) to start from, in this order, until the result is plausible
STARTS = ((0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 0, 30), (0, 0, -30))


def register(
    t1w: Path,
    brain_mask: Path,
    affine: Annotated[Path, Output('affine.txt')],
    *,
    fetch_template: bool = False,
) -> None:
    """Write the affine map from a scan to the template.

    InputError also if no plausible alignment is found, or the aligned scan turns out to have no head or face
    around the brain. `fetch_template` lets TemplateFlow download the template.
    """
    scan = scan_checks.load_t1w(t1w)
    mask = nifti.read_mask(brain_mask, scan)
    if not mask.any():
        raise InputError(f'{t1w}: no brain in its mask: check the scan')
    template = find_template(fetch_template)
    matrix, fault = find_alignment(scan, mask, (template.brain, template.affine), template)
    if matrix is None:
        raise InputError(
            f'{t1w}: the brain does not align to the template ({fault}): '
            'check the orientation in the header, and that this is a T1w of a whole brain'
        )
    head_checks.check_head(scan, mask, matrix)
    np.savetxt(affine, matrix, fmt='%.9g')


def find_alignment(
    scan: nifti.Image,
    mask: np.ndarray,
    target: tuple[np.ndarray, np.ndarray],
    template: Template,
    *,
    rigid: bool = False,
) -> tuple[np.ndarray | None, str]:
    """World of a scan to world of the template (RAS mm) by the first of `STARTS` that gives a plausible map.

    Else None, and what is wrong with the first map. `mask` is the brain of the scan, and `target` that of the
    template as `align` takes it: intensities (A, B, C) and affine.
    """
    values, faults = scan.values(), []
    brain = brain_on_grid(values, mask, scan.affine)
    for angles in STARTS:
        matrix = align(*brain, *target, rotation(angles), rigid=rigid)
        overlap, correlation = threads.together(
            partial(alignment.template_overlap, mask, scan.affine, matrix, template),
            partial(alignment.intensity_correlation, values, mask, scan.affine, matrix, template),
        )
        fault = head_checks.alignment_fault(matrix, overlap, correlation)
        if fault is None:
            return matrix, ''
        faults.append(fault)
    return None, faults[0]


def align(
    brain: np.ndarray,
    affine: np.ndarray,
    template_brain: np.ndarray,
    template_affine: np.ndarray,
    start: np.ndarray | None = None,
    *,
    rigid: bool = False,
) -> np.ndarray:
    """Affine map (4, 4) from the world of one brain to that of another; equal input gives equal output.

    Parameters
    ----------
    brain, template_brain : ndarray of float32, shape (X, Y, Z)
        Intensities, 0 outside the brain.
    affine, template_affine : ndarray, shape (4, 4)
        Voxel indices to world (RAS mm).
    start : ndarray, shape (3, 3), optional
        Rotation of the scan to begin with; the centres of mass are matched in any case.
    rigid : bool
        Allow rotation and translation only.
    """
    source, target = _center(brain, affine), _center(template_brain, template_affine)
    turn = np.eye(3) if start is None else start
    initial = from_matvec(turn, target - turn @ source)
    ants = import_ants()
    with scratch.made() as folder:
        begin = str(folder / 'start.mat')
        # World of the fixed volume to world of the moving one: the direction of ITK
        lps = alignment.to_lps(np.eye(4)) @ np.linalg.inv(initial) @ alignment.to_lps(np.eye(4))
        transform = ants.create_ants_transform(
            transform_type='AffineTransform', dimension=3, matrix=lps[:3, :3], translation=lps[:3, 3]
        )
        ants.write_transform(transform, begin)
        result = ants.registration(
            fixed=to_ants(template_brain, template_affine),
            moving=to_ants(brain, affine),
            type_of_transform='Rigid' if rigid else 'Affine',
            initial_transform=begin,
            outprefix=str(folder / 'affine'),
            **SETTINGS,
        )
        transform = ants.read_transform(result['fwdtransforms'][-1])
    matrix = alignment.itk_to_ras(transform.parameters, transform.fixed_parameters)
    return np.linalg.inv(matrix)


def import_ants() -> ModuleType:
    """Load ANTs such that it gives the same results in each run."""
    # Read by ITK when it is loaded. With more than one thread, or no seed, results differ from run to run
    os.environ['ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS'] = '1'
    os.environ['ANTS_RANDOM_SEED'] = '1'
    # What nothing here calls takes 40 % of the time, and Matplotlib may not load at all in a notebook
    for unused in ('ants.plotting', 'ants.learn', 'ants.deeplearn'):
        sys.modules.setdefault(unused, ModuleType(unused))
    import ants

    return ants


def to_ants(data: np.ndarray, affine: np.ndarray) -> Any:
    """An image of ANTs, float32, of a volume (X, Y, Z) with an affine to world (RAS mm)."""
    lps = alignment.to_lps(affine)
    spacing = geometry.voxel_sizes(lps)
    return import_ants().from_numpy(
        np.ascontiguousarray(data, dtype=np.float32),
        origin=lps[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=lps[:3, :3] / spacing,
    )


def _center(brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return apply_affine(affine, np.argwhere(brain > 0).mean(axis=0))


def brain_on_grid(values: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The brain alone on an isotropic grid along the axes of the world."""
    window, affine = geometry.crop(mask, affine, margin=2)
    mask, values = mask[window], values[window]
    values = np.where(mask, without_spikes(values, mask), 0)
    low, high = geometry.extent(mask.shape, affine)
    grid = from_matvec(GRID_MM * np.eye(3), low)
    shape = tuple(np.ceil((high - low) / GRID_MM).astype(int) + 1)
    sigma = geometry.antialias_sigma(affine, GRID_MM)
    matrix = np.linalg.inv(affine) @ grid
    weight = geometry.resample(geometry.smooth(mask, sigma), matrix, shape)
    brain = geometry.resample(geometry.smooth(values, sigma), matrix, shape)
    brain = np.divide(brain, weight, out=np.zeros_like(brain), where=weight >= 0.5)
    return brain / max(float(brain.max()), TINY), grid
