"""NIfTI files by their raw, on-disk values.

The promise that a voxel is kept means its stored bytes, so scans are read and written without nibabel's
scaling: the raw array in its own data type and byte order, and the header fields that describe it.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cpmae_bids.exceptions import CpmaeError, InputError

KEPT_FIELDS = (
    'dim_info',
    'dim',
    'datatype',
    'bitpix',
    'pixdim',
    'scl_slope',
    'scl_inter',
    'xyzt_units',
    'qform_code',
    'sform_code',
    'quatern_b',
    'quatern_c',
    'quatern_d',
    'qoffset_x',
    'qoffset_y',
    'qoffset_z',
    'srow_x',
    'srow_y',
    'srow_z',
)
"""What travels from the input's header: geometry, type, scaling and units. All else may carry names or dates
(``descrip``, ``aux_file``, ``db_name``, ``intent_name``, the unused fields of ANALYZE) and starts empty."""

GZIP_LEVEL = 4
"""Noise hardly compresses: higher levels cost seconds per scan and save a few percent."""

_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}


@dataclass(frozen=True)
class Scan:
    """A 3D volume as it is stored.

    Attributes
    ----------
    path : Path
        Where it was read from.
    header : nibabel.Nifti1Header or nibabel.Nifti2Header
        The header as on disk, its byte order and scaling fields included.
    raw : ndarray, shape (X, Y, Z)
        Stored values in their own data type and byte order.
    affine : ndarray, shape (4, 4)
        Voxel indices to world (RAS mm): sform where it has a code, else qform.
    slope, inter : float
        ``value = raw * slope + inter``; (1, 0) where the header asks for no scaling.
    """

    path: Path
    header: nib.Nifti1Header
    raw: np.ndarray
    affine: np.ndarray
    slope: float
    inter: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.raw.shape

    @property
    def voxel_sizes(self) -> np.ndarray:
        """Edges of a voxel in mm, shape (3,)."""
        return np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))

    def values(self) -> np.ndarray:
        """Scaled values as float32, shape (X, Y, Z)."""
        values = self.raw.astype(np.float32)
        if self.slope != 1:
            values *= np.float32(self.slope)
        if self.inter != 0:
            values += np.float32(self.inter)
        return values


def read(path: Path | str) -> Scan:
    """Read a 3D single-file NIfTI, compressed or not.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    scan : Scan

    Raises
    ------
    InputError
        If the file is missing, unreadable, truncated, not a NIfTI, or not a 3D volume of real numbers.
    """
    path = Path(path)
    content = _read_bytes(path)
    header = _parse_header(path, content)
    shape, dtype = _layout(path, header)
    offset = int(header['vox_offset']) or len(header.binaryblock)
    size = int(np.prod(shape)) * dtype.itemsize
    if len(content) < offset + size:
        raise InputError(f'{path}: truncated, {offset + size - len(content)} bytes missing: fetch it again')
    raw = np.frombuffer(content, dtype, count=int(np.prod(shape)), offset=offset).reshape(shape, order='F')
    slope, inter = _scaling(path, header)
    return Scan(path, header, raw, _affine(path, header), slope, inter)


def write(path: Path | str, raw: np.ndarray, like: Scan) -> None:
    """Write raw values under the geometry, type and scaling of another scan, and nothing else of its header.

    The file appears under its name only when it is complete. A name in ``.gz`` is compressed without file
    name or time stamp, so that equal volumes give equal bytes.

    Parameters
    ----------
    path : Path or str
        Ends in ``.nii`` or ``.nii.gz``.
    raw : ndarray, shape (X, Y, Z)
        Values as stored, of the data type of `like`.
    like : Scan
        Source of geometry, data type, byte order, scaling and units.

    Raises
    ------
    CpmaeError
        If the file cannot be written.
    """
    if raw.dtype != like.raw.dtype or raw.shape != like.shape:
        raise ValueError(f'{raw.dtype}{raw.shape} does not fit the header of {like.raw.dtype}{like.shape}')
    header = type(like.header)(endianness=like.header.endianness, check=False)
    for field in KEPT_FIELDS:
        header[field] = like.header[field]
    _write_volume(Path(path), header, raw)


def write_mask(path: Path | str, mask: np.ndarray, like: Scan) -> None:
    """Write a mask (0 and 1, uint8, no scaling) on the grid of a scan; see `write`."""
    header = nib.Nifti1Header()
    if type(like.header) is nib.Nifti2Header:
        header = nib.Nifti2Header()
    for field in KEPT_FIELDS:
        header[field] = like.header[field]
    header.set_data_dtype(np.uint8)
    header['scl_slope'], header['scl_inter'] = 1, 0
    _write_volume(Path(path), header, np.asarray(mask, dtype=bool).astype(np.uint8))


def read_mask(path: Path | str, like: Scan) -> np.ndarray:
    """Read a mask that must lie on the grid of a scan; bool, shape (X, Y, Z).

    Raises
    ------
    InputError
        If it cannot be read or has another shape or affine.
    """
    mask = read(path)
    if mask.shape != like.shape or not np.allclose(mask.affine, like.affine, atol=1e-3):
        raise InputError(f'{path}: not on the grid of {like.path}: make the mask from that very scan')
    return mask.values() > 0.5


def _read_bytes(path: Path) -> bytes:
    if path.is_symlink() and not path.exists():
        raise InputError(f'{path}: link to a file that is not there: fetch it first (e.g. `datalad get`)')
    try:
        content = path.read_bytes()
        if content[:2] == b'\x1f\x8b':
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
                content = stream.read()  # to the end, where the checksum is compared
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f'{path}: damaged or truncated gzip file ({error}): fetch it again') from error
    except OSError as error:
        raise InputError(
            f'{path}: cannot be read ({error.strerror or error}): check path and rights'
        ) from error
    return content


def _parse_header(path: Path, content: bytes) -> nib.Nifti1Header:
    sizes = {int.from_bytes(content[:4], order) for order in ('little', 'big')}
    kind = next((kind for size, kind in _HEADERS.items() if size in sizes), None)
    if kind is None:
        raise InputError(f'{path}: not a NIfTI file: convert it, e.g. with dcm2niix')
    try:
        header = kind.from_fileobj(io.BytesIO(content), check=False)
    except Exception as error:  # nibabel raises many types on damaged headers
        raise InputError(f'{path}: damaged NIfTI header ({error}): convert it again') from error
    if bytes(header['magic'].tobytes())[:3] not in (b'n+1', b'n+2'):
        raise InputError(f'{path}: not a single-file NIfTI: convert it to .nii.gz')
    return header


def _layout(path: Path, header: nib.Nifti1Header) -> tuple[tuple[int, int, int], np.dtype]:
    try:
        dtype, shape = header.get_data_dtype(), header.get_data_shape()
    except Exception as error:
        raise InputError(f'{path}: unknown data type or shape in the header: convert it again') from error
    if dtype.kind not in 'iuf' or dtype.itemsize > 8:
        raise InputError(f'{path}: data type {dtype} is not that of an MR image: convert it to grey values')
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InputError(f'{path}: shape {shape} is not 3D: give one volume, e.g. the average or the first')
    x, y, z = (int(s) for s in shape)
    return (x, y, z), dtype


def _affine(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    try:
        return header.get_best_affine().astype(float)
    except Exception as error:  # e.g. a quaternion longer than 1
        raise InputError(f'{path}: the qform is damaged ({error}): repair the header') from error


def _scaling(path: Path, header: nib.Nifti1Header) -> tuple[float, float]:
    try:
        slope, inter = header.get_slope_inter()
    except Exception as error:
        raise InputError(f'{path}: scl_slope or scl_inter is not a number: repair the header') from error
    return (1.0, 0.0) if slope is None else (float(slope), float(inter or 0.0))


def _write_volume(path: Path, header: nib.Nifti1Header, raw: np.ndarray) -> None:
    header['vox_offset'] = len(header.binaryblock) + 4
    header['magic'] = b'n+1' if len(header.binaryblock) == 348 else b'n+2'
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with open(part, 'wb') as file:
            if path.suffix == '.gz':
                with gzip.GzipFile('', 'wb', GZIP_LEVEL, file, mtime=0) as stream:
                    _write_to(stream, header, raw)
            else:
                _write_to(file, header, raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or error
        raise CpmaeError(f'{path}: cannot be written ({reason}): check space and rights') from error
    finally:
        part.unlink(missing_ok=True)


def _write_to(stream, header: nib.Nifti1Header, raw: np.ndarray) -> None:
    stream.write(header.binaryblock)
    stream.write(bytes(4))  # no extensions
    stream.write(raw.tobytes(order='F'))
