"""Memory that a run may take: that of the machine, or of the container or job that it is in."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SHARE = 0.9  # share of it that the steps of a run take at most; the rest is for the run itself and the system


def want_of_memory(error: Exception) -> bool:
    """Whether an error says that there was too little memory, of the machine or of a GPU."""
    told = ("can't allocate memory", 'out of memory')  # torch raises its own
    return isinstance(error, MemoryError) or any(words in str(error) for words in told)


def usable_gb(root: Path = Path('/')) -> float:
    """Return the memory (GiB) that steps may use together: `SHARE` of the least limit of cgroups and machine.

    `root` is where ``proc`` and ``sys`` are.
    """
    machine = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return SHARE * min([machine, *_limits(root)]) / 2**30


def _limits(root: Path) -> Iterator[int]:
    """Yield the limits (bytes) of this process's control groups, of both versions, and those above."""
    groups = root / 'sys/fs/cgroup'
    with contextlib.suppress(OSError):
        for line in (root / 'proc/self/cgroup').read_text('utf-8').splitlines():
            _, controllers, path = line.split(':', 2)
            if not controllers:
                base, name = groups, 'memory.max'
            elif 'memory' in controllers.split(','):
                base, name = groups / 'memory', 'memory.limit_in_bytes'
            else:
                continue
            own = PurePosixPath('/', path).relative_to('/')
            for group in (own, *own.parents):
                with contextlib.suppress(OSError, ValueError):  # 'max': no limit
                    yield int((base / group / name).read_text('utf-8'))
