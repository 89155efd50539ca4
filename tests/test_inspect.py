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


def missing(folder, volume):
    return folder / 'T1w.nii.gz'


def broken_link(folder, volume):
    (folder / 'T1w.nii.gz').symlink_to(folder / 'annex')
    return folder / 'T1w.nii.gz'


def a_folder(folder, volume):
    return folder


def unreadable(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip('this user can read everything')
    return path


def truncated_gzip(folder, volume):
    path = phantom.write(folder / 'T1w.nii.gz', *volume)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def damaged_gzip(folder, volume):
    path = phantom.write(folder / 'T1w.nii.gz', *volume)
    content = bytearray(path.read_bytes())
    content[-8] ^= 255  # of the checksum
    path.write_bytes(content)
    return path


def truncated(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume)
    path.write_bytes(path.read_bytes()[:-1])
    return path


def empty(folder, volume):
    (folder / 'T1w.nii').write_bytes(b'')
    return folder / 'T1w.nii'


def text(folder, volume):
    (folder / 'T1w.nii').write_text('This is not an image. ' * 50)
    return folder / 'T1w.nii'


def half_a_pair(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume)
    return change_header(path, magic=b'ni1')


def four_volumes(folder, volume):
    return phantom.write(folder / 'T1w.nii', np.stack([volume[0]] * 4, axis=-1), volume[1])


def one_slice(folder, volume):
    return phantom.write(folder / 'T1w.nii', volume[0][:, :, 20], volume[1])


def colours(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume, '<i4')
    return change_header(path, datatype=128, bitpix=24)


def complex_numbers(folder, volume):
    return phantom.write(folder / 'T1w.nii', volume[0] + 0j, volume[1], '<c8')


def unknown_type(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), datatype=77)


def no_orientation(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), qform_code=0, sform_code=0)


def flat_affine(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), srow_z=(0, 0, 0, 0))


def affine_of_nan(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), srow_z=(0, np.nan, 5, 0))


def bad_quaternion(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), sform_code=0, quatern_b=7)


def metres(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), xyzt_units=1)


def slope_of_nan(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), scl_slope=1, scl_inter=np.inf)


def thick_slices(folder, volume):
    return phantom.write(folder / 'T1w.nii', volume[0], volume[1] @ np.diag([1, 1, 1.7, 1]))


def sform_at_right_angles(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume)
    rows = volume[1][[0, 2, 1]] * [[1], [-1], [1]]
    return change_header(path, srow_x=rows[0], srow_y=rows[1], srow_z=rows[2])


def qform_without_a_voxel_size(folder, volume):
    path = phantom.write(folder / 'T1w.nii', *volume)
    sizes = nib.load(path).header['pixdim'].copy()
    sizes[2] = 0
    return change_header(path, qform_code=1, pixdim=sizes)


def pointer_of_lfs(folder, volume):
    path = folder / 'T1w.nii.gz'
    path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n')
    return path


def pointer_of_annex(folder, volume):
    path = folder / 'T1w.nii.gz'
    path.write_text('/annex/objects/SHA256E-s8388608--4d7a21.nii.gz\n')
    return path


def link_as_text(folder, volume):
    path = folder / 'T1w.nii.gz'
    path.write_text('../../.git/annex/objects/k4/xJ/SHA256E-s83--4d.nii.gz/SHA256E-s83--4d.nii.gz')
    return path


def tiny_field_of_view(folder, volume):
    return phantom.write(folder / 'T1w.nii', volume[0][:10], volume[1])


def not_a_number(folder, volume):
    values = volume[0].copy()
    values[3, 4, 5] = np.nan
    return phantom.write(folder / 'T1w.nii', values, volume[1], '<f4')


def infinite(folder, volume):
    values = volume[0].copy()
    values[3, 4, 5] = np.inf
    return phantom.write(folder / 'T1w.nii', values, volume[1], '<f4')


def constant(folder, volume):
    return phantom.write(folder / 'T1w.nii', np.full_like(volume[0], 7), volume[1])


def half_an_offset(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), vox_offset=352.5)


def quaternion_far_too_long(folder, volume):
    return change_header(phantom.write(folder / 'T1w.nii', *volume), sform_code=0, quatern_b=1.01)


BAD = [
    (missing, 'cannot be read'),
    (broken_link, 'datalad get'),
    (a_folder, 'cannot be read'),
    (unreadable, 'cannot be read'),
    (truncated_gzip, 'truncated'),
    (damaged_gzip, 'damaged'),
    (truncated, 'truncated'),
    (empty, 'an empty file'),
    (half_an_offset, 'vox_offset'),
    (quaternion_far_too_long, 'qform'),
    (text, 'not a NIfTI'),
    (half_a_pair, 'single-file'),
    (four_volumes, 'not 3D'),
    (one_slice, 'not 3D'),
    (colours, 'data type'),
    (complex_numbers, 'data type'),
    (unknown_type, 'data type'),
    (no_orientation, 'no orientation'),
    (flat_affine, 'not invertible'),
    (affine_of_nan, 'not invertible'),
    (bad_quaternion, 'qform'),
    (metres, 'not mm'),
    (slope_of_nan, 'scl_'),
    (thick_slices, 'too thick'),
    (sform_at_right_angles, 'sform and qform disagree'),
    (qform_without_a_voxel_size, 'sform and qform disagree'),
    (pointer_of_lfs, 'git lfs pull'),
    (pointer_of_annex, 'datalad get'),
    (link_as_text, 'datalad get'),
    (tiny_field_of_view, 'field of view'),
    (not_a_number, 'NaN'),
    (infinite, 'NaN'),
    (constant, 'constant'),
]


@pytest.mark.parametrize(('make', 'says'), BAD, ids=lambda item: getattr(item, '__name__', ''))
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
