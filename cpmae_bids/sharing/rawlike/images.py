"""Copies of images that keep every voxel and none of the text around them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import nibabel as nb
import numpy as np

from cpmae_bids.deid.images.nifti import GZIP_LEVEL, KEPT_FIELDS, kept_fields
from cpmae_bids.exceptions import InputError

_HEADERS = {348: nb.Nifti1Header, 540: nb.Nifti2Header}
# What a header says of the image itself. All else may carry names or dates, and starts empty.
_KEPT_FIELDS = (
    *KEPT_FIELDS,
    *('intent_code', 'intent_p1', 'intent_p2', 'intent_p3', 'slice_start', 'slice_end', 'slice_code'),
    *('slice_duration', 'toffset', 'cal_min', 'cal_max'),
)
_CHUNK = 1 << 20
_NUMERIC = b'0123456789+-.eEnaNiIfF/ \t\r\n'


def copy_image(source: Path, file: IO[bytes]) -> None:
    """Copy a NIfTI file chunk by chunk, with a header of its geometry, type, scaling and timing alone.

    Free text, extensions, whatever follows the voxels, and name and time in the gzip header stay behind.

    Parameters
    ----------
    source : Path
        Single-file NIfTI of any number of dimensions, compressed or not.
    file : binary file
        What to write to; compressed if `source` ends in ``.gz``.

    Raises
    ------
    InputError
        If the source cannot be read, is no such file, or ends before its last voxel.
    """
    compressed = source.name.endswith('.gz')
    writer: Any = gzip.GzipFile('', 'wb', GZIP_LEVEL, file, mtime=0) if compressed else file
    for chunk in _scrubbed(source):
        writer.write(chunk)
    if compressed:
        writer.close()


def is_copy(source: Path, copy: Path) -> bool:
    """Whether a file is what `copy_image` would make of another one now, apart from the compression.

    Raises
    ------
    InputError
        If the source cannot be read, or is no NIfTI file.
    """
    try:
        if copy.is_symlink() or not copy.is_file():
            return False
        with copy.open('rb') as plain:
            reader: Any = gzip.GzipFile(fileobj=plain) if copy.name.endswith('.gz') else plain
            return all(reader.read(len(chunk)) == chunk for chunk in _scrubbed(source)) and not reader.read(1)
    except (OSError, EOFError, zlib.error):
        return False


def _scrubbed(source: Path) -> Iterator[bytes]:
    """Yield a NIfTI file, uncompressed, with nothing in it that `copy_image` leaves behind."""
    try:
        with source.open('rb') as plain:
            compressed = source.name.endswith('.gz')
            reader: Any = gzip.GzipFile(fileobj=plain) if compressed else plain
            header, size = _read_header(source, reader)
            yield header
            while size:
                chunk = reader.read(min(size, _CHUNK))
                if not chunk:
                    raise InputError(f'{source.name}: truncated, {size} bytes missing; get it again')
                yield chunk
                size -= len(chunk)
            while compressed and reader.read(_CHUNK):  # to the end, where the checksum is compared
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise InputError(f'{source.name}: damaged or truncated gzip file ({err}); get it again') from err


def _read_header(source: Path, reader: IO[bytes]) -> tuple[bytes, int]:
    """Return the scrubbed header with its four bytes of "no extensions", and the size of the voxels."""
    first = reader.read(4)
    sizes = {int.from_bytes(first, order) for order in ('little', 'big')}
    kind = next((kind for size, kind in _HEADERS.items() if size in sizes), None)
    if kind is None:
        raise InputError(f'{source.name}: not a NIfTI file; convert it again')
    length = kind.sizeof_hdr
    try:
        header = kind(first + reader.read(length - 4), check=False)
        dtype, shape = header.get_data_dtype(), header.get_data_shape()
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        offset = int(header['vox_offset']) or length
    except Exception as err:  # nibabel raises many types on damaged headers
        raise InputError(f'{source.name}: damaged NIfTI header ({err}); convert it again') from err
    if bytes(header['magic'].tobytes())[:3] not in (b'n+1', b'n+2') or size <= 0 or offset < length:
        raise InputError(f'{source.name}: no single-file NIfTI with voxels; convert it again')
    _skip(source, reader, offset - length)

    scrubbed = kind(endianness=header.endianness, check=False)
    for field, value in kept_fields(header, _KEPT_FIELDS).items():
        scrubbed[field] = value
    if not header['intent_code']:  # nothing says what these are
        scrubbed['intent_p1'] = scrubbed['intent_p2'] = scrubbed['intent_p3'] = 0
    scrubbed['vox_offset'] = length + 4
    scrubbed['magic'] = b'n+1' if kind is nb.Nifti1Header else b'n+2'
    return scrubbed.binaryblock + bytes(4), size


def _skip(source: Path, reader: IO[bytes], size: int) -> None:
    while size:
        read = len(reader.read(min(size, _CHUNK)))
        if not read:
            raise InputError(f'{source.name}: truncated; get it again')
        size -= read


def copy_numbers(source: Path) -> bytes:
    """Return the content of a compressed table of numbers (``physio``, ``stim``) to be written anew.

    Raises
    ------
    InputError
        If it cannot be read, or holds anything but numbers.
    """
    try:
        content = gzip.decompress(source.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise InputError(f'{source.name}: damaged or truncated gzip file ({err}); get it again') from err
    if not is_numeric(content):
        raise InputError(f'{source.name}: holds more than numbers')
    return gzip.compress(content, GZIP_LEVEL, mtime=0)


def is_numeric(content: bytes) -> bool:
    """Whether a text holds numbers and blanks alone, ``nan``, ``inf`` and ``n/a`` among them."""
    return not content.translate(None, _NUMERIC)
