"""Processes that end with the one that they work for, however that one ends."""

import contextlib
import os
import signal
import sys

VARIABLE = 'CPMAE_BIDS_WORKS_FOR'  # environment variable with the number of the process that started a step
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent (by default `VARIABLE`) is gone; on Linux only.

    A killed run would otherwise leave workers and steps that hold original voxels, and go on writing.
    """
    if sys.platform != 'linux':
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # a C library of another kind
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    # It may have ended before the kernel was asked
    if parent is None:
        parent = int(os.environ.get(VARIABLE) or 0)
        if parent and os.getppid() != parent:
            os._exit(1)
    else:  # perhaps not the one that the kernel sees
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(1)
        except OSError:
            return
