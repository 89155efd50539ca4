"""Processes of steps: forks of one that has loaded their libraries, once for a run, or new ones.

Forks of a process that has used a GPU cannot use it, and a cluster starts each node by itself.
"""

import contextlib
import gc
import importlib
import logging
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from cpmae_bids.runtime.lifeline import end_with_parent

logger = logging.getLogger(__name__)

# What steps load when they work; what they load at once comes with them
LIBRARIES = (
    'torch',
    'deepbet.bet',
    'scipy.ndimage',
    'scipy.stats',
    'cpmae_bids.models.drawing',
    'cpmae_bids.models.sampling',
    'cpmae_bids.models.weights',
)

_loaded = False
Streams = tuple[TextIO, TextIO]  # standard output and standard error


@contextlib.contextmanager
def libraries_loaded(environment: Mapping[str, str]) -> Iterator[None]:
    """Load what steps need, so that workers forked meanwhile begin at once; a step says if that failed.

    `environment` is set meanwhile: numerical libraries read it when they are loaded. ``OMP_NUM_THREADS`` also
    applies to those that were loaded before.
    """
    global _loaded
    from threadpoolctl import threadpool_limits

    before = dict(os.environ)
    # Forks cannot use a GPU that their parent has used, and these need none
    os.environ.update({**environment, 'CUDA_VISIBLE_DEVICES': '', 'HIP_VISIBLE_DEVICES': ''})
    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                _load()
            _loaded = True
        except Exception:
            logger.debug('libraries could not be loaded', exc_info=True)
        with threadpool_limits(int(environment['OMP_NUM_THREADS'])):
            yield
    finally:
        _loaded = False
        os.environ.clear()
        os.environ.update(before)


def _load() -> None:
    import cpmae_bids.steps
    from cpmae_bids.steps.register import import_ants

    steps = [info.name for info in pkgutil.iter_modules(cpmae_bids.steps.__path__, 'cpmae_bids.steps.')]
    for module in (*LIBRARIES, *steps):
        importlib.import_module(module)
    import_ants()
    gc.freeze()  # or nipype has all of it looked through before each step, and forks copy it


def run(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
    """Run a step in another process, a fork of this one if that has the libraries, and wait for its end.

    `arguments` are those of ``python -m cpmae_bids.steps``, `environment` is what to change in the
    environment, and `folder` where it runs. Returns the exit code, negative for the signal that ended it, and
    what it printed and said of errors.
    """
    paths = folder / 'stdout.nipype', folder / 'stderr.nipype'  # as nipype calls them
    opened = [path.open('w+', buffering=1, errors='backslashreplace') for path in paths]
    with opened[0] as stdout, opened[1] as stderr:
        work = _fork if _loaded else _anew
        returncode = work(arguments, environment, folder, (stdout, stderr))
        for stream in opened:
            stream.seek(0)
        return returncode, stdout.read(), stderr.read()


def _anew(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, streams: Streams) -> int:
    command = [sys.executable, '-m', 'cpmae_bids.steps', *arguments]
    changed, (stdout, stderr) = {**os.environ, **environment}, streams
    return subprocess.run(
        command, cwd=folder, env=changed, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False
    ).returncode


def _fork(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, streams: Streams) -> int:
    passed = list(arguments), dict(environment), folder, streams
    process = multiprocessing.get_context('fork').Process(target=_work, args=passed)
    process.start()
    process.join()
    returncode = 1 if process.exitcode is None else process.exitcode
    process.close()
    return returncode


def _work(arguments: list[str], environment: dict[str, str], folder: Path, streams: Streams) -> None:
    """Run a step as a fresh process would."""
    os.environ.update(environment)
    end_with_parent()
    sys.stdout, sys.stderr = streams
    for number, stream in enumerate(streams, 1):
        os.dup2(stream.fileno(), number)
    logging.getLogger('cpmae_bids').handlers.clear()  # those of the run; a step has its one line
    with contextlib.suppress(OSError):  # what `top` calls it
        Path('/proc/self/comm').write_text(arguments[0])
    os.chdir(folder)

    import torch

    from cpmae_bids.steps.__main__ import work

    torch.set_num_threads(int(environment['OMP_NUM_THREADS']))
    sys.exit(work(arguments))
