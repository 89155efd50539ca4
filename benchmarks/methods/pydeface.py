"""The method of pydeface: its mean head is registered to the scan, and its face mask follows.

FSL's FLIRT is replaced by ANTs, with as many degrees of freedom (12) and the same metric, mutual
information.
"""

from __future__ import annotations

import os
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path

from benchmarks.pairs import Pair


def version() -> str:
    return f'pydeface {installed("pydeface")} data, antspyx {installed("antspyx")}'


def make(pair: Pair) -> None:
    os.environ['ANTS_RANDOM_SEED'] = '1'
    import ants
    import nibabel as nib
    import numpy as np

    # its own code needs FSL to be imported: only its data are used
    data = Path(find_spec('pydeface').submodule_search_locations[0]) / 'data'
    scan = ants.image_read(str(pair.original))
    mean_head = ants.image_read(str(data / 'mean_reg2mean.nii.gz'))
    result = ants.registration(
        fixed=scan,
        moving=mean_head,
        type_of_transform='TRSAA',  # translation, rigid, similarity, affine, affine
        aff_metric='mattes',
        outprefix=str(pair.work / 'pydeface_'),
    )
    mask = ants.apply_transforms(
        fixed=scan,
        moving=ants.image_read(str(data / 'facemask.nii.gz')),
        transformlist=result['fwdtransforms'],
        interpolator='linear',
    )
    image = nib.load(pair.original)
    defaced = np.asarray(image.dataobj) * mask.numpy()
    nib.Nifti1Image(defaced, image.affine, image.header).to_filename(pair.output)
