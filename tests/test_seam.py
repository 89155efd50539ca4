"""A head that is rougher than the scan around it is softened until its seam does not show."""

import json

import numpy as np
import phantom
import pytest
from scipy import ndimage

from cpmae_bids.deid.images import masks, nifti, noise, volumes
from cpmae_bids.deid.synthesis import air as air_model
from cpmae_bids.deid.synthesis import blending, seam
from cpmae_bids.steps import blend

SHAPE, AFFINE = phantom.grid((3, 3, 3))


@pytest.fixture(scope='module')
def scan(tmp_path_factory):
    """Files of a scan, as the steps before leave them; its preserved region, and the head to be blended."""
    folder = tmp_path_factory.mktemp('seam')
    values, brain = phantom.head(SHAPE, AFFINE)
    original = nifti.read(phantom.write(folder / 'T1w.nii', values, AFFINE))
    kept = masks.dilate(brain, 3.0, original.voxel_sizes)
    nifti.write_mask(folder / 'kept.nii', kept, original)
    np.savetxt(folder / 'affine.txt', np.eye(4))
    sharp = np.random.default_rng(0).standard_normal((128, 128, 128)) * (phantom.cube(3) > 0)
    volumes.write(folder / 'brain.npz', brain=sharp.astype(np.float16), scale=phantom.SCALE)
    return folder, original, kept


def step(scan, head):
    """Stored values that the step writes, and those of the head as it is."""
    folder, original, kept = scan
    volumes.write(folder / 'head.npz', head=head.astype(np.float16))
    files = [folder / name for name in ('T1w.nii', 'kept.nii', 'affine.txt', 'head.npz', 'brain.npz')]
    *places, head, brain = files
    blend.blend(*places, brain, 1, folder / 'out.nii', folder / 'mask.nii', folder / 'noise.json', head)
    air = air_model.estimate(original.values(), kept, original.voxel_sizes, phantom.SCALE)
    used = json.loads((folder / 'noise.json').read_text())  # which the sidecar will list
    assert used['Air'] == json.loads(json.dumps(air.to_dict()))
    assert len(used['StoredRange']) == 2
    cube = volumes.read(folder / 'head.npz', 'head')
    sigma = noise.in_brain(original.values(), kept)
    plain = phantom.synthesize(cube, phantom.SCALE, AFFINE, np.eye(4), SHAPE, air, 1, sigma)
    return nifti.read(folder / 'out.nii').raw, blending.blend(original, kept, plain)


def ratio(scan, raw):
    _, original, kept = scan
    return seam.ratio(
        original.raw,
        raw,
        np.isfinite(
            masks.distance_outside(kept, original.voxel_sizes, masks.seam_width(original.voxel_sizes))
        ),
    )


def test_a_head_as_sharp_as_the_scan_is_left_as_it_is(scan):
    written, plain = step(scan, phantom.cube(3))
    assert ratio(scan, plain) < seam.VISIBLE
    assert np.array_equal(written, plain)


def test_a_rougher_head_is_softened_until_the_seam_is_not_visible(scan):
    smooth = phantom.cube(3)
    grain = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 3, smooth.shape), 1)
    written, plain = step(scan, np.where(smooth > 0, np.clip(smooth + grain, 0, 2.5), 0))
    assert ratio(scan, plain) > seam.VISIBLE
    assert ratio(scan, written) <= seam.VISIBLE
    assert np.array_equal(written[scan[2]], scan[1].raw[scan[2]])


def test_where_softening_does_not_help_the_verdict_decides(scan, monkeypatch):
    monkeypatch.setattr(seam, 'VISIBLE', 0.0)
    written, plain = step(scan, phantom.cube(3))
    assert 0 < ratio(scan, written) < ratio(scan, plain)


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.float64])
def test_the_ratio_is_that_of_differences(dtype):
    rng = np.random.default_rng(0)
    before = rng.integers(100, 120, (20, 20, 20)).astype(dtype)
    shell = np.zeros(before.shape, bool)
    shell[4:16, 4:16, 4:16] = True
    assert seam.ratio(before, before, shell) == 1
    assert seam.ratio(before, 2 * (before - 60), shell) == pytest.approx(2)
    assert np.isnan(seam.ratio(np.ones_like(before), before, shell))
    assert np.isnan(seam.ratio(before, before, np.zeros_like(shell)))


@pytest.mark.parametrize(('needed', 'found'), [(0.0, 0.6), (1.0, 1.0), (1.2, 1.3), (9.0, 2.0)])
def test_a_head_is_softened_as_little_as_it_takes(needed, found):
    def softened(mm):
        return np.array(mm)

    chosen = seam.least_softened(softened, lambda mm: 1.0 if mm >= needed else 2.0)
    assert chosen == found
