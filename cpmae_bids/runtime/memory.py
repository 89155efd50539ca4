"""Memory that a run may take: that of the machine, or of the container or job that it is in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SHARE = 0.9
"""Share of it that the steps of a run take at most; the rest is for the run itself and the system."""


def usable_gb(root: Path = Path('/')) -> float:
    """Return how much memory steps may take together, in GiB.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.

    Returns
    -------
    gib : float
        `SHARE` of the least limit of the control groups of this process, or of the machine's memory.
    """
    machine = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return SHARE * min([machine, *_limits(root)]) / 2**30


def _limits(root: Path) -> Iterator[int]:
    """Limits (bytes) of the control groups, of both versions, and of those that they are in.

    Docker and batch systems set them; a machine's total says nothing about these.
    """
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
