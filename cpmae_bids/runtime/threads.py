"""Work that the threads of a step share."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')
# Environment variable with the number of threads, which numerical libraries read as well
VARIABLE = 'OMP_NUM_THREADS'
# All variables that set the threads of a step
VARIABLES = (VARIABLE, 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS')


def environment(count: int) -> dict[str, str]:
    """Return the environment of a step with that many threads.

    Waiting threads sleep: by default they keep a processor that another process could use, which quadruples
    the time of a registration on a shared machine.
    """
    return {**dict.fromkeys(VARIABLES, str(count)), 'OMP_WAIT_POLICY': 'passive'}


def each(job: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a job to every item in threads; return the results in order. Jobs should release the GIL."""
    told = os.environ.get(VARIABLE, '')
    count = int(told) if told.isdecimal() else 1
    if count < 2:
        return [job(item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(job, items))


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Run different jobs in parallel threads; return their results in order."""
    return each(lambda job: job(), jobs)


def available_cpus() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
