"""What commands have in common: a home and a current folder, exit codes, messages."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from cpmae_bids.exceptions import EXIT_FAILED, EXIT_INTERRUPTED, CpmaeError
from cpmae_bids.runtime.memory import want_of_memory
from cpmae_bids.runtime.text import one_line

NO_HOME = '/nonexistent'


def settle_surroundings() -> None:
    """Provide a home and a current folder, once all paths of the command line are absolute.

    Libraries raise where the user is unknown to the machine and ``HOME`` is not set, or where the current
    folder was removed.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ['HOME'] = NO_HOME
    try:
        os.getcwd()
    except OSError:
        os.chdir('/')


def say(prog: str, text: str) -> None:
    """Print a line to standard error, under the name of a command."""
    print(one_line(f'{prog}: {text}'), file=sys.stderr, flush=True)


def exit_code_of(prog: str, work: Callable[[], int], interrupted: str) -> int:
    """Run `work`, and turn what it raises into an exit code; `interrupted` is said after a signal."""
    settle_surroundings()
    try:
        return work()
    except CpmaeError as error:
        say(prog, str(error))
        return error.exit_code
    except OSError as error:
        say(prog, f'{error}; check space and permissions, and run again')
        return EXIT_FAILED
    except (MemoryError, RuntimeError) as error:
        if not want_of_memory(error):
            raise
        say(prog, 'out of memory: free some, or use a machine with more')
        return EXIT_FAILED
    except KeyboardInterrupt:
        say(prog, interrupted)
        return EXIT_INTERRUPTED
