"""A head that is nobody's: the average brain of the package in a deformed average head, as a scan."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from cpmae_bids.deid.images import intensity
from cpmae_bids.deid.space import geometry
from cpmae_bids.templates import find_template

VOXELS = 128
WHITE_MATTER = 400  # stored value of white matter
NOISE = 0.02  # standard deviation of the noise, as a share of white matter
SPREAD = 1.2  # standard deviation of the components of the shape, in their own standard deviations


def write_phantom(path: Path, head: Any, mae: Any, seed: int = 0) -> None:
    """Write a T1w phantom of a whole head (NIfTI), 128 voxels of 2 mm along each axis, int16.

    `head` and `mae` draw what lies around the brain, with a shape of their own; `seed` is that of the head
    and the noise. Raises TemplateError if there is no brain to put into it.
    """
    import torch

    from cpmae_bids.models.drawing import lay_around
    from cpmae_bids.models.sampling import draw_appearance
    from cpmae_bids.models.shape import Shape

    template = find_template()
    cubes = (
        geometry.to_template(volume, template.affine, np.eye(4), VOXELS, antialias=False)
        for volume in (
            template.brain / intensity.brain_scale(template.brain[template.mask]),
            template.mask.astype(np.float32),
        )
    )
    brain, mask = cubes
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    scores = torch.randn(head.config.shape**3, generator=generator) * SPREAD
    shape, features = Shape.codes(scores), torch.zeros(mae.config.brain_features)
    donors = draw_appearance(mae, head, Shape.values(shape), features, generator=generator, steps=6)
    codes = [shape.view(1, *(head.config.shape,) * 3), head.exemplars.scatter(donors)[None]]
    drawn = lay_around(head.decode(codes), head.field(codes, mask > 0.5))[0, 0].numpy()
    around = drawn[:, :, -VOXELS:].clip(0, intensity.CEILING)

    clean = np.where(mask > 0.5, brain, around)
    real, imaginary = rng.normal(0, NOISE, (2, *clean.shape))
    stored = np.hypot(clean + real, imaginary) * WHITE_MATTER
    image = nib.Nifti1Image(stored.round().astype(np.int16), geometry.grid_affine(VOXELS))
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, path)
