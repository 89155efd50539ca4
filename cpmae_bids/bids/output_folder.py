"""The one place where files of an output are created, renamed and removed: below a folder, not in the input.

Outputs, raw-like datasets, private reports and the tool's own files in a work directory go through
`OutputFolder`. It opens a path folder by folder and checks what was opened rather than its name, so that a
link put in the way between check and change has no effect.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from cpmae_bids.exceptions import InputError

# To open a folder takes the right to enter it, as a path through it would, and not the right to list it.
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, 'O_PATH', os.O_RDONLY)
_TEMPORARY = '.tmp'
NAME_MAX = 255  # bytes of the longest name of a file
_untouchable: list[Path] = []


class OutsideError(InputError):
    """A path that leads out of the folder that it is to lie in, or into the input."""


@contextlib.contextmanager
def never_written_to(folder: Path) -> Iterator[None]:
    """Keep every `OutputFolder` out of a folder, the input of a run, within the context."""
    _untouchable.append(folder)
    try:
        yield
    finally:
        _untouchable.remove(folder)


def temporary_beside(path: Path) -> Path:
    """Return a fresh hidden name in the folder of `path`, which is therefore on the same file system."""
    return path.with_name(f'{_prefix(path.name)}{secrets.token_hex(4)}{_TEMPORARY}')


def _prefix(name: str) -> str:
    """How temporary names of a file begin; short enough for what follows."""
    encoded, room = os.fsencode(name), NAME_MAX - len('..01234567') - len(_TEMPORARY)
    if len(encoded) > room:
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        name = os.fsdecode(encoded[: room - len(digest)]) + digest
    return f'.{name}.'


def is_temporary(path: Path) -> bool:
    """Whether a file has such a name: another run writes it, or a killed one has left it."""
    return path.name.startswith('.') and path.name.endswith(_TEMPORARY)


class OutputFolder:
    """A folder below which files are changed.

    A path is a `str` relative to it, or a `Path` that begins with it. A folder on the way may be a link to
    another folder below the root. The last part is never followed: a link there is removed or replaced. The
    root may be a link, and need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def make(self, path: str | Path = '', mode: int = 0o777) -> None:
        """Make missing folders of a path.

        Raises OutsideError if it would lie in the input, or not below the root.
        """
        if not self.root.is_dir():
            first = next(folder for folder in self.root.absolute().parents if folder.is_dir())
            with _opened(first) as descriptor:
                _reject_input(descriptor, self.root)
            self.root.mkdir(mode, parents=True, exist_ok=True)
        with self._entered(self._parts(path), make=mode):
            pass

    def check(self, path: str | Path = '') -> None:
        """Raise `OutsideError` if a folder, or what of it exists, lies elsewhere."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._entered(self._parts(path)):
            pass

    def write(
        self, path: str | Path, content: str | bytes, mode: int = 0o666, *, replace: bool = True
    ) -> None:
        """Write a file so that a reader sees the old content or the new one, and never a part.

        With `replace` False, a file that is there already is left as it is.
        """
        temporary = self.stage(path, content, mode)
        try:
            self.move(temporary, path, replace=replace)
        finally:
            self.remove(temporary)

    def stage(
        self, path: str | Path, content: str | bytes | Callable[[IO[bytes]], object], mode: int = 0o666
    ) -> Path:
        """Write a new file to the disk under a temporary name beside `path`, and return that name.

        `content` is a text, bytes, or a function that writes into an opened file. If anything is raised,
        there is no such file.
        """
        parts = self._parts(path)
        temporary = temporary_beside(self.root.joinpath(*parts))
        with self._entered(parts[:-1], make=0o777) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with open(os.open(temporary.name, flags, mode, dir_fd=folder), 'wb') as file:
                    if callable(content):
                        content(file)
                    else:
                        file.write(content.encode() if isinstance(content, str) else content)
                    file.flush()
                    os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary.name, dir_fd=folder)
                raise
        return temporary

    def move(self, source: str | Path, target: str | Path, *, replace: bool = True) -> None:
        """Give a file another name in its folder; an existing one is replaced, or left in its place."""
        *folder, name = self._parts(target)
        *same, old = self._parts(source)
        if folder != same:
            raise ValueError(f'{source} and {target} are not in one folder')
        with self._entered(folder) as descriptor:
            if not replace:
                with contextlib.suppress(
                    OSError
                ):  # where the name is taken, or on systems without hard links
                    os.link(old, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
                with contextlib.suppress(FileNotFoundError):
                    os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    return
            os.replace(old, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)

    def remove(self, path: str | Path) -> None:
        """Remove a file or a link, if it is there."""
        *folder, name = self._parts(path)
        if len(os.fsencode(name)) > NAME_MAX:
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._entered(folder) as descriptor:
            os.unlink(name, dir_fd=descriptor)

    def remove_temporaries(self, path: str | Path) -> None:
        """Remove what a killed run has left of a file under temporary names."""
        *folder, name = self._parts(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._entered(folder) as descriptor:
            listed = os.open('.', os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                for leftover in os.listdir(listed):
                    if leftover.startswith(_prefix(name)) and leftover.endswith(_TEMPORARY):
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(leftover, dir_fd=descriptor)
            finally:
                os.close(listed)

    def remove_if_empty(self, path: str | Path) -> None:
        """Remove a folder that holds nothing, if it can be; a link is none."""
        *folder, name = self._parts(path)
        with contextlib.suppress(OSError, OutsideError), self._entered(folder) as descriptor:
            os.rmdir(name, dir_fd=descriptor)

    def open_lock(self, path: str | Path) -> IO[bytes]:
        """Open a file to lock it; it holds nothing, and is made if it is not there. A link is replaced."""
        *folder, name = self._parts(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._entered(folder, make=0o777) as descriptor:
            try:
                opened = os.open(name, flags, 0o666, dir_fd=descriptor)
            except PermissionError:  # another user's
                opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            except OSError as err:
                if err.errno != errno.ELOOP:
                    raise
                with contextlib.suppress(FileNotFoundError):  # another run was quicker
                    os.unlink(name, dir_fd=descriptor)
                opened = os.open(name, flags, 0o666, dir_fd=descriptor)
        return open(opened, 'rb')

    def _parts(self, path: str | Path) -> list[str]:
        """Names of the folders down to a path, and its own."""
        relative = PurePosixPath(path)
        if isinstance(path, Path):
            if not path.is_relative_to(self.root):
                raise OutsideError(f'{path}: lies outside of {self.root}; nothing is written there')
            relative = PurePosixPath(path.relative_to(self.root))
        if relative.is_absolute() or '..' in relative.parts:
            raise OutsideError(f'{path}: lies outside of {self.root}; nothing is written there')
        return list(relative.parts)

    @contextlib.contextmanager
    def _entered(self, parts: list[str], make: int | None = None) -> Iterator[int]:
        """Open a folder below the root, made with that mode if it is missing, for use as a ``dir_fd``."""
        if make is not None and not self.root.is_dir():
            self.make(mode=make)
        with contextlib.ExitStack() as stack:
            folder, path = stack.enter_context(_opened(self.root)), self.root
            root = _identity(folder)
            for part in parts:
                path /= part
                folder = stack.enter_context(_entered(part, folder, path, root, make))
            _reject_input(folder, path)
            yield folder


@contextlib.contextmanager
def _opened(path: str | Path, flags: int = 0, dir_fd: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER | flags, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _entered(name: str, folder: int, path: Path, root: tuple[int, int], make: int | None) -> Iterator[int]:
    """Open a folder in an opened one. Through a link only if that leads to another place below the root."""
    with contextlib.ExitStack() as stack:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            if make is None:
                raise
            _reject_input(folder, path)
            with contextlib.suppress(FileExistsError):  # of a run beside this one
                os.mkdir(name, make, dir_fd=folder)
            found = None
        if found is None or not stat.S_ISLNK(found.st_mode):
            yield stack.enter_context(_opened(name, os.O_NOFOLLOW, folder))
            return
        try:
            entered = stack.enter_context(_opened(name, 0, folder))
        except OSError as err:
            raise OutsideError(f'{path}: is a link to no folder ({err.strerror}); remove the link') from err
        _reject_input(entered, path)
        if root not in _lineage(entered):
            raise OutsideError(f'{path}: is a link out of the output; remove the link')
        yield entered


def _reject_input(folder: int, path: Path) -> None:
    lineage = _lineage(folder)
    for untouchable in _untouchable:
        with contextlib.suppress(OSError):
            if _identity(untouchable) in lineage:
                raise OutsideError(
                    f'{path}: is a link into the input, which is never written to; remove the link'
                )


def _lineage(folder: int) -> list[tuple[int, int]]:
    """What an opened folder is, and what it lies in, up to the root of the file system."""
    found: list[tuple[int, int]] = []
    step = '.'
    with contextlib.suppress(OSError):  # above what this user may enter
        while (identity := _identity(step, folder)) not in found:
            found.append(identity)
            step = f'{step}/..'
    return found


def _identity(path: int | str | Path, dir_fd: int | None = None) -> tuple[int, int]:
    status = os.stat(path, dir_fd=dir_fd)
    return status.st_dev, status.st_ino
