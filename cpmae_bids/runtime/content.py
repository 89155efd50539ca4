"""Whether the content of a file is here, or what stands in its place."""

from pathlib import Path

_LFS, _ANNEX = b'version https://git-lfs', b'annex/objects/'


def command_to_fetch(start: bytes) -> str:
    """Return the command that fetches the content of a git-annex or git-lfs pointer, or nothing.

    `start` are the first 200 bytes of the file, or more.
    """
    if start.startswith(_LFS):
        return 'git lfs pull'
    # An unlocked file of git-annex, or the text of a link where the file system knows none
    return 'datalad get' if start[:1] in (b'/', b'.') and _ANNEX in start[:200] else ''


def is_elsewhere(path: Path) -> bool:
    """Whether git-annex or git-lfs has not fetched the content of a file yet."""
    try:
        with path.open('rb') as file:
            return bool(command_to_fetch(file.read(200)))
    except OSError:
        return path.is_symlink() and not path.exists()


def unreadable(path: Path) -> str:
    """Say why a file's content cannot be read, or nothing."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        return 'this is not a file; check what it is'
    try:
        with path.open('rb') as file:
            start = file.read(200)
        if command := command_to_fetch(start):
            return f'a pointer to content that is not here; get it by "{command}"'
        return '' if start else 'the file is empty; fetch it again'
    except FileNotFoundError:
        if not path.is_symlink():
            return 'there is no such file; check its path'
        return 'a link to content that is not here; get it, for example by "datalad get"'
    except OSError as err:
        return f'the file cannot be read ({err.strerror}); check its permissions'
