"""Put the generated head, or noise, around the preserved region of a scan, on its own grid."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np

from cpmae_bids.deid.images import masks, nifti, noise, volumes
from cpmae_bids.deid.qc import scan_checks
from cpmae_bids.deid.synthesis import air, blending, seam, sharpness
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime import threads
from cpmae_bids.steps import Output
from cpmae_bids.steps.conform import read_affine
from cpmae_bids.steps.tone import tone


def blend(
    t1w: Path,
    kept_mask: Path,
    affine: Path,
    conformed: Path,
    seed: int,
    refaced: Annotated[Path, Output('refaced.nii.gz')],
    deface_mask: Annotated[Path, Output('deface_mask.nii.gz')],
    noise_model: Annotated[Path, Output('noise_model.json')],
    head: Path | None = None,
    statistics: Path | None = None,
) -> None:
    """Write the refaced scan, and the mask of what was replaced.

    InputError also if there is no air around the head to take the noise from. Without a generated `head`
    there is noise alone; without `statistics` it stays as bright as it is. `seed` is that of the noise.
    """
    scan = scan_checks.load_t1w(t1w)
    kept, sizes = nifti.read_mask(kept_mask, scan), scan.voxel_sizes
    scale = float(volumes.read(conformed, 'scale'))
    where = (scale, scan.affine, read_affine(affine), scan.shape)

    def generated() -> np.ndarray:
        if head is None:
            return np.zeros(scan.shape, np.float32)
        cube = tone(head, conformed, statistics) if statistics is not None else volumes.read(head, 'head')
        sigma_mm = sharpness.blur_mm(volumes.read(conformed, 'brain'))
        return blending.place(sharpness.soften(cube, sigma_mm), *where)

    def air_of_scan() -> tuple[air.AirStatistics, float]:
        try:
            values = scan.values()
            sigma = min(noise.in_brain(values, kept), noise.MAX_SIGMA * scale)
            return air.estimate(values, kept, sizes, scale), sigma
        except InputError as error:
            raise InputError(f'{t1w}: {error}') from error

    clean, (around, sigma), distance = threads.together(
        generated, air_of_scan, lambda: masks.distance_outside(kept, sizes, masks.seam_width(sizes))
    )
    weights = masks.feather_weights(distance, masks.feather_width(sizes))

    def blended(clean: np.ndarray) -> np.ndarray:
        filled = blending.add_air(clean, scale, scan.affine, around, sigma, seed)
        return blending.blend(scan, kept, filled, weights)

    raw = blended(clean)
    shell = np.isfinite(distance)
    if head is not None and seam.ratio(scan.raw, raw, shell) > seam.VISIBLE:
        raw = seam.least_softened(
            lambda mm: blended(blending.soften(clean, mm, scale, sizes)),
            lambda tried: seam.ratio(scan.raw, tried, shell),
        )
    used = {'Air': around.to_dict(), 'StoredRange': list(blending.stored_range(scan, scan.raw[kept]))}
    noise_model.write_text(json.dumps(used), encoding='utf-8')
    nifti.write(refaced, raw, scan)
    nifti.write_mask(deface_mask, ~kept, scan)
