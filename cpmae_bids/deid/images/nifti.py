"""NIfTI files by their raw, on-disk values.

Preserved voxels keep the stored bytes of the original, so scans are read and written without scaling. nibabel
parses the header; its own reader allocates as much memory as a header claims, and leaves trailing data and
the checksum of a compressed file unread.
"""

import gzip
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import nibabel as nib
import numpy as np

from cpmae_bids.exceptions import CpmaeError, InputError
from cpmae_bids.runtime.content import command_to_fetch

# What travels from the input's header: geometry, type, scaling and units. All else may carry names or dates
# (``descrip``, ``aux_file``, ``db_name``, ``intent_name``, the unused fields of ANALYZE) and starts empty.
KEPT_FIELDS = (
    *('dim_info', 'dim', 'datatype', 'bitpix', 'pixdim', 'scl_slope', 'scl_inter', 'xyzt_units'),
    *('qform_code', 'sform_code', 'quatern_b', 'quatern_c', 'quatern_d'),
    *('qoffset_x', 'qoffset_y', 'qoffset_z', 'srow_x', 'srow_y', 'srow_z'),
)

GZIP_LEVEL = 4  # noise hardly compresses: higher levels cost seconds per scan and save a few percent

# Largest volume that is read: holds a whole head at 0.25 mm in single precision. A small compressed file can
# claim, and even hold, far more than there is memory.
MAX_BYTES = 2**31
MAX_OFFSET = 2**28  # furthest that header extensions may reach
MAX_TRAILING = 2**20  # bytes behind the volume that are ignored, as programs that pad files leave them
# Length of the quaternion of a qform up to which its excess over 1 is taken for rounding
MAX_QUATERNION = 1.001
_QUATERNION = ('quatern_b', 'quatern_c', 'quatern_d')
_DEFLATE_RATIO = 1032  # the most that deflate can make of one byte
_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
LONGEST_HEADER = max(_HEADERS)


@dataclass(frozen=True)
class Image:
    """A 3D volume as it is stored."""

    path: Path  # where it was read from
    header: nib.Nifti1Header  # the header as on disk, its byte order and scaling fields included
    raw: np.ndarray  # shape (X, Y, Z): stored values in their own data type and byte order
    affine: np.ndarray  # shape (4, 4): voxel indices to world (RAS mm); sform where it has a code, else qform
    # slope, inter: ``value = raw * slope + inter``; (1, 0) where the header asks for no scaling
    slope: float
    inter: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.raw.shape

    @property
    def voxel_sizes(self) -> np.ndarray:
        """Edges of a voxel in mm, shape (3,)."""
        return nib.affines.voxel_sizes(self.affine)

    def values(self) -> np.ndarray:
        """Scaled values as float32, shape (X, Y, Z)."""
        values = self.raw.astype(np.float32)
        if self.slope != 1:
            values *= np.float32(self.slope)
        if self.inter != 0:
            values += np.float32(self.inter)
        return values


def read(path: Path | str) -> Image:
    """Read a 3D single-file NIfTI, compressed or not.

    Raises InputError if the file is missing, unreadable, truncated, not a NIfTI, or not a 3D volume of real
    numbers.
    """
    path = Path(path)
    with opened(path) as (stream, at_most):
        start = stream.read(LONGEST_HEADER)
        header = parse_header(path, start)
        shape, dtype = _layout(path, header)
        offset, size = volume_offset(path, header), math.prod(shape) * dtype.itemsize
        if size > MAX_BYTES:
            claimed = f'{size / 2**30:.1f} GiB'
            raise InputError(
                f'{path}: claims a volume of {claimed}, more than that of any head: check the file'
            )
        content = start[offset : offset + size]
        # Memory is taken only for what the file can hold, and none for header extensions
        if offset + size <= at_most:
            skip(stream, offset - len(start))
            content += stream.read(size - len(content))
        if len(content) < size:
            raise InputError(f'{path}: truncated, {size - len(content)} bytes missing: fetch it again')
        if not ends_soon(stream):
            raise InputError(f'{path}: trailing data after the image: convert it again')
    # On disk the first axis runs fastest; resampling would turn that around each time
    raw = np.ascontiguousarray(np.frombuffer(content, dtype).reshape(shape, order='F'))
    raw.flags.writeable = False
    slope, inter = _scaling(path, header)
    return Image(path, header, raw, _affine(path, header), slope, inter)


def read_header(path: Path | str) -> Image:
    """Read what the header of a NIfTI says, as `read` does; all values are 0, and take no memory.

    Raises InputError if the file is missing, unreadable, not a NIfTI, or not a 3D volume of real numbers.
    """
    path = Path(path)
    with opened(path) as (stream, _):
        header = parse_header(path, stream.read(LONGEST_HEADER))
    shape, dtype = _layout(path, header)
    slope, inter = _scaling(path, header)
    raw = np.broadcast_to(np.zeros((), dtype), shape)
    return Image(path, header, raw, _affine(path, header), slope, inter)


def kept_fields(header: nib.Nifti1Header, fields: Iterable[str] = KEPT_FIELDS) -> dict[str, np.ndarray]:
    """Return the header fields that are copied; unused dimensions have ``dim`` and ``pixdim`` 0 or 1."""
    kept = {field: np.array(header[field]) for field in fields}
    used = max(
        (axis for axis in range(1, 8) if header['dim'][axis] > 1 and axis <= header['dim'][0]), default=3
    )
    for field in {'dim', 'pixdim'} & kept.keys():
        unused = kept[field][max(used, 3) + 1 :]
        unused[~np.isin(unused, (0, 1))] = field == 'dim'
    return kept


def scrubbed(header: nib.Nifti1Header, fields: Iterable[str] = KEPT_FIELDS) -> nib.Nifti1Header:
    """Return a header of the same kind and byte order with the `kept_fields` alone."""
    empty = type(header)(endianness=header.endianness, check=False)
    for field, value in kept_fields(header, fields).items():
        empty[field] = value
    return empty


def write(path: Path | str, raw: np.ndarray, like: Image) -> None:
    """Write raw values under the geometry, type and scaling of another scan, and nothing else of its header.

    The file (``.nii`` or ``.nii.gz``) appears under its name when it is complete. ``.gz`` is written without
    file name or time stamp, so that equal volumes give equal bytes. Raises CpmaeError if it cannot be
    written.
    """
    if raw.dtype != like.raw.dtype or raw.shape != like.shape:
        raise ValueError(f'{raw.dtype}{raw.shape} does not fit the header of {like.raw.dtype}{like.shape}')
    _write_volume(Path(path), scrubbed(like.header), raw)


def write_mask(path: Path | str, mask: np.ndarray, like: Image) -> None:
    """Write a mask (0 and 1, uint8, no scaling) on the grid of a scan; see `write`."""
    header = scrubbed(like.header.as_byteswapped('<'))
    header.set_data_dtype(np.uint8)
    header['scl_slope'], header['scl_inter'] = 1, 0
    _write_volume(Path(path), header, np.asarray(mask, dtype=bool).astype(np.uint8))


def read_mask(path: Path | str, like: Image) -> np.ndarray:
    """Read a mask that must lie on the grid of a scan; bool, shape (X, Y, Z).

    Raises InputError if it cannot be read or has another shape or affine.
    """
    mask = read(path)
    if mask.shape != like.shape or not np.allclose(mask.affine, like.affine, atol=1e-3):
        raise InputError(f'{path}: not on the grid of {like.path}: make the mask from that very scan')
    return mask.values() > 0.5


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file, compressed or not; gives also the most bytes that it can hold."""
    if path.is_symlink() and not path.exists():
        raise InputError(f'{path}: link to a file that is not there: fetch it first (e.g. `datalad get`)')
    if path.exists() and not path.is_file() and not path.is_dir():  # opening a pipe would wait for ever
        raise InputError(f'{path}: cannot be read (neither file nor folder): check path and permissions')
    try:
        with path.open('rb') as file:
            size = os.fstat(file.fileno()).st_size
            compressed = file.read(2) == b'\x1f\x8b'
            file.seek(0)
            if not compressed:
                yield file, size
                return
            with gzip.GzipFile(fileobj=file) as stream:
                yield cast(IO[bytes], stream), size * _DEFLATE_RATIO
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f'{path}: damaged or truncated gzip file ({error}): fetch it again') from error
    except OSError as error:
        raise InputError(
            f'{path}: cannot be read ({error.strerror or error}): check path and permissions'
        ) from error


def skip(stream: IO[bytes], size: int) -> None:
    """Read over that many bytes, or to the end."""
    while size > 0 and (read := len(stream.read(min(size, 2**20)))):
        size -= read


def ends_soon(stream: IO[bytes], at_most: int = MAX_TRAILING) -> bool:
    """Read on to the end of a stream, where gzip compares the checksum, or that many bytes.

    What follows a whole gzip stream and is none itself is ignored, as ``gunzip`` ignores it.
    """
    try:
        skip(stream, at_most)
        return not stream.read(1)
    except gzip.BadGzipFile as error:
        if str(error).startswith('Not a gzipped file'):
            return True
        raise


def parse_header(path: Path, content: bytes) -> nib.Nifti1Header:
    """Return the header of a single-file NIfTI from its first bytes, `LONGEST_HEADER` of them at least.

    Raises InputError if it is none.
    """
    sizes = {int.from_bytes(content[:4], order) for order in ('little', 'big')}
    kind = next((kind for size, kind in _HEADERS.items() if size in sizes), None)
    if command := command_to_fetch(content):
        raise InputError(f'{path}: a pointer to content that is not here: fetch it first by `{command}`')
    if not content:
        raise InputError(f'{path}: an empty file: fetch it again')
    if kind is None:
        raise InputError(f'{path}: not a NIfTI file: fetch it again, or convert it, e.g. with dcm2niix')
    try:
        # Extensions behind it are never read: whatever they hold stays behind
        header = kind(content[: kind.sizeof_hdr], check=False)
    except Exception as error:  # nibabel raises many types on damaged headers
        raise InputError(f'{path}: damaged NIfTI header ({error}): convert it again') from error
    if bytes(header['magic'].tobytes())[:3] not in (b'n+1', b'n+2'):
        raise InputError(f'{path}: not a single-file NIfTI: convert it to .nii.gz')
    return header


def _layout(path: Path, header: nib.Nifti1Header) -> tuple[tuple[int, int, int], np.dtype]:
    try:
        dtype, shape = header.get_data_dtype(), header.get_data_shape()
        if header['dim'][0] > 7:  # libraries take it for a header of the other byte order
            raise ValueError
    except Exception as error:
        raise InputError(f'{path}: unknown data type or shape in the header: convert it again') from error
    if dtype.kind not in 'iuf' or dtype.itemsize > 8:
        raise InputError(f'{path}: data type {dtype} is not that of an MR image: convert it to grey values')
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f'{path}: shape {shape} is not 3D: give one volume, e.g. the average or the first')
    x, y, z = (int(s) for s in shape)
    return (x, y, z), dtype


def volume_offset(path: Path, header: nib.Nifti1Header) -> int:
    """Where the volume begins; 0 in the header means right behind it, as for the library of the format."""
    offset = float(header['vox_offset'])
    if not offset.is_integer() or (offset and not len(header.binaryblock) <= offset <= MAX_OFFSET):
        raise InputError(f'{path}: vox_offset is {offset:g}, within the header or far behind it: repair it')
    return int(offset) or len(header.binaryblock)


def affine_of(header: nib.Nifti1Header) -> np.ndarray:
    """Voxel indices to world (RAS mm), shape (4, 4): sform where it has a code, else qform.

    As the standard has it, a sign of 0 in ``pixdim[0]`` is read as 1; sizes have no sign. A quaternion that
    is longer than 1 by rounding is a half turn.
    """
    header = header.copy()
    quaternion = [float(header[field]) for field in _QUATERNION]
    if 1 < (length := math.hypot(*quaternion)) < MAX_QUATERNION:
        # a hair shorter, since the fields are rounded once more
        for field, value in zip(_QUATERNION, quaternion, strict=True):
            header[field] = value / length * (1 - 1e-7)
    sign, *sizes = header['pixdim'][:4]
    header['pixdim'][:4] = -1 if sign < 0 else 1, *np.abs(sizes)
    return header.get_best_affine().astype(float)


def _affine(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    try:
        return affine_of(header)
    except Exception as error:  # e.g. a quaternion longer than 1
        raise InputError(f'{path}: the qform is damaged ({error}): repair the header') from error


def _scaling(path: Path, header: nib.Nifti1Header) -> tuple[float, float]:
    try:
        if np.isinf(header['scl_slope']) or np.isinf(header['scl_inter']):
            raise ValueError
        slope, inter = header.get_slope_inter()
    except Exception as error:
        raise InputError(f'{path}: scl_slope or scl_inter is not a number: repair the header') from error
    return (1.0, 0.0) if slope is None else (float(slope), float(inter or 0.0))


def single_file(header: nib.Nifti1Header) -> bytes:
    """What a single file begins with: a header, and that there are no extensions."""
    header['vox_offset'] = len(header.binaryblock) + 4
    header['magic'] = b'n+1' if len(header.binaryblock) == 348 else b'n+2'
    return header.binaryblock + bytes(4)


def _write_volume(path: Path, header: nib.Nifti1Header, raw: np.ndarray) -> None:
    start = single_file(header)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with open(part, 'wb') as file:
            if path.suffix == '.gz':
                with gzip.GzipFile('', 'wb', GZIP_LEVEL, file, mtime=0) as stream:
                    stream.writelines((start, raw.tobytes(order='F')))
            else:
                file.writelines((start, raw.tobytes(order='F')))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or error
        place = path.absolute()
        raise CpmaeError(f'{place}: cannot be written ({reason}): check space and permissions') from error
    finally:
        part.unlink(missing_ok=True)
