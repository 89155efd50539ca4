"""Files that are there whole or not at all, even when the disk fills or the power fails."""

import contextlib
import fcntl
import hashlib
import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20
_TEMPORARY = '.tmp'


def temporary_beside(path: Path) -> Path:
    """Return a fresh hidden name in the folder of `path`, which is therefore on the same file system."""
    return path.with_name(f'.{path.name}.{secrets.token_hex(4)}{_TEMPORARY}')


def is_temporary(path: Path) -> bool:
    """Whether a file has such a name: another run writes it, or a killed one has left it."""
    return path.name.startswith('.') and path.name.endswith(_TEMPORARY)


def remove_temporaries(path: Path) -> None:
    """Remove what a killed run has left of `path` under temporary names."""
    if path.parent.is_dir():
        for leftover in path.parent.iterdir():
            if leftover.name.startswith(f'.{path.name}.') and leftover.name.endswith(_TEMPORARY):
                leftover.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def crc32_of(path: Path) -> str:
    """Return the CRC-32 of a file's content, in hexadecimal."""
    value = 0
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return f'{value:08x}'


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems refuse to sync folders; there is nothing more to be done there.
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of what is done in the context, by a lock that ends with the process.

    Parameters
    ----------
    folder : Path
        Holds the file of the lock; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.lock').open('a') as file:
        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new one, and never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        temporary.write_text(text, 'utf-8')
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
