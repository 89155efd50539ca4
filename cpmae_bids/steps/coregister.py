"""Align the brain of a scan to the template through another scan of the same person.

A rigid map takes the brain to that of the reference scan, whose affine map does the rest: a head that was
generated around one brain lies around the other just so.
"""

from pathlib import Path
from typing import Annotated

import numpy as np

from cpmae_bids.deid.images import nifti
from cpmae_bids.deid.qc import head_checks, scan_checks
from cpmae_bids.deid.space.alignment import Template
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps import Output
from cpmae_bids.steps.conform import read_affine
from cpmae_bids.steps.register import brain_on_grid, find_alignment


def coregister(
    t1w: Path,
    brain_mask: Path,
    reference: Path,
    reference_mask: Path,
    reference_affine: Path,
    affine: Annotated[Path, Output('affine.txt')],
) -> None:
    """Write the affine map from a scan to the template, composed of a rigid one and that of the reference.

    InputError also if no plausible alignment is found, or the aligned scan turns out to have no head or face
    around the brain.
    """
    scan, target = scan_checks.load_t1w(t1w), scan_checks.load_t1w(reference)
    mask, target_mask = nifti.read_mask(brain_mask, scan), nifti.read_mask(reference_mask, target)
    for path, found in ((t1w, mask), (reference, target_mask)):
        if not found.any():
            raise InputError(f'{path}: no brain in its mask: check the scan')
    template = Template(target.values(), target_mask, target.affine, reference.name)
    target_brain = brain_on_grid(template.brain, target_mask, target.affine)
    matrix, fault = find_alignment(scan, mask, target_brain, template, rigid=True)
    if matrix is None:
        raise InputError(
            f'{t1w}: the brain does not align to that of {reference.name} ({fault}): '
            'check that both are scans of one person, and the orientation in the headers'
        )
    matrix = read_affine(reference_affine) @ matrix
    head_checks.check_head(scan, mask, matrix)
    np.savetxt(affine, matrix, fmt='%.9g')
