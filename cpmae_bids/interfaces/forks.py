"""Steps in forks of a process that has loaded their libraries: once for a run, instead of once for a step."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

LIBRARIES = (
    'torch',
    'deepbet.bet',
    'scipy.ndimage',
    'scipy.stats',
    'cpmae_bids.models.drawing',
    'cpmae_bids.models.sampling',
    'cpmae_bids.models.weights',
)
"""What steps load when they work; what they load at once comes with them."""

_loaded = False


def are_possible() -> bool:
    """Tell whether this process, or one that it is a fork of, has the libraries."""
    return _loaded


@contextlib.contextmanager
def libraries_loaded(environment: Mapping[str, str]) -> Iterator[None]:
    """Load what steps need; those of workers that are forked meanwhile begin at once.

    If that fails, each step finds out by itself, and says so.

    Parameters
    ----------
    environment : mapping of str to str
        Set meanwhile: numerical libraries heed it when they are loaded.
    """
    global _loaded
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        try:
            _load()
            _loaded = True
        except Exception:
            logger.debug('libraries could not be loaded', exc_info=True)
        yield
    finally:
        _loaded = False
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _load() -> None:
    from cpmae_bids.steps import __main__ as steps
    from cpmae_bids.steps.register import import_ants

    for module in (*LIBRARIES, *steps.modules().values()):
        importlib.import_module(module)
    import_ants()
    gc.freeze()  # or nipype has all of it looked through before each step, and forks copy it


def run(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
    """Run a step in a fork of this process, and wait for its end.

    Parameters
    ----------
    arguments : sequence of str
        Name of the step, and its arguments.
    environment : mapping of str to str
        What to change in the environment.
    folder : Path
        Where it runs.

    Returns
    -------
    returncode : int
        Negative for the signal that ended it.
    stdout, stderr : str
        What it wrote to its standard streams.
    """
    streams = folder / 'stdout.nipype', folder / 'stderr.nipype'  # as nipype calls them
    process = multiprocessing.get_context('fork').Process(
        target=_work, args=(list(arguments), dict(environment), folder, streams)
    )
    process.start()
    process.join()
    returncode = 1 if process.exitcode is None else process.exitcode
    process.close()
    stdout, stderr = (path.read_text(errors='replace') if path.exists() else '' for path in streams)
    return returncode, stdout, stderr


def _work(
    arguments: list[str], environment: dict[str, str], folder: Path, streams: tuple[Path, Path]
) -> None:
    """Be a step, as one that was started anew would be."""
    sys.stdout, sys.stderr = (path.open('w', errors='backslashreplace') for path in streams)
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stderr.fileno(), 2)
    logging.getLogger('cpmae_bids').handlers.clear()  # those of the run; a step has its one line
    with contextlib.suppress(OSError):  # what `top` calls it
        Path('/proc/self/comm').write_text(arguments[0])
    os.chdir(folder)
    os.environ.update(environment)

    import torch

    from cpmae_bids.steps.__main__ import work

    torch.set_num_threads(int(environment['OMP_NUM_THREADS']))
    sys.exit(work(arguments))
