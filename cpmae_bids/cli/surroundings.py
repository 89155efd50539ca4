"""Give the process a home and a current folder, which containers and schedulers do not always do."""

import os
from pathlib import Path

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
