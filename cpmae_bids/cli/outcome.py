"""Exit codes and error messages of the commands."""

import sys
from collections.abc import Callable

from cpmae_bids.cli.streams import one_line
from cpmae_bids.exceptions import EXIT_FAILED, EXIT_INTERRUPTED, CpmaeError


def say(prog: str, text: str) -> None:
    """Print a line to standard error, under the name of a command."""
    print(one_line(f'{prog}: {text}'), file=sys.stderr, flush=True)


def exit_code_of(prog: str, work: Callable[[], int], interrupted: str) -> int:
    """Run `work`, and turn what it raises into an exit code; `interrupted` is said after a signal."""
    try:
        return work()
    except CpmaeError as error:
        say(prog, str(error))
        return error.exit_code
    except OSError as error:
        say(prog, str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        say(prog, interrupted)
        return EXIT_INTERRUPTED
