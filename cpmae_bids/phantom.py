"""A head that is nobody's: the average brain of the package in a deformed average head, as a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from cpmae_bids.deid import geometry, intensity
from cpmae_bids.templates import find_template

VOXELS = 128
WHITE_MATTER = 400
"""Stored value of white matter."""

NOISE = 0.02
"""Standard deviation of the noise, as a share of white matter."""

SPREAD = 1.5
"""Standard deviation of the components of the shape, in their own standard deviations."""

APPEARANCE = 0.8
"""Share that random codes of appearance have in how the head differs from the mean."""


def write_phantom(path: Path, head: Any, seed: int = 0) -> None:
    """Write a T1w phantom of a whole head, 128 voxels of 2 mm along each axis, int16.

    Parameters
    ----------
    path : Path
        NIfTI to write.
    head : VQVAE
        Of heads: its mean head with random shape and appearance. A generated head would be so like the mean
        head itself that the verdict took it for a copy.
    seed : int
        Of the shape and the noise.

    Raises
    ------
    TemplateError
        If there is no brain to put into it.
    """
    import torch

    from cpmae_bids.models.shape import LEVELS, STEP
    from cpmae_bids.models.warps import deform

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        scores = rng.normal(0, SPREAD / STEP, (1, *(head.config.shape,) * 3)).round() + LEVELS // 2
        shape = head.shape.decode(torch.from_numpy(scores).long().clamp(0, LEVELS - 1))
        codes = [
            torch.from_numpy(rng.integers(head.config.codebook, size=(1, g, g, g))) for g in head.config.grids
        ]
        appearance = head.decode_latent(APPEARANCE * head.latent_of([shape, *codes]))
        around = deform(appearance, shape)[0, 0].clamp(0, intensity.CEILING).numpy()

    template = find_template()
    cubes = (
        geometry.to_cube(volume, template.affine, np.eye(4), VOXELS, antialias=False)
        for volume in (
            template.brain / intensity.brain_scale(template.brain[template.mask]),
            template.mask.astype(np.float32),
        )
    )
    brain, mask = cubes
    clean = np.where(mask > 0.5, brain, around)
    real, imaginary = rng.normal(0, NOISE, (2, *clean.shape))
    stored = np.hypot(clean + real, imaginary) * WHITE_MATTER
    image = nib.Nifti1Image(stored.round().astype(np.int16), geometry.cube_affine(VOXELS))
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, path)
