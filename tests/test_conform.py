"""Brain and head in the cube: what they hold, and that the brain knows nothing of the head."""

import json

import numpy as np
import phantom
import pytest

from cpmae_bids.deid.images import intensity, nifti
from cpmae_bids.deid.space import conforming, geometry
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps.conform import conform, read_affine


def write_inputs(folder, person=0, voxels=(2, 2, 2), axes='LPS', scale=1.0):
    shape, affine = phantom.grid(voxels, axes, 8)
    values, brain = phantom.head(shape, affine, person)
    values[brain] = phantom.head(shape, affine, 0)[0][brain]
    scan = nifti.read(phantom.write(folder / f'{person}.nii', values * scale, affine, '<f4'))
    nifti.write_mask(folder / f'{person}_mask.nii', brain, scan)
    np.savetxt(folder / 'affine.txt', np.eye(4))
    names = (f'{person}.nii', f'{person}_mask.nii', 'affine.txt', f'{person}_brain.npz', f'{person}_head.npz')
    names += (f'{person}_statistics.json',)
    return [folder / name for name in names]


@pytest.fixture(scope='module')
def conformed(tmp_path_factory):
    """Files of the step, made from a head of 2 mm."""
    files = write_inputs(tmp_path_factory.mktemp('conformed'))
    conform(*files)
    return files


@pytest.mark.parametrize('voxels', [(2, 2, 2), (1, 2, 4)])
def test_the_cube_holds_the_head_where_it_belongs(conformed, tmp_path, voxels):
    files = conformed
    if voxels != (2, 2, 2):
        files = write_inputs(tmp_path, voxels=voxels)
        conform(*files)
    n = 128
    expected, in_brain = phantom.head((n, n, n), geometry.grid_affine(n), noise=False)
    with np.load(files[3]) as brain_file, np.load(files[4]) as head_file:
        assert set(brain_file) == {'brain', 'edge_mm', 'mask', 'scale'}
        assert set(head_file) == {'head', 'brain', 'seen'}
        brain, inside, scale = brain_file['brain'], brain_file['mask'], float(brain_file['scale'])
        head, outside = head_file['head'], head_file['seen'] & ~head_file['brain']
    assert brain.shape == (n, n, n)
    assert head.shape == outside.shape == (128, 128, 128)
    assert (brain.dtype, head.dtype) == (np.float32, np.float16)
    assert inside.dtype == outside.dtype == bool
    assert 0.8 * phantom.SCALE < scale < 1.3 * phantom.SCALE
    assert (inside != in_brain).mean() < 0.004
    expected = np.clip(expected / scale, 0, intensity.CEILING)
    both = in_brain & inside
    assert np.abs(brain[both] - expected[both]).mean() < 0.04
    expected, in_brain = phantom.head((128,) * 3, geometry.grid_affine(128), noise=False)
    expected = np.clip(expected / scale, 0, intensity.CEILING)
    assert np.median(np.abs(head[outside] - expected[outside])) < 0.04
    hole = head == np.float16(intensity.HOLE)
    assert (hole != in_brain).mean() < 0.004
    assert not (outside & in_brain).sum() > 0.004 * outside.sum()
    assert not head[~outside & ~hole].any()


def test_the_brain_in_the_cube_does_not_depend_on_the_head(conformed, tmp_path):
    one, other = conformed, write_inputs(tmp_path, 5)
    conform(*other)
    with np.load(one[3]) as a, np.load(other[3]) as b:
        assert set(a) == set(b)
        for name in a:
            assert np.array_equal(a[name], b[name]), name
    with np.load(one[4]) as a, np.load(other[4]) as b:
        assert (a['head'] != b['head']).mean() > 0.1


def test_units_cancel(conformed, tmp_path):
    other, results = write_inputs(tmp_path, scale=37.5), []
    conform(*other)
    for files in (conformed, other):
        with np.load(files[3]) as arrays:
            results.append((arrays['brain'].astype(float), float(arrays['scale'])))
    assert results[1][1] == pytest.approx(37.5 * results[0][1], rel=1e-5)
    assert np.abs(results[0][0] - results[1][0]).max() < 2e-3


def test_noise_is_no_tissue(conformed, tmp_path):
    """At a signal-to-noise ratio of 8, the air is brighter than the tissue threshold."""
    noisy = write_inputs(tmp_path)
    scan = nifti.read(noisy[0])
    real, imaginary = np.random.default_rng(0).normal(0, phantom.SCALE / 8, (2, *scan.shape))
    phantom.write(noisy[0], np.hypot(scan.values() + real, imaginary), scan.affine, '<f4')
    conform(*noisy)
    quantiles = [np.array(json.loads(f[5].read_text())['Quantiles'], float) for f in (conformed, noisy)]
    middle = slice(3, 7)
    assert np.nanmax(np.abs(quantiles[1] - quantiles[0])[:, middle]) < 0.2


def test_a_cut_field_of_view_is_known_and_empty():
    shape, affine = phantom.grid((4, 4, 4))
    values, brain = phantom.head(shape, affine)
    values, brain = values[:, :46], brain[:, :46]  # the nose is cut off
    result = conforming.conform_head(values, brain, affine, np.eye(4), 64, phantom.SCALE)
    front = (slice(None), slice(int((46 * 4 - 130 + 140) / 4) + 1, None), slice(None))
    assert not result.in_fov[front].any()
    assert not result.head[front].any()
    assert result.in_fov.any()


def test_bad_brains_name_the_scan(tmp_path):
    files = write_inputs(tmp_path)
    scan = nifti.read(files[0])
    nifti.write_mask(files[1], np.zeros(scan.shape, bool), scan)
    with pytest.raises(InputError, match=r'0\.nii'):
        conform(*files)
    assert not files[3].exists()


@pytest.mark.parametrize(
    'text', ['', 'nonsense', '1 2 3', '1 0 0 0\n' * 4, 'nan 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1']
)
def test_damaged_affines_are_refused(tmp_path, text):
    (tmp_path / 'affine.txt').write_text(text)
    with pytest.raises(InputError, match=r'affine\.txt'):
        read_affine(tmp_path / 'affine.txt')
