"""Does the scan go to the same place? Affine registration to a template, of whole head and brain."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks import derived
from benchmarks.pairs import DOWNSTREAM, Pair

METHODS = DOWNSTREAM

SCANS = 5
"""Of the split: N4, Atropos and registrations take minutes of a core for each scan and method."""

GRID_MM = 2.0
"""Least edge of the voxels on which images are compared."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Register output and original to the template, and compare where the brain goes.

    The whole head goes to a whole head, as it does in pipelines that have no mask yet; the brain, by the mask
    that deepbet finds in the image, to a brain.

    Returns
    -------
    numbers : dict
        ``head`` and ``brain``: mean distance in mm of the template between the two places of a voxel of the
        original's brain. ``failed``: no brain is found in the output; ``brain`` is None.
    """
    inside, affine = derived.brain(pair, 'original'), nib.load(pair.original).affine
    role = 'original' if pair.method == 'original' else 'output'
    numbers = {}
    for region, place in (('head', place_head), ('brain', place_brain)):
        try:
            after = place(pair, role)
        except derived.NoBrainError:
            numbers[region] = None
        else:
            numbers[region] = displacement(place(pair, 'original'), after, inside, affine)
    return {**numbers, 'failed': numbers['brain'] is None}


def displacement(before: np.ndarray, after: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> float:
    """Mean distance between the places that two affine maps give to the voxels of a mask.

    Parameters
    ----------
    before, after : ndarray, shape (4, 4)
        World of the scan to world of the template (mm).
    mask : ndarray of bool, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)

    Returns
    -------
    distance : float
        mm.
    """
    difference = ((after - before) @ affine)[:3]
    moved = np.argwhere(mask) @ difference[:, :3].T + difference[:, 3]
    return float(np.linalg.norm(moved, axis=1).mean())


def place_head(pair: Pair, role: derived.Role) -> np.ndarray:
    """Affine map of the whole head to the mean head of pydeface, in the space of that head; shape (4, 4)."""

    def make() -> np.ndarray:
        # its code asks for FSL when it is imported: only its data are used
        data = Path(find_spec('pydeface').submodule_search_locations[0]) / 'data'
        template = nib.load(data / 'mean_reg2mean.nii.gz')
        return register(*derived.image(pair, role), template.get_fdata(dtype=np.float32), template.affine)

    return derived.cached(derived.folder(pair, role) / 'place_head.npz', make)


def place_brain(pair: Pair, role: derived.Role) -> np.ndarray:
    """Affine map of the brain to the template's, shape (4, 4).

    Raises
    ------
    NoBrainError
    """
    inside = derived.some_brain(pair, role)

    def make() -> np.ndarray:
        from cpmae_bids.templates import find_template

        values, affine = derived.image(pair, role)
        template = find_template()
        return register(np.where(inside, values, 0), affine, template.brain, template.affine)

    return derived.cached(derived.folder(pair, role) / 'place_brain.npz', make)


def register(values, affine, template_values, template_affine) -> np.ndarray:
    """Affine registration by ANTs, from the centres of mass; equal input gives equal output.

    Parameters
    ----------
    values, template_values : ndarray, shape (X, Y, Z)
    affine, template_affine : ndarray, shape (4, 4)

    Returns
    -------
    matrix : ndarray, shape (4, 4)
        World of the image to world of the template (RAS, mm).
    """
    from cpmae_bids.deid.space.alignment import itk_to_ras
    from cpmae_bids.steps.register import SETTINGS, import_ants, to_ants

    ants = import_ants()
    fixed = to_ants(*coarse(template_values, template_affine))
    moving = to_ants(*coarse(values, affine))
    with tempfile.TemporaryDirectory(prefix='cpmae-registration-') as folder:
        result = ants.registration(
            fixed=fixed,
            moving=moving,
            type_of_transform='Affine',
            outprefix=str(Path(folder, 'to_')),
            **SETTINGS,
        )
        transform = ants.read_transform(result['fwdtransforms'][-1])
    return np.linalg.inv(itk_to_ras(transform.parameters, transform.fixed_parameters))


def coarse(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image with voxels of at least `GRID_MM`, along its own axes: finer ones take minutes.

    Returns
    -------
    values : ndarray of float32, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
    """
    from cpmae_bids.deid.space import geometry

    step = np.maximum(1, GRID_MM / geometry.voxel_sizes(affine))
    shape = tuple(np.ceil(np.array(values.shape) / step).astype(int))
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = (step - 1) / 2  # the grids share their outer corner
    smoothed = geometry.smooth(values, geometry.antialias_sigma(affine, GRID_MM))
    return geometry.resample(smoothed, matrix, shape, mode='nearest'), affine @ matrix
