"""Hashes, locks and complete writes: a file is there whole or not at all."""

import contextlib
import fcntl
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cpmae_bids.bids.output_folder import OutputFolder

_CHUNK = 1 << 20


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


def sync(folder: Path) -> None:
    """Force the entries of a folder to the disk; some network file systems refuse, and are left alone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(root: Path, folder: str = '') -> Iterator[None]:
    """Keep other runs out of the context by a lock in a folder of the output, which ends with the process.

    filelock would open the file by its path, through links, and fail on file systems without locks.
    """
    with OutputFolder(root).open_lock(f'{folder}/.lock' if folder else '.lock') as file:
        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


@contextlib.contextmanager
def locked_subject(root: Path, subject: str) -> Iterator[None]:
    """Keep other runs over a subject out of the context, without a file for each in the output."""
    with OutputFolder(root).open_lock('logs/.subjects') as file:
        with contextlib.suppress(OSError):  # as above
            lock_byte(file, subject)
        yield


def lock_byte(file: IO[bytes], name: str, flags: int = 0) -> None:
    """Lock the byte of a file that a name stands for, until this process closes the file; wait by default."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], 'big')
    fcntl.lockf(file, fcntl.LOCK_EX | flags, 1, place)


def write_text(path: Path, text: str) -> None:
    """Write a text file that the user has named, whole or not at all; outputs go through `OutputFolder`."""
    OutputFolder(path.parent).write(path.name, text)
