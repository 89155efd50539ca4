"""What a file is by its content: a NIfTI image under any name, a harmless text, or what could hold a face."""

import codecs
import gzip
import re
import stat
import zlib
from pathlib import Path
from typing import Any

import numpy as np

# Texts of BIDS that may hold numbers alone and be long, such as recordings of breathing
TABLES = ('.tsv', '.tsv.gz', '.bval', '.bvec')

# Texts that hold pictures or surfaces by their nature; others do only if they embed one
PICTURE_TEXTS = (
    *('.svg', '.gii', '.vtk', '.vtp', '.obj', '.ply', '.stl', '.off', '.asc', '.ipynb', '.ps', '.eps'),
    *('.nhdr', '.mhd', '.xml.gz', '.pbm', '.pgm', '.ppm', '.pnm', '.xbm', '.xpm'),
)  # fmt: skip

# Longest texts (bytes) that are taken for texts, those of numbers alone and others: volumes and surfaces (two
# thousand points) can be written in numbers, too
MAX_NUMBERS, MAX_TEXT = 1 << 15, 1 << 28
# Share of letters in a text that is more than numbers, and its longest line: base64 has long ones
MIN_LETTERS, MAX_LINE = 0.2, 10_000

# Recordings of signals, in the folders of their datatypes
RECORDINGS = (
    *('.edf', '.bdf', '.vhdr', '.vmrk', '.eeg', '.set', '.fdt', '.fif', '.snirf', '.nwb', '.con', '.sqd'),
    *('.kdf', '.meg4', '.res4', '.hc', '.infods', '.acq', '.hist', '.pos', '.mrk', '.elp', '.hsp'),
)  # fmt: skip

RECORDED = frozenset(('eeg', 'ieeg', 'meg', 'nirs', 'motion', 'emg'))  # BIDS folders of recordings

# Pictures, films and sounds that are shown or played to participants, in the folder of stimuli
MEDIA = (
    *('.png', '.jpg', '.jpeg', '.gif', '.bmp', '.webp', '.tif', '.tiff', '.svg', '.pdf'),
    *('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv'),
    *('.wav', '.mp3', '.ogg', '.flac', '.m4a', '.aac'),
)  # fmt: skip

BLOCK = 1 << 20  # bytes that are examined after an image: more than a writer's padding
NIFTI, TEXT = 'NIfTI', 'text'
_HEAD = 1 << 16
_MAGIC = {
    b'\x89PNG': 'PNG',
    b'\xff\xd8\xff': 'JPEG',
    b'GIF8': 'GIF',
    b'II*\0': 'TIFF',
    b'MM\0*': 'TIFF',
    b'%PDF': 'PDF',
    b'\x89HDF': 'HDF5',
    b'\x93NUMPY': 'NumPy',
    b'MATLAB': 'MATLAB',
    b'PK\3\4': 'zip',
    b'BZh': 'bzip2',
    b'\xfd7zXZ': 'xz',
    b'\x28\xb5\x2f\xfd': 'zstd',
    b'7z\xbc\xaf': '7z',
    b'NRRD': 'NRRD',
    b'%!PS': 'PostScript',
}
_LETTERS = b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
_UTF16 = (b'\xff\xfe', b'\xfe\xff')  # how texts begin that spreadsheets save
_CONTROL = bytes(set(range(32)) - set(b'\t\n\r\f\v\x1b'))
_BASE64 = rb'(?<![A-Za-z0-9+/])[A-Za-z0-9+/]'
# Pictures, surfaces, and base64 or hexadecimal digits, in one line or in many
_EMBEDDED = re.compile(
    rb';base64,|<(?:svg:)?svg|<gifti|image/(?:png|jpe?g|gif|webp|bmp|tiff)|facet normal|\\pict|'
    rb'\A(?:P[1-6]\s|/\* XPM|#define \w+_width )|' + _BASE64 + rb'{4096}|(?:' + _BASE64 + rb'{60,}\s+){16}',
    re.IGNORECASE,
)

_LONGEST = 1 << 13  # bytes that it takes to see any of them


def kind_of(path: Path) -> str:
    """Name what a file holds: `NIFTI`, `TEXT` (also if empty), a format, or 'data'; or raise OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, 'no regular file')
    with path.open('rb') as file:
        head = file.read(_HEAD)
    if head[:2] == b'\x1f\x8b':
        kind = _kind(_unzipped(head))
        return kind if kind in (NIFTI, TEXT) else 'gzip'
    return _kind(head)


def _unzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(head, _HEAD)
    except zlib.error:
        return b'\0'


def _kind(head: bytes) -> str:
    if head[344:347] in (b'n+1', b'ni1') or head[4:7] in (b'n+2', b'ni2'):
        return NIFTI
    if head[128:132] == b'DICM' or _is_bare_dicom(head):
        return 'DICOM'
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return TEXT if _is_text(head) else 'data'


def _is_bare_dicom(head: bytes) -> bool:
    """Whether a data set of DICOM begins at once, without preamble: group 2 or 8, and a short element."""
    for order in ('little', 'big'):
        group, element = (int.from_bytes(head[i : i + 2], order) for i in (0, 2))
        if len(head) > 8 and group in (2, 8) and element < 0x2000:
            explicit = head[4:6].isalpha() and head[4:6].isupper()
            return bool(explicit or int.from_bytes(head[4:8], order) < 256)
    return False


def _is_text(head: bytes) -> bool:
    if head[:2] in _UTF16:
        return head.count(0) >= len(head) // 3
    return len(head.translate(None, _CONTROL)) == len(head)


def is_harmless(path: Path, kind: str) -> bool:
    """Whether a file of that kind is a text that holds no picture, no surface and no volume."""
    if kind != TEXT:
        return False
    name, size = path.name.lower(), path.stat().st_size
    if name.endswith(PICTURE_TEXTS):
        return False
    may_be_long = name.endswith(TABLES) or (size > MAX_NUMBERS and _has_words(path))
    return size <= (MAX_TEXT if may_be_long else MAX_NUMBERS) and not _embeds(path)


def _has_words(path: Path) -> bool:
    with path.open('rb') as file:
        head = file.read(_HEAD)
    letters = sum(map(head.count, map(bytes, zip(_LETTERS, strict=True))))
    return letters >= MIN_LETTERS * len(head) and max(map(len, head.splitlines()), default=0) < MAX_LINE


def _embeds(path: Path) -> bool:
    """Whether a text embeds a picture, or data follow it."""
    before = b''
    try:
        with _open(path) as file:
            utf16 = codecs.getincrementaldecoder('utf-16')() if file.peek(2)[:2] in _UTF16 else None
            while chunk := file.read(1 << 20):
                text = utf16.decode(chunk).encode() if utf16 else chunk
                if not is_plain(before + text):
                    return True
                before = text[-_LONGEST:]
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError):
        return True
    return False


def is_plain(content: bytes) -> bool:
    """Whether some bytes are text without a picture within."""
    return _is_text(content) and not _EMBEDDED.search(content)


def _open(path: Path):
    with path.open('rb') as file:
        zipped = file.read(2) == b'\x1f\x8b'
    return gzip.open(path) if zipped else path.open('rb')


def is_recording(path: Path, kind: str) -> bool:
    """Whether a file is a recording of signals by its folder and name, and no image by its content."""
    return (
        kind in ('data', 'HDF5', 'MATLAB', TEXT)
        and path.name.lower().endswith(RECORDINGS)
        and not RECORDED.isdisjoint(part.partition('.')[0] for part in path.parts[-3:-1])
    )


def surplus(image: Any) -> str:
    """Say what else a NIfTI image, its data still in the file, holds that could be a picture, or nothing."""
    import nibabel as nib

    if not isinstance(image, nib.Nifti1Pair):
        return ''
    extensions = image.header.extensions
    data: Any = image.dataobj
    if not all(is_plain(extension.content.rstrip(b'\0')) for extension in extensions):
        return 'a header extension that is not text'
    with nib.openers.ImageOpener(data.file_like) as file:
        if isinstance(image, nib.Nifti1Image):  # header and image in one file
            begin = int(image.header['sizeof_hdr']) + 4 + int(extensions.get_sizeondisk())
            file.seek(begin)
            if any(file.read(max(0, data.offset - begin))):
                return 'data between its header and its image'
        file.seek(data.offset + int(np.prod(data.shape)) * data.dtype.itemsize)
        return 'data after its image' if any(file.read(BLOCK)) else ''
