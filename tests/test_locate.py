"""The brain of another contrast is found in any slab, and heads that lost their face are refused."""

import contrasts
import nibabel as nib
import numpy as np
import phantom
import pytest

from cpmae_bids.deid.images import nifti
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps import locate

SHAPE, AFFINE = phantom.grid((3, 3, 3), 'LPS', 10)
FINE = {'voxel': (2.2, 2.0, 2.4)}
CENTER = np.array([0, -18, 8, 1.0])


@pytest.fixture(scope='module')
def t1w(tmp_path_factory):
    """A phantom with the files of the T1w steps."""
    folder = tmp_path_factory.mktemp('t1w')
    values, brain = phantom.head(SHAPE, AFFINE)
    scan = nifti.read(phantom.write(folder / 'T1w.nii.gz', values, AFFINE))
    for name in ('brain.nii.gz', 'kept.nii.gz'):
        nifti.write_mask(folder / name, brain, scan)
    np.savetxt(folder / 'affine.txt', np.eye(4))
    return folder


def make(t1w, path, change=lambda values, affine: (values, affine), **how):
    """Write a T2w scan of the phantom, changed; gives its world to that of the T1w."""
    brain = nifti.read_mask(t1w / 'brain.nii.gz', nifti.read(t1w / 'T1w.nii.gz'))
    moved = contrasts.make_t2w(t1w / 'T1w.nii.gz', brain, path, **FINE | how)
    image = nib.load(path)
    values, affine = change(np.asarray(image.dataobj), image.affine)
    nib.save(nib.Nifti1Image(values, affine), path)
    return moved


def find(scan, t1w, out):
    files = [t1w / name for name in ('T1w.nii.gz', 'brain.nii.gz', 'kept.nii.gz', 'affine.txt')]
    locate.locate(scan, *files, *(out / name for name in ('brain.nii.gz', 'kept.nii.gz', 'affine.txt')))
    return np.loadtxt(out / 'affine.txt')


def heights(shape, affine):
    """Height of each voxel in the world of the scan."""
    return np.tensordot(affine[2, :3], np.indices(shape), 1) + affine[2, 3]


def cut(low):
    """The field of view ends at a height, as that of a slab."""

    def change(values, affine):
        first = int(np.flatnonzero((heights(values.shape, affine) > low).any(axis=(0, 1)))[0])
        shift = np.eye(4)
        shift[2, 3] = first
        return values[:, :, first:], affine @ shift

    return change


def padded(low, tilt):
    """An oblique slab, resampled onto a larger grid."""

    def change(values, affine):
        front = np.tensordot(affine[1, :3], np.indices(values.shape), 1) + affine[1, 3]
        return np.where(heights(values.shape, affine) + tilt * front > low, values, 0), affine

    return change


SLABS = {
    'whole': (lambda values, affine: (values, affine), {}),
    'cut at the nose': (cut(-58), {}),
    'cut at the brain': (cut(-62), {'voxel': (1.8, 1.8, 5.0)}),
    'thick slices, oblique': (cut(-60), {'voxel': (1.8, 1.8, 6.0), 'angles': (-14, 6, 8)}),
    'sagittal slices': (cut(-90), {'voxel': (5.0, 1.8, 1.8)}),
    'padded': (padded(-62, 0.0), {}),
    'padded, oblique': (padded(-62, 0.15), {'angles': (12, 0, 0)}),
    'far away': (cut(-130), {'shift': (30, -40, 60), 'angles': (10, 5, -8)}),
}


@pytest.mark.parametrize(('change', 'how'), SLABS.values(), ids=SLABS)
def test_the_brain_of_a_slab_is_found(t1w, tmp_path, change, how):
    moved = make(t1w, tmp_path / 'T2w.nii.gz', change, **how)
    error = find(tmp_path / 'T2w.nii.gz', t1w, tmp_path) - moved
    points = CENTER + 50 * np.vstack([np.eye(4)[:3], -np.eye(4)[:3]])
    assert np.linalg.norm(points @ error[:3].T, axis=1).max() < 1.5


def without_face(values, affine):
    front = np.tensordot(affine[1, :3], np.indices(values.shape), 1) + affine[1, 3]
    return np.where((front > 45) & (heights(values.shape, affine) < -20), 0, values), affine


def sheared(values, affine):
    """As quickshear cuts: a plane from the brows to the throat."""
    front = np.tensordot(affine[1, :3], np.indices(values.shape), 1) + affine[1, 3]
    return np.where(heights(values.shape, affine) < 1.2 * front - 85, 0, values), affine


def stripped(values, affine):
    front, right = (np.tensordot(affine[i, :3], np.indices(values.shape), 1) + affine[i, 3] for i in (1, 0))
    up = heights(values.shape, affine)
    radius = (right / 66) ** 2 + ((front + 18) / 84) ** 2 + ((up - 8) / 66) ** 2
    return np.where(radius < 1, values, 0), affine


@pytest.mark.parametrize(
    ('change', 'says'), [(without_face, 'defaced'), (sheared, 'defaced'), (stripped, 'skull-stripped')]
)
def test_a_contrast_that_lost_its_face_or_head_is_refused(t1w, tmp_path, change, says):
    make(t1w, tmp_path / 'T2w.nii.gz', change, angles=(1, 0, 1), shift=(1, 0, -1))
    with pytest.raises(InputError, match=says) as caught:
        find(tmp_path / 'T2w.nii.gz', t1w, tmp_path)
    assert str(tmp_path / 'T2w.nii.gz') in str(caught.value)
    assert not (tmp_path / 'affine.txt').exists()


def test_a_slab_of_half_the_brain_on_the_grid_of_a_whole_head_is_refused_for_what_it_is(t1w, tmp_path):
    make(t1w, tmp_path / 'T2w.nii.gz', padded(-5, 0.0), angles=(1, 0, 1), shift=(1, 0, -1))
    with pytest.raises(InputError, match=r'shows only \d\d% of the brain: give a scan of the whole brain'):
        find(tmp_path / 'T2w.nii.gz', t1w, tmp_path)


def test_a_thin_slab_on_the_grid_of_a_whole_head_is_to_be_given_as_acquired(t1w, tmp_path):
    """Its generated head would fill the grid."""
    make(t1w, tmp_path / 'T2w.nii.gz', padded(-30, 0.0), angles=(1, 0, 1), shift=(1, 0, -1))
    with pytest.raises(InputError, match=r'shows 4\d% of the head that T1w.* give it as acquired'):
        find(tmp_path / 'T2w.nii.gz', t1w, tmp_path)


def test_a_padded_scan_that_does_not_align_is_to_be_given_as_acquired(t1w, tmp_path):
    make(t1w, tmp_path / 'T2w.nii.gz', padded(45, 0.0), angles=(1, 0, 1), shift=(1, 0, -1))
    with pytest.raises(InputError, match='not resampled'):
        find(tmp_path / 'T2w.nii.gz', t1w, tmp_path)
