"""Work on several images at a time."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator

from cpmae_bids.exceptions import CpmaeError
from cpmae_bids.runtime.lifeline import end_with_parent

# What Python raises where processes cannot wait for each other: /dev/shm is missing, full or read-only
NO_SEMAPHORES = (OSError, ImportError, NotImplementedError)


@contextlib.contextmanager
def workers(nprocs: int) -> Iterator[Callable[..., Iterable]]:
    """Give a function as `map` that works in `nprocs` processes, or in this one if that is 1.

    Raises CpmaeError if the system ended a process.
    """
    if nprocs == 1:
        yield map
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    try:
        pool = ProcessPoolExecutor(nprocs, initializer=_begin, initargs=(os.getpid(),))
    except NO_SEMAPHORES:
        yield map
        return
    try:
        yield pool.map
    except BrokenProcessPool as err:
        raise CpmaeError(
            'a process was ended by the system, perhaps out of memory: use fewer --nprocs'
        ) from err
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(parent: int) -> None:
    """Have a worker end with its parent, and by a signal at once, without the traceback of an interrupt."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
