"""What brain tools make of an image: brain mask, bias field, tissues. Found once and kept for all measures.

The results for an output lie in ``Pair.work``, those for the original in the folder of the method
``original``: delete them where a setting here has changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np

from benchmarks.pairs import Pair

Role = Literal['original', 'output']

N4 = {'shrink_factor': 4, 'convergence': {'iters': [50, 50, 50, 50], 'tol': 1e-7}}
"""antspyx's own settings: four levels, on every fourth voxel."""

ATROPOS = {'i': 'Kmeans[3]', 'm': '[0.1,1x1x1]', 'c': '[5,0]', 'r': 0}
"""Three classes; Markov field of weight 0.1 over the nearest neighbours; five iterations (after fifteen, one
voxel in 10,000 differs); the fixed seed of Atropos (`r`), without which labels differ from run to run."""


class NoBrainError(RuntimeError):
    """A tool finds no brain in the image."""


def folder(pair: Pair, role: Role) -> Path:
    """Where the results for an image are kept."""
    return pair.work.parents[1] / 'original' / pair.scan if role == 'original' else pair.work


def cached(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in a file, which is made where it is missing; several processes may ask at once.

    Parameters
    ----------
    path : Path
        Ends in ``.npz``.
    make : callable
        Gives the array.
    """
    from cpmae_bids.bids.output_folder import temporary_beside

    if not path.exists():
        array = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        with temporary.open('wb') as file:
            np.savez_compressed(file, array=array)
        temporary.replace(path)
    with np.load(path) as file:
        return file['array']


def image(pair: Pair, role: Role) -> tuple[np.ndarray, np.ndarray]:
    """Values and affine of the original or the output.

    Returns
    -------
    values : ndarray of float32, shape (X, Y, Z)
        Scaled; NaN and infinite ones are 0: `benchmarks.measures.mriqc` counts them.
    affine : ndarray, shape (4, 4)
    """
    loaded = nib.load(pair.original if role == 'original' else pair.output)
    values = loaded.get_fdata(dtype=np.float32)
    return np.nan_to_num(values, copy=False, nan=0, posinf=0, neginf=0), loaded.affine


def mask(path: Path) -> np.ndarray:
    """A mask as bool, shape (X, Y, Z)."""
    return np.asanyarray(nib.load(path).dataobj) > 0


def brain(pair: Pair, role: Role) -> np.ndarray:
    """deepbet's mask of the original or of the output; empty where it finds none. Bool, shape (X, Y, Z)."""
    from cpmae_bids.steps.skullstrip import find_brain

    if role == 'original' or pair.method == 'original':
        return mask(pair.brain_mask)
    return cached(folder(pair, role) / 'found_brain.npz', lambda: find_brain(*image(pair, role)))


def some_brain(pair: Pair, role: Role) -> np.ndarray:
    """The same.

    Raises
    ------
    NoBrainError
        If it is empty.
    """
    found = brain(pair, role)
    if not found.any():
        raise NoBrainError(f'{pair.scan}, {pair.method}: no brain in the {role}')
    return found


def bias(pair: Pair, role: Role, region: Literal['brain', 'head']) -> np.ndarray:
    """Bias field by N4 inside the brain mask that was found in the image.

    Parameters
    ----------
    pair : Pair
    role : {'original', 'output'}
    region : {'brain', 'head'}
        What N4 sees: the brain, or all that is brighter than the mean of the image (`ants.get_mask`).

    Returns
    -------
    field : ndarray of float32, shape (voxels of the brain mask,)

    Raises
    ------
    NoBrainError
    """
    inside = some_brain(pair, role)

    def make() -> np.ndarray:
        from cpmae_bids.steps.register import import_ants, to_ants

        ants = import_ants()
        values, affine = image(pair, role)
        scan = to_ants(values, affine)
        seen = to_ants(inside, affine) if region == 'brain' else ants.get_mask(scan)
        return ants.n4_bias_field_correction(scan, mask=seen, return_bias_field=True, **N4).numpy()[inside]

    return cached(folder(pair, role) / f'bias_{region}.npz', make)


def tissue(pair: Pair, role: Role) -> np.ndarray:
    """Tissues by Atropos, after N4, in the brain mask that was found in the image.

    Returns
    -------
    labels : ndarray of uint8, shape (X, Y, Z)
        1, 2, 3 by rising intensity: CSF, grey and white matter of a T1w; 0 outside.

    Raises
    ------
    NoBrainError
    """
    inside = some_brain(pair, role)
    values, affine = image(pair, role)
    corrected = np.zeros_like(values)
    corrected[inside] = values[inside] / bias(pair, role, 'brain')
    return cached(folder(pair, role) / 'tissue.npz', lambda: segment(corrected, inside, affine))


def segment(values: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Three classes by Atropos, numbered by their mean intensity; see `tissue`."""
    from cpmae_bids.deid.space import geometry
    from cpmae_bids.steps.register import import_ants, to_ants

    ants = import_ants()
    window, _ = geometry.crop(inside, affine, margin=1)
    boxed, mask_image = (to_ants(array[window], affine) for array in (values, inside))
    with tempfile.TemporaryDirectory() as folder:  # it leaves its probabilities behind
        usual, tempfile.tempdir = tempfile.tempdir, folder
        try:
            image = ants.atropos(a=boxed, x=mask_image, **ATROPOS)['segmentation']
        finally:
            tempfile.tempdir = usual
    found = image.numpy().astype(np.uint8)
    classes = [values[window][found == label] for label in (1, 2, 3)]
    means = [one.mean() if one.size else np.inf for one in classes]
    rank = np.zeros(4, np.uint8)
    rank[1 + np.argsort(means)] = (1, 2, 3)
    labels = np.zeros(values.shape, np.uint8)
    labels[window] = rank[found]
    return labels
