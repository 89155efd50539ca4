"""What travels from the input's file to the output's, and what must not."""

import errno
import gzip
import os

import nibabel as nib
import numpy as np
import phantom
import pytest

from cpmae_bids.deid.images import nifti
from cpmae_bids.deid.qc import file_metrics
from cpmae_bids.exceptions import CpmaeError, InputError
from cpmae_bids.sharing.rawlike.images import copy_image

KINDS = [
    ('|u1', 1.0, 0.0),
    ('<i2', 0.5, -20.0),
    ('>i2', 1.0, 0.0),
    ('<u2', 2.0, 0.0),
    ('<i4', 1.0, 0.0),
    ('<f4', 1.0, 0.0),
    ('>f4', 3.0, 1.0),
    ('<f8', 1.0, 0.0),
]


@pytest.fixture
def volume():
    shape, affine = phantom.grid((8, 8, 8), 'LPS', 12)
    return np.random.default_rng(0).uniform(0, 250, shape), affine


@pytest.mark.parametrize(('dtype', 'slope', 'inter'), KINDS)
@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
def test_raw_values_and_their_description_survive(tmp_path, volume, dtype, slope, inter, suffix):
    source = phantom.write(tmp_path / f'in{suffix}', *volume, dtype, slope, inter)
    scan = nifti.read(source)
    assert scan.raw.dtype == np.dtype(dtype)
    assert np.allclose(scan.values(), nib.load(source).get_fdata(), atol=1e-4)
    nifti.write(tmp_path / f'out{suffix}', scan.raw, scan)
    back = nifti.read(tmp_path / f'out{suffix}')
    assert back.raw.dtype == scan.raw.dtype
    assert back.raw.tobytes() == scan.raw.tobytes()
    for field in nifti.KEPT_FIELDS:
        assert back.header[field].tobytes() == scan.header[field].tobytes(), field
    assert np.array_equal(nib.load(tmp_path / f'out{suffix}').get_fdata(), nib.load(source).get_fdata())
    assert np.array_equal(back.affine, scan.affine)


@pytest.mark.parametrize('nifti2', [False, True])
def test_numbers_in_unused_dimensions_stay_behind(tmp_path, volume, nifti2):
    source = phantom.write(tmp_path / 'in.nii', *volume, nifti2=nifti2)
    header = nifti.read(source).header
    header['pixdim'][4:8] = 870503, 19870503, 1, 0
    header['dim'][5] = 8705
    content = source.read_bytes()
    source.write_bytes(header.binaryblock + content[len(header.binaryblock) :])
    scan = nifti.read(source)
    nifti.write(tmp_path / 'out.nii', scan.raw, scan)
    nifti.write_mask(tmp_path / 'mask.nii', scan.raw > 100, scan)
    for name in ('out.nii', 'mask.nii'):
        written = nifti.read(tmp_path / name).header
        assert set(written['pixdim'][4:].tolist()) <= {0, 1}
        assert set(written['dim'][4:].tolist()) <= {0, 1}
    assert file_metrics.header_fields_changed(scan, nifti.read(tmp_path / 'out.nii')) == 0


@pytest.mark.parametrize('nifti2', [False, True])
def test_names_and_comments_stay_behind(tmp_path, volume, nifti2):
    source = phantom.write(
        tmp_path / 'in.nii', *volume, descrip=b'DOE^JANE', extension=b'born in Springfield', nifti2=nifti2
    )
    content = bytearray(source.read_bytes())
    fields = type(nib.load(source).header).template_dtype.fields
    for field in ('aux_file', 'intent_name', 'db_name', 'data_type'):
        if field in fields:
            offset = fields[field][1]
            content[offset : offset + 8] = b'DOE^JANE'
    source.write_bytes(content)
    scan = nifti.read(source)
    nifti.write(tmp_path / 'out.nii', scan.raw, scan)
    result = (tmp_path / 'out.nii').read_bytes()
    assert b'DOE' not in result
    assert b'Springfield' not in result
    image = nib.load(tmp_path / 'out.nii')
    assert len(image.header.extensions) == 0
    assert type(image.header) is type(scan.header)
    assert np.array_equal(nifti.read(tmp_path / 'out.nii').raw, scan.raw)


SECRET = b'DOE^JANE 1970-01-01'


def extensions(order, *contents):
    """Bytes between header and voxels: a flag, and a block for each content with its size and code."""
    block = b'\1\0\0\0'
    for code, content in enumerate(contents, 1):
        size = -(-(len(content) + 8) // 16) * 16
        block += size.to_bytes(4, order) + (2 * code).to_bytes(4, order) + content.ljust(size - 8, b'\0')
    return block


def with_extension(path, make):
    """Put bytes between header and voxels of a file, and set ``vox_offset`` accordingly."""
    opened = gzip.open if path.suffix == '.gz' else open
    with opened(path, 'rb') as file:
        content = file.read()
    kind = nib.Nifti1Header if content[344:347] == b'n+1' else nib.Nifti2Header
    header = kind(content[: kind.sizeof_hdr], check=False)
    extra = make('big' if header.endianness == '>' else 'little')
    header['vox_offset'] = kind.sizeof_hdr + len(extra)
    with opened(path, 'wb') as file:
        file.write(header.binaryblock + extra + content[kind.sizeof_hdr + 4 :])
    return path


EXTENSIONS = {
    'none, flagged': lambda order: b'\1\0\0\0',
    'short': lambda order: extensions(order, SECRET),
    'several': lambda order: extensions(order, SECRET, b'x', SECRET * 200),
    'long': lambda order: extensions(order, SECRET * 200_000),
    'not flagged': lambda order: bytes(4) + extensions(order, SECRET * 50)[4:],
    'of size 0': lambda order: b'\1\0\0\0' + bytes(4) + SECRET * 40,
    'of negative size': lambda order: b'\1\0\0\0' + b'\xff' * 4 + SECRET * 40,
    'longer than the file': lambda order: b'\1\0\0\0' + (2**30).to_bytes(4, order) + SECRET * 40,
    'of odd size': lambda order: extensions(order, SECRET)[:4] + (27).to_bytes(4, order) + SECRET * 3,
}


@pytest.mark.parametrize('make', EXTENSIONS.values(), ids=EXTENSIONS)
@pytest.mark.parametrize('dtype', ['<i2', '>i2', '>f4'])
@pytest.mark.parametrize('nifti2', [False, True])
@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
def test_header_extensions_are_stepped_over_and_stay_behind(tmp_path, volume, make, dtype, nifti2, suffix):
    path = phantom.write(tmp_path / f'in{suffix}', *volume, dtype, nifti2=nifti2)
    plain = nifti.read(path)
    scan = nifti.read(with_extension(path, make))
    assert np.array_equal(scan.raw, plain.raw)
    assert np.array_equal(scan.affine, plain.affine)
    nifti.write(tmp_path / 'out.nii', scan.raw, scan)
    with (tmp_path / f'copy{suffix}').open('wb') as file:
        copy_image(path, file)
    for written in (tmp_path / 'out.nii', tmp_path / f'copy{suffix}'):
        assert len(nib.load(written).header.extensions) == 0
        assert np.array_equal(nifti.read(written).raw, scan.raw)
        content = written.read_bytes()
        assert SECRET not in (gzip.decompress(content) if written.suffix == '.gz' else content)


def test_an_extension_that_reaches_beyond_the_file_or_reason_is_told(tmp_path, volume):
    path = with_extension(phantom.write(tmp_path / 'in.nii', *volume), EXTENSIONS['long'])
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match='truncated'):
        nifti.read(path)
    content = bytearray(path.read_bytes())
    content[108:112] = np.float32(1e9).tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match='vox_offset'):
        nifti.read(path)


def test_gzip_tells_neither_name_nor_time(tmp_path, volume, monkeypatch):
    scan = nifti.read(phantom.write(tmp_path / 'in.nii', *volume))
    nifti.write(tmp_path / 'first.nii.gz', scan.raw, scan)
    monkeypatch.setattr('time.time', lambda: 2e9)
    nifti.write(tmp_path / 'second.nii.gz', scan.raw, scan)
    first, second = ((tmp_path / name).read_bytes() for name in ('first.nii.gz', 'second.nii.gz'))
    assert first == second
    assert first[3] == 0  # flags: neither name nor comment
    assert first[4:8] == bytes(4)  # time stamp


def test_a_full_disk_leaves_no_file(tmp_path, volume, monkeypatch):
    scan = nifti.read(phantom.write(tmp_path / 'in.nii', *volume))

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('os.fsync', full)
    (tmp_path / 'out').mkdir()
    with pytest.raises(CpmaeError, match='No space left'):
        nifti.write(tmp_path / 'out' / 'out.nii.gz', scan.raw, scan)
    assert not list((tmp_path / 'out').iterdir())


def test_values_of_another_type_or_shape_are_refused(tmp_path, volume):
    scan = nifti.read(phantom.write(tmp_path / 'in.nii', *volume))
    with pytest.raises(ValueError, match='fit the header'):
        nifti.write(tmp_path / 'out.nii', scan.raw.astype(np.float32), scan)
    with pytest.raises(ValueError, match='fit the header'):
        nifti.write(tmp_path / 'out.nii', scan.raw[1:], scan)


@pytest.mark.parametrize(('dtype', 'slope', 'inter'), KINDS)
def test_masks_lie_on_the_grid_of_the_scan(tmp_path, volume, dtype, slope, inter):
    scan = nifti.read(phantom.write(tmp_path / 'in.nii', *volume, dtype, slope, inter))
    mask = np.random.default_rng(1).random(scan.shape) > 0.5
    nifti.write_mask(tmp_path / 'mask.nii.gz', mask, scan)
    assert np.array_equal(nifti.read_mask(tmp_path / 'mask.nii.gz', scan), mask)
    image = nib.load(tmp_path / 'mask.nii.gz')
    assert image.get_data_dtype() == np.uint8
    assert np.allclose(image.affine, scan.affine)
    assert image.header['qform_code'] == scan.header['qform_code']


def test_a_mask_of_another_grid_is_refused(tmp_path, volume):
    values, affine = volume
    scan = nifti.read(phantom.write(tmp_path / 'in.nii', values, affine))
    phantom.write(tmp_path / 'moved.nii', values, affine + np.eye(4), '|u1')
    phantom.write(tmp_path / 'cut.nii', values[1:], affine, '|u1')
    for name in ('moved.nii', 'cut.nii'):
        with pytest.raises(InputError, match='not on the grid'):
            nifti.read_mask(tmp_path / name, scan)


def test_a_header_of_more_dimensions_than_there_are_is_refused(tmp_path):
    """Such a big-endian one can be read; masks on its grid could not."""
    values, affine = np.ones((4, 4, 4), np.float32), np.eye(4)
    path = phantom.write(tmp_path / 'in.nii', values, affine, '>f4')
    content = bytearray(path.read_bytes())
    content[40:42] = (220).to_bytes(2, 'big')
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'in\.nii: unknown data type or shape'):
        nifti.read(path)
