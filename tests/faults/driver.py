"""``cpmae-bids`` in a process of its own, with steps that take ready-made results, and faults on demand.

The process is a fork of the tests', which have the libraries already: a run begins at once.

FAULT_MAIN: ``fsize=BYTES`` (no file may grow larger), ``full=WORD`` (no file whose path has the word can be
written), ``clock=SECONDS`` (the clock jumps back and forth by that much).
"""

import errno
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bids.layout  # noqa: F401 - as much as possible before the fork
import stub
import torch  # noqa: F401
from nipype.utils import profiler  # noqa: F401

from cpmae_bids.cli import group_level  # noqa: F401
from cpmae_bids.cli.run import main
from cpmae_bids.interfaces import process
from cpmae_bids.steps import __main__ as steps
from cpmae_bids.workflows import base, processes  # noqa: F401


class Fork:
    """What `subprocess.Popen` offers, for a forked process."""

    def __init__(self, pid: int):
        self.pid, self.returncode = pid, None

    def poll(self):
        """Exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 1e9):
        """Wait for the end."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired('fork', timeout)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if there still is somebody to take it."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it outright."""
        self.send_signal(9)


def start(arguments: list[str], environment: dict[str, str], log: Path, folder: Path) -> Fork:
    """Run the command with changes to its environment; both its streams go to a file."""
    pid = os.fork()
    if pid:
        return Fork(pid)
    code = 99
    try:
        os.setsid()
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(stream, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = (os.fdopen(n, 'w', 1, errors='backslashreplace') for n in (1, 2))
        os.chdir(folder)
        os.environ.update(environment)
        tempfile.tempdir = None
        process._load = lambda: None  # steps that need no libraries
        steps.work = stub.main
        base.POLL_SECONDS = 0.02
        if environment.get('FAULT_MAIN'):
            _break(*environment['FAULT_MAIN'].split('='))
        code = main(arguments)
        _end_like_python()
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc(file=sys.stderr)
        code = 98
    finally:
        os._exit(code)


def _end_like_python() -> None:
    import atexit
    import threading

    threading._shutdown()  # waits for pools, as the interpreter does
    atexit._run_exitfuncs()


def _break(what: str, value: str) -> None:
    """Arrange for one fault in this process."""
    if what == 'fsize':
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), int(value)))
    elif what == 'full':

        def hook(event, arguments):
            if event == 'open' and value in str(arguments[0]):
                mode, flags = arguments[1], arguments[2] or 0
                if (mode and set(str(mode)) & set('wax')) or flags & (os.O_WRONLY | os.O_RDWR):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

        sys.addaudithook(hook)
        opened = os.open

        def open_below(path, flags, mode=0o777, *, dir_fd=None):
            """What is opened relative to a folder has a path as well, which no audit event tells."""
            folder = '' if dir_fd is None else os.readlink(f'/proc/self/fd/{dir_fd}')
            if dir_fd is not None and flags & (os.O_WRONLY | os.O_RDWR):
                hook('open', (os.path.join(folder, path), None, flags))
            return opened(path, flags, mode, dir_fd=dir_fd)

        os.open = open_below
    elif what == 'clock':
        now, jumps = time.time, itertools.cycle((int(value), -int(value), 0))
        time.time = lambda: now() + next(jumps)
