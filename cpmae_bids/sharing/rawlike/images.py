"""Copies of images that keep every voxel and none of the text around them.

They are streamed: series may exceed the memory, and nibabel holds compressed ones as a whole.
"""

import gzip
import math
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import nibabel as nib

from cpmae_bids.deid.images import nifti
from cpmae_bids.exceptions import InputError

# What a header says of the image itself. All else may carry names or dates, and starts empty.
_KEPT_FIELDS = (
    *nifti.KEPT_FIELDS,
    *('intent_code', 'intent_p1', 'intent_p2', 'intent_p3', 'slice_start', 'slice_end', 'slice_code'),
    *('slice_duration', 'toffset', 'cal_min', 'cal_max'),
)
_MAX_TOFFSET = 1e4  # a day or a birthday is larger
_CHUNK = 1 << 20
_NUMERIC = b'0123456789+-.eEnaNiIfF/ \t\r\n'
_WORD = re.compile(rb'(?<![a-z/])(?!(?:nan|inf|n/a)(?![a-z/]))[a-z/]{2,}', re.IGNORECASE)


def copy_image(source: Path, file: IO[bytes]) -> None:
    """Copy a NIfTI file chunk by chunk, with a header of its geometry, type, scaling and timing alone.

    Free text, extensions, trailing data, and name and time in the gzip header stay behind. The copy is
    compressed if `source` ends in ``.gz``. Raises InputError if the source cannot be read, is no single-file
    NIfTI, or ends before its last voxel.
    """
    compressed = source.name.endswith('.gz')
    writer: Any = gzip.GzipFile('', 'wb', nifti.GZIP_LEVEL, file, mtime=0) if compressed else file
    for chunk in _scrubbed(source):
        writer.write(chunk)
    if compressed:
        writer.close()


def is_copy(source: Path, copy: Path) -> bool:
    """Whether a file is what `copy_image` would make of another one now, apart from the compression.

    Raises InputError if the source cannot be read, or is no NIfTI file.
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
    with nifti.opened(source) as (stream, _):
        start = stream.read(nifti.LONGEST_HEADER)
        header = nifti.parse_header(source, start)
        offset, size = nifti.volume_offset(source, header), _size(source, header)
        yield _scrubbed_header(header)
        nifti.skip(stream, offset - len(start))
        chunk = start[offset : offset + size]
        while size:
            chunk = chunk or stream.read(min(size, _CHUNK))
            if not chunk:
                raise InputError(f'{source}: truncated, {size} bytes missing: fetch it again')
            yield chunk
            size, chunk = size - len(chunk), b''
        nifti.ends_soon(stream, sys.maxsize)


def _size(source: Path, header: nib.Nifti1Header) -> int:
    """Bytes of the voxels, of any number of dimensions and any type."""
    try:
        size = math.prod(map(int, header.get_data_shape())) * header.get_data_dtype().itemsize
    except Exception as err:  # nibabel raises many types on damaged headers
        raise InputError(f'{source}: damaged NIfTI header ({err}): convert it again') from err
    if size <= 0:
        raise InputError(f'{source}: an image without voxels; convert it again')
    return size


def _scrubbed_header(header: nib.Nifti1Header) -> bytes:
    """The header with its four bytes of "no extensions"."""
    scrubbed = nifti.scrubbed(header, _KEPT_FIELDS)
    if not header['intent_code']:  # nothing says what these are
        scrubbed['intent_p1'] = scrubbed['intent_p2'] = scrubbed['intent_p3'] = 0
    first, last, slices = int(scrubbed['slice_start']), int(scrubbed['slice_end']), max(scrubbed['dim'][1:4])
    if not 0 <= first <= last < slices:  # no range of slices
        scrubbed['slice_start'] = scrubbed['slice_end'] = 0
    if not abs(scrubbed['toffset']) < _MAX_TOFFSET:
        scrubbed['toffset'] = 0
    return nifti.single_file(scrubbed)


def copy_numbers(source: Path) -> bytes:
    """Return the content of a compressed table of numbers (``physio``, ``stim``).

    Raises InputError if it cannot be read, or holds anything but numbers.
    """
    try:
        content = gzip.decompress(source.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile) as err:
        raise InputError(f'{source.name}: damaged or truncated gzip file ({err}); fetch it again') from err
    if not is_numeric(content):
        raise InputError(f'{source.name}: holds more than numbers')
    return gzip.compress(content, nifti.GZIP_LEVEL, mtime=0)


def is_numeric(content: bytes) -> bool:
    """Whether a text holds numbers and blanks alone, ``nan``, ``inf`` and ``n/a`` among them."""
    return not content.translate(None, _NUMERIC) and not _WORD.search(content)
