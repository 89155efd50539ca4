"""Run one step: ``python -m cpmae_bids.steps NAME ...``."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys

import cpmae_bids.steps
from cpmae_bids.exceptions import CpmaeError
from cpmae_bids.runtime.allocation import keep_freed_memory
from cpmae_bids.runtime.lifeline import end_with_parent


def modules() -> dict[str, str]:
    """Return the modules of all steps, by what the steps are called."""
    return {
        info.name.replace('_', '-'): f'cpmae_bids.steps.{info.name}'
        for info in pkgutil.iter_modules(cpmae_bids.steps.__path__)
        if info.name not in ('__main__', 'chain')
    }


def work(argv: list[str] | None = None) -> int:
    """Run a step in a process that is there for nothing else; see `main`."""
    end_with_parent()
    keep_freed_memory()
    os.umask(0o077)  # what steps write shows the original, and batch systems set nothing up
    return main(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the step that the first argument names; its own arguments follow.

    Returns
    -------
    exit_code : int
        0, or that of the error, of which one line goes to the standard error stream.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser('python -m cpmae_bids.steps')
    parser.add_argument('step', choices=sorted(modules()))
    name = parser.parse_args(argv[:1]).step

    step = importlib.import_module(modules()[name])
    parser = argparse.ArgumentParser(f'python -m cpmae_bids.steps {name}', description=step.__doc__)
    step.add_arguments(parser)
    try:
        step.main(parser.parse_args(argv[1:]))
    except CpmaeError as error:
        print(f'cpmae-bids: {error}', file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f'cpmae-bids: {name}: {error}', file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f'cpmae-bids: {name}: out of memory ({error}): use fewer --nprocs', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(work())
