"""Processes that end with the one that they work for, however that one ends."""

import contextlib
import os
import signal
import sys
from pathlib import Path

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
    elif _has_ended(parent):  # perhaps not the one that the kernel sees
        os._exit(1)


def _has_ended(process: int) -> bool:
    """Whether a process is gone, or was killed and is still listed."""
    try:
        stat = Path(f'/proc/{process}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return Path('/proc/self/stat').exists()
    except OSError:
        return False
    return stat.rpartition(')')[2].split()[0] in 'ZX'
