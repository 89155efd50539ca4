"""Every bad input gives one line with the file's name, and every usable one is read."""

import gzip
import os

import nibabel as nib
import numpy as np
import phantom
import pytest

from cpmae_bids.deid.qc.scan_checks import load_t1w
from cpmae_bids.exceptions import InputError


@pytest.fixture(scope='module')
def volume():
    shape, affine = phantom.grid((5, 5, 5))
    return phantom.head(shape, affine)[0], affine


def change_header(path, **fields):
    """Overwrite header fields in place."""
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(content)
    return path


def with_header(**fields):
    return lambda folder, volume: change_header(phantom.write(folder / 'T1w.nii', *volume), **fields)


def with_values(change, dtype='<i2'):
    return lambda folder, volume: phantom.write(folder / 'T1w.nii', change(volume[0]), volume[1], dtype)


def with_one(value):
    """A scan in which one voxel has that value."""

    def change(values):
        values = values.copy()
        values[3, 4, 5] = value
        return values

    return with_values(change, '<f4')


def with_bytes(change, name='T1w.nii.gz'):
    def make(folder, volume):
        path = phantom.write(folder / name, *volume)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def holding(text):
    return with_bytes(lambda content: text)


def broken_link(folder, volume):
    (folder / 'T1w.nii.gz').symlink_to(folder / 'annex')
    return folder / 'T1w.nii.gz'


def unreadable(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip('this user can read everything')
    return path


def colours(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume, '<i4')
    return change_header(path, datatype=128, bitpix=24)


def thick_slices(folder, volume):
    return phantom.write(folder / 'T1w.nii', volume[0], volume[1] @ np.diag([1, 1, 1.7, 1]))


def sform_at_right_angles(folder, volume):
    rows = volume[1][[0, 2, 1]] * [[1], [-1], [1]]
    return with_header(srow_x=rows[0], srow_y=rows[1], srow_z=rows[2])(folder, volume)


def qform_without_a_voxel_size(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume)
    sizes = nib.load(path).header['pixdim'].copy()
    sizes[2] = 0
    return change_header(path, qform_code=1, pixdim=sizes)


ANNEX = b'annex/objects/k4/xJ/SHA256E-s83--4d.nii.gz/SHA256E-s83--4d.nii.gz'
BAD = {
    'missing': (lambda folder, volume: folder / 'T1w.nii.gz', 'cannot be read'),
    'a folder': (lambda folder, volume: folder, 'cannot be read'),
    'a broken link': (broken_link, 'datalad get'),
    'unreadable': (unreadable, 'cannot be read'),
    'truncated gzip': (with_bytes(lambda content: content[:-2000]), 'truncated'),
    'another checksum': (with_bytes(lambda content: content[:-8] + b'\0\0\0\0' + content[-4:]), 'damaged'),
    'truncated': (with_bytes(lambda content: content[:-1], 'T1w.nii'), 'truncated'),
    'empty': (holding(b''), 'an empty file'),
    'text': (holding(b'This is not an image. ' * 50), 'not a NIfTI'),
    'a pointer of LFS': (
        holding(b'version https://git-lfs.github.com/spec/v1\nsize 12345\n'),
        'git lfs pull',
    ),
    'a pointer of annex': (holding(b'/' + ANNEX + b'\n'), 'datalad get'),
    'a link as text': (holding(b'../../.git/' + ANNEX), 'datalad get'),
    'half an offset': (with_header(vox_offset=352.5), 'vox_offset'),
    'a quaternion far too long': (with_header(sform_code=0, quatern_b=1.01), 'qform'),
    'a bad quaternion': (with_header(sform_code=0, quatern_b=7), 'qform'),
    'half a pair': (with_header(magic=b'ni1'), 'single-file'),
    'unknown type': (with_header(datatype=77), 'data type'),
    'no orientation': (with_header(qform_code=0, sform_code=0), 'no orientation'),
    'a flat affine': (with_header(srow_z=(0, 0, 0, 0)), 'not invertible'),
    'an affine of NaN': (with_header(srow_z=(0, np.nan, 5, 0)), 'not invertible'),
    'metres': (with_header(xyzt_units=1), 'not mm'),
    'an infinite offset': (with_header(scl_slope=1, scl_inter=np.inf), 'scl_'),
    'thick slices': (thick_slices, 'too thick'),
    'sform at right angles': (sform_at_right_angles, 'sform and qform disagree'),
    'qform without a voxel size': (qform_without_a_voxel_size, 'sform and qform disagree'),
    'colours': (colours, 'data type'),
    'complex numbers': (with_values(lambda values: values + 0j, '<c8'), 'data type'),
    'four volumes': (with_values(lambda values: np.stack([values] * 4, axis=-1)), 'not 3D'),
    'one slice': (with_values(lambda values: values[:, :, 20]), 'not 3D'),
    'a tiny field of view': (with_values(lambda values: values[:10]), 'field of view'),
    'not a number': (with_one(np.nan), 'NaN'),
    'infinite': (with_one(np.inf), 'NaN'),
    'constant': (with_values(lambda values: np.full_like(values, 7)), 'constant'),
}


@pytest.mark.parametrize(('make', 'says'), BAD.values(), ids=BAD)
def test_bad_input_gives_one_clear_line(tmp_path, volume, make, says):
    path = make(tmp_path, volume)
    with pytest.raises(InputError) as caught:
        load_t1w(path)
    message = str(caught.value)
    assert says in message
    assert str(path) in message
    assert '\n' not in message
    assert message.count(': ') >= 2  # which file, what is wrong, what to do


@pytest.mark.parametrize('dtype', ['|u1', '|i1', '<i2', '>i2', '<u2', '<i4', '<f4', '>f8'])
@pytest.mark.parametrize('axes', ['RAS', 'LPS', 'PIR'])
def test_usable_scans_are_read(tmp_path, dtype, axes):
    shape, affine = phantom.grid((5, 5, 5), axes)
    values = phantom.head(shape, affine)[0] / 4
    scan = load_t1w(phantom.write(tmp_path / 'T1w.nii.gz', values, affine, dtype))
    assert scan.shape == shape
    expected = np.clip(values, None, 127) if dtype == '|i1' else values
    assert np.abs(scan.values() - expected).max() <= (0.51 if scan.raw.dtype.kind in 'iu' else 1e-4)
    assert np.allclose(scan.affine, affine, atol=1e-4)


@pytest.mark.parametrize('angle', [-8, 3, 5, 7, 11])
@pytest.mark.parametrize('thickness', [5, 7.5, 8])
def test_oblique_slices_of_clinics_are_not_too_thick(tmp_path, angle, thickness):
    shape, affine = phantom.grid((4, 4, thickness), 'RAS', angle)
    load_t1w(phantom.write(tmp_path / 'T1w.nii.gz', phantom.head(shape, affine)[0], affine))


def test_a_single_volume_may_have_a_fourth_axis(tmp_path, volume):
    scan = load_t1w(phantom.write(tmp_path / 'T1w.nii', volume[0][..., None], volume[1]))
    assert scan.shape == volume[0].shape


@pytest.mark.parametrize('turn', [(20, -10, 15), (0, 0, -40)])
def test_an_sform_of_a_template_may_differ_from_the_qform(tmp_path, volume, turn):
    path = phantom.write(tmp_path / 'T1w.nii', *volume)
    rows = np.eye(4)
    rows[:3, :3] = phantom.rotation_matrix(*turn) * 1.05
    rows = rows @ volume[1]
    assert load_t1w(change_header(path, srow_x=rows[0], srow_y=rows[1], srow_z=rows[2], sform_code=4))


@pytest.mark.parametrize('sign', [0, 0.5, 1])
def test_a_sign_of_zero_in_a_qform_is_read_as_one(tmp_path, volume, sign):
    """As the standard has it; headers without an sform are written so by converters of old."""
    plain = load_t1w(phantom.write(tmp_path / 'plain.nii', *volume))
    path = phantom.write(tmp_path / 'T1w.nii', *volume)
    scan = load_t1w(change_header(path, sform_code=0, pixdim=[sign, *plain.header['pixdim'][1:]]))
    assert np.allclose(scan.affine, plain.affine, atol=1e-4)
    mirrored = load_t1w(change_header(path, pixdim=[-1, *plain.header['pixdim'][1:]]))
    assert np.linalg.det(mirrored.affine) * np.linalg.det(plain.affine) < 0


def test_a_slope_of_zero_means_no_scaling(tmp_path, volume):
    path = change_header(phantom.write(tmp_path / 'T1w.nii', *volume), scl_slope=0, scl_inter=9)
    scan = load_t1w(path)
    assert (scan.slope, scan.inter) == (1.0, 0.0)
    assert np.array_equal(scan.values(), scan.raw)


def test_the_name_does_not_matter_but_the_content(tmp_path, volume):
    path = phantom.write(tmp_path / 'T1w.nii', *volume)
    (tmp_path / 'T1w.img').write_bytes(gzip.compress(path.read_bytes()))
    assert np.array_equal(load_t1w(tmp_path / 'T1w.img').raw, load_t1w(path).raw)


BEHIND = [b'g', b'\n', bytes(512), b'garbage' * 99, gzip.compress(bytes(9), mtime=0)]


@pytest.mark.parametrize('behind', BEHIND)
def test_what_follows_a_whole_gzip_stream_is_ignored(tmp_path, volume, behind):
    path = phantom.write(tmp_path / 'T1w.nii.gz', *volume)
    raw = load_t1w(path).raw
    path.write_bytes(path.read_bytes() + behind)
    assert np.array_equal(load_t1w(path).raw, raw)


def test_a_quaternion_that_is_too_long_by_rounding_is_a_half_turn(tmp_path, volume):
    path = change_header(
        phantom.write(tmp_path / 'T1w.nii', *volume),
        sform_code=0,
        qform_code=1,
        quatern_b=0,
        quatern_c=0,
        quatern_d=1.0001,
    )
    turn = load_t1w(path).affine[:3, :3] / load_t1w(path).voxel_sizes
    assert np.allclose(np.abs(turn), np.eye(3), atol=1e-3)
    assert turn[0, 0] < 0
    assert turn[1, 1] < 0
