"""Find the brain, and the preserved region: the brain and a rim around it that is never changed."""

from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import masks, nifti
from cpmae_bids.deid.qc import head_checks, scan_checks
from cpmae_bids.deid.space import geometry
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps import Output

GUARD_MM = 2.0  # rim around the brain: holds what the mask missed of the cortex, and ends within the skull


def skullstrip(
    t1w: Path,
    brain_mask: Annotated[Path, Output('brain_mask.nii.gz')],
    kept_mask: Annotated[Path, Output('kept_mask.nii.gz')],
    device: str = 'cpu',
    given: Path | None = None,
) -> None:
    """Write brain mask (largest component, no holes) and preserved region (the same and a rim) of a scan.

    `given` is a brain mask of another pipeline to use; see `read_brain`. InputError also if the scan is
    unusable or shows no whole brain, or the given mask is none of a whole brain.
    """
    scan = scan_checks.load_t1w(t1w)
    if given is None:
        brain = find_brain(scan.values(), scan.affine, device)
        try:
            head_checks.check_brain(brain, scan)
        except InputError:  # deepbet may lose its way in a scan that was padded to a cube
            if (without := without_padding(scan.values())) is None:
                raise
            brain = np.zeros(scan.shape, bool)
            part = geometry.part_affine(scan.affine, without)
            brain[without] = find_brain(scan.values()[without], part, device)
            head_checks.check_brain(brain, scan)
    else:
        brain = read_brain(given, scan)
        try:
            head_checks.check_brain(brain, scan)
        except InputError as error:
            raise InputError(f'{error} (its brain mask was given: {given})') from error
    nifti.write_mask(brain_mask, brain, scan)
    nifti.write_mask(kept_mask, masks.dilate(brain, GUARD_MM, scan.voxel_sizes), scan)


def without_padding(values: np.ndarray) -> tuple[slice, ...] | None:
    """Box of a volume (X, Y, Z) without its margins of one value; None if it has none, or nothing else."""
    boxes = ndimage.find_objects((values != values[0, 0, 0]).astype(np.int8))
    return boxes[0] if boxes and values[boxes[0]].size < values.size else None


def find_brain(values: np.ndarray, affine: np.ndarray, device: str = 'cpu') -> np.ndarray:
    """Brain mask (X, Y, Z) by deepbet: largest component, filled; empty if there is no brain."""
    import torch
    from deepbet.bet import BrainExtraction

    if device.startswith('cuda:'):
        torch.cuda.set_device(device)  # deepbet knows only the current one
    torch.set_deterministic_debug_mode('warn')  # the same, without a compiler that takes seconds to load
    image = nib.Nifti1Image(values, affine)
    try:
        _, mask, _ = BrainExtraction(no_gpu=not device.startswith('cuda')).run(image)
    except (AssertionError, ValueError, IndexError):  # how deepbet fails where it sees no brain
        return np.zeros(values.shape, bool)
    return ndimage.binary_fill_holes(masks.largest_component(np.asarray(mask.dataobj) > 0))


def read_brain(path: Path, scan: nifti.Image) -> np.ndarray:
    """Brain mask by another pipeline: largest component, filled, on the grid of the scan; bool.

    It may lie on any grid: pipelines turn and resample scans. InputError if it cannot be read, says not where
    it lies, or has more than two values.
    """
    mask = nifti.read(path)
    scan_checks.check_orientation(mask)
    values = mask.values()
    inside = values > 0
    if inside.any() and np.ptp(values[inside]) > 0:
        raise InputError(f'{path}: has more than two values: give a mask of the brain')
    to_mask = np.linalg.inv(mask.affine) @ scan.affine
    brain = geometry.resample(inside, to_mask, scan.shape) > 0.5
    return ndimage.binary_fill_holes(masks.largest_component(brain))
