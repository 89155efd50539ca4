"""How the C library of a step deals with memory."""

import contextlib
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # mallopt(3)
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let a short-lived process keep what it frees; with the GNU C library only.

    By default every volume (64 MiB at 1 mm) is mapped anew, and the kernel clears it page by page, which
    takes a third of the time of decoding.
    """
    if sys.platform != 'linux':
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # a C library of another kind
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_ARENA_MAX, 1)  # threads use what others freed
