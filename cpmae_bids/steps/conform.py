"""Resample brain and head of a scan to the template grid, each into its own file.

Two files, so that no step towards the generated head has to open the original one.
"""

from pathlib import Path
from typing import Annotated

import numpy as np

from cpmae_bids.bids.atomic import write_text
from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.deid.images import nifti, noise, volumes
from cpmae_bids.deid.qc import scan_checks
from cpmae_bids.deid.space import conforming, geometry
from cpmae_bids.deid.synthesis import tissue
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime import threads
from cpmae_bids.steps import Output

FINE = 256  # voxels along an edge of the template grid at 1 mm, at which a brain has an outline


def conform(
    t1w: Path,
    brain_mask: Path,
    affine: Path,
    brain: Annotated[Path, Output('brain.npz')],
    head: Annotated[Path, Output('head.npz')],
    statistics: Annotated[Path, Output('statistics.json')],
) -> None:
    """Write the brain and the head of a scan on the template grid, and statistics of the tissue.

    InputError also if the brain has no contrast.
    """
    scan = scan_checks.load_t1w(t1w)
    mask = nifti.read_mask(brain_mask, scan)
    place = (mask, scan.affine, read_affine(affine))
    try:
        fine, scale = conforming.conform_brain(scan.values(), *place, FINE)
    except InputError as error:
        raise InputError(f'{t1w}: {error}') from error
    around = conforming.conform_head(scan.values(), *place, FINE // 2, scale)
    fine = fine.astype(np.float16)
    level = noise.floor(scan.values(), scan.voxel_sizes, scale) / scale
    inside, coarse, told = threads.together(
        lambda: geometry.pool(fine > 0, 2) >= 0.5,
        lambda: geometry.pool(fine, 2),
        lambda: tissue.measure(
            noise.above_floor(around.head, level), around.in_brain, around.in_fov
        ).rounded(),
    )
    volumes.write(
        brain, brain=coarse, mask=inside, scale=scale, edge_mm=min(scan.voxel_sizes), dtype=np.float32
    )
    write_text(statistics, to_json(told.to_dict()))
    volumes.write(head, head=around.head, brain=around.in_brain, seen=around.in_fov)


def read_affine(path: Path) -> np.ndarray:
    """Read the 4x4 matrix that `register` wrote; InputError if it is not an invertible affine matrix."""
    try:
        matrix = np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise InputError(f'{path}: cannot be read ({error}): run the registration again') from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
        raise InputError(f'{path}: not an affine matrix: run the registration again')
    return matrix
