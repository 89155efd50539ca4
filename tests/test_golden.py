"""The images that two scans of nobody become at the default settings are those that were committed.

An image is compared as means over blocks, within what the kernels of another processor change. After a change
that is meant to change images, ``python tests/test_golden.py`` writes the files anew.
"""

import json
import sys
from importlib.resources import as_file, files
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_to_output

from cpmae_bids.steps.chain import deidentify

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parent / 'golden'
BLOCK_MM = 16.0
TOLERANCE = 0.01  # of the 90th percentile of an image, which is about that of white matter


def demo(folder: Path) -> Path:
    """The averaged head of the demo, at 1 mm."""
    with as_file(files('pydeface') / 'data' / 'mean_reg2mean.nii.gz') as head:
        image = nib.load(head)
        path = folder / 'demo.nii.gz'
        nib.save(image, path)
    return path


def small(folder: Path) -> Path:
    """The same at 2 mm, turned, as integers: another way through every step."""
    image = resample_to_output(nib.load(demo(folder)), (2, 2, 2), order=1)
    turned = image.as_reoriented(nib.io_orientation(image.affine)[::-1] * [1, -1])
    values = np.rint(turned.get_fdata() * (3000 / turned.get_fdata().max())).clip(0)
    path = folder / 'small.nii.gz'
    nib.save(nib.Nifti1Image(values.astype(np.int16), turned.affine), path)
    return path


SCANS = {'demo': demo, 'small': small}


def blocks(path: Path) -> np.ndarray:
    """Means of an image over blocks of `BLOCK_MM`, in units of its 90th percentile; float32."""
    image = nib.load(path)
    values = image.get_fdata(dtype=np.float32)
    size = np.maximum(1, np.rint(BLOCK_MM / np.array(image.header.get_zooms()[:3]))).astype(int)
    values = np.pad(values, [(0, -n % step) for n, step in zip(values.shape, size, strict=True)])
    shape = [part for n, step in zip(values.shape, size, strict=True) for part in (n // step, step)]
    return values.reshape(shape).mean(axis=(1, 3, 5)) / np.percentile(values, 90)


def made(name: str, folder: Path) -> np.ndarray:
    """The blocks of a scan that was given another head."""
    deidentify(SCANS[name](folder), folder / 'out.nii.gz', seed=2)
    return blocks(folder / 'out.nii.gz')


@pytest.mark.parametrize('name', SCANS)
def test_the_image_is_that_of_before(name, tmp_path):
    expected = np.array(json.loads((GOLDEN / f'{name}.json').read_text('utf-8')))
    found = made(name, tmp_path)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < TOLERANCE


if __name__ == '__main__':
    import tempfile

    for name in sys.argv[1:] or SCANS:
        with tempfile.TemporaryDirectory() as folder:
            values = made(name, Path(folder)).round(3).astype(float).tolist()
        (GOLDEN / f'{name}.json').write_text(json.dumps(values) + '\n')
