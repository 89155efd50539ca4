"""Temporary folders that show originals: private, removed at the end, or by the next start after a kill."""

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)
PREFIX = 'cpmae-bids-'
CRASH_FOLDER = 'crash'  # what is kept of a folder: crash files, which hold no voxels
_LOCK = '.in-use'
_OLD = 2 * 86400.0  # seconds after which a folder without a lock is nobody's
_held: dict[Path, int] = {}


def make(parent: Path | None = None) -> Path:
    """Make a folder that is this process's until it ends, however it ends; OSError if it cannot be made."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with contextlib.suppress(OSError):  # some network file systems know no locks
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held[folder] = lock
    return folder


def remove(folder: Path) -> None:
    """Remove a folder that was made here."""
    shutil.rmtree(folder, ignore_errors=True)
    if (lock := _held.pop(folder, None)) is not None:
        os.close(lock)


@contextlib.contextmanager
def made() -> Iterator[Path]:
    """Make a folder for the context."""
    folder = make()
    try:
        yield folder
    finally:
        remove(folder)


def sweep(dataset: Path | None = None) -> None:
    """Remove what killed runs of this user have left in the temporary folder, for it shows original heads.

    Nothing is touched if that folder lies in `dataset`, to which nobody may write.
    """
    if dataset is not None and Path(tempfile.gettempdir()).resolve().is_relative_to(dataset.resolve()):
        return
    for folder in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and folder not in _held:
                _sweep(folder)


def _sweep(folder: Path) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:  # of an earlier version, or of a run that begins at this moment
        if time.time() - folder.stat().st_mtime < _OLD:
            return
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its run lives
        crash = folder / CRASH_FOLDER
        kept = [crash] if crash.is_dir() and any(crash.rglob('crash-*')) else []
        stale = [path for path in folder.iterdir() if path not in kept]
        if kept and {path.name for path in stale} <= {_LOCK}:
            return
        for path in stale:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not kept:
            folder.rmdir()
        logger.info('%s: was left behind by a run that was killed, and is removed', folder)
    finally:
        os.close(lock)
