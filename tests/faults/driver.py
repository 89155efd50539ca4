"""``cpmae-bids`` as it is, but that its steps take ready-made results, and that things go wrong on demand.

FAULT_MAIN: ``fsize=BYTES`` (no file may grow larger), ``full=WORD`` (no file whose path has the word can be written),
``clock=SECONDS`` (the clock jumps back and forth by that much).
"""

import errno
import itertools
import os
import resource
import shlex
import sys
import time
from pathlib import Path

from nipype.interfaces.base import CommandLine

from cpmae_bids.cli.run import main
from cpmae_bids.interfaces.base import Step

STUB = Path(__file__).with_name('stub.py')


def init(self, **inputs):
    """Take the place of `Step.__init__`."""
    CommandLine.__init__(self, command=shlex.join([sys.executable, '-SE', str(STUB), self.step]), **inputs)


def break_things(what: str, value: str) -> None:
    """Arrange for one fault in this process."""
    if what == 'fsize':
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), int(value)))
    elif what == 'full':

        def hook(event, arguments):
            if event == 'open' and value in str(arguments[0]):
                mode, flags = arguments[1], arguments[2] or 0
                if (mode and set(mode) & set('wax')) or flags & (os.O_WRONLY | os.O_RDWR):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        sys.addaudithook(hook)
    elif what == 'clock':
        now, jumps = time.time, itertools.cycle((int(value), -int(value), 0))
        time.time = lambda: now() + next(jumps)


if __name__ == '__main__':
    Step.__init__ = init
    if os.environ.get('FAULT_MAIN'):
        break_things(*os.environ['FAULT_MAIN'].split('='))
    sys.exit(main())
