"""Files that stand for content which is stored elsewhere."""

from __future__ import annotations

_LFS, _ANNEX = b'version https://git-lfs', b'annex/objects/'


def command_to_fetch(start: bytes) -> str:
    """Command that fetches the content for which a pointer of git-annex or git-lfs stands.

    Parameters
    ----------
    start : bytes
        First 200 bytes of a file, or more.

    Returns
    -------
    command : str
        Empty if the file is no such pointer.
    """
    if start.startswith(_LFS):
        return 'git lfs pull'
    # An unlocked file of git-annex, or the text of a link where the file system knows none
    return 'datalad get' if start[:1] in (b'/', b'.') and _ANNEX in start[:200] else ''
