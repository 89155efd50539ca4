"""Run one step: ``python -m cpmae_bids.steps NAME inputs.json``."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from cpmae_bids.exceptions import CpmaeError
from cpmae_bids.runtime.allocation import keep_freed_memory
from cpmae_bids.runtime.lifeline import end_with_parent
from cpmae_bids.runtime.memory import want_of_memory
from cpmae_bids.steps import ERROR_PREFIX


def work(argv: list[str] | None = None) -> int:
    """Run a step in a process that is there for nothing else; see `main`."""
    end_with_parent()
    keep_freed_memory()
    os.umask(0o077)  # what steps write shows the original, and batch systems set nothing up
    return main(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the step that the first argument names, with the inputs of a JSON file; return the exit code."""
    parser = argparse.ArgumentParser('python -m cpmae_bids.steps', description=__doc__)
    parser.add_argument('step', help='name of a module of cpmae_bids.steps')
    parser.add_argument('inputs', type=Path, help='JSON: values of the parameters of its function')
    args = parser.parse_args(argv)
    try:
        function = getattr(importlib.import_module(f'cpmae_bids.steps.{args.step}'), args.step)
    except (ImportError, AttributeError) as error:
        parser.error(f'{args.step}: no such step ({error})')
    try:
        call(function, json.loads(args.inputs.read_text(encoding='utf-8')))
    except CpmaeError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:  # a full disk names no file: it is one of those that the step writes
        place, reason = error.filename or Path.cwd(), error.strerror or error
        return _failed(f'{place}: cannot be read or written ({reason}): check space and permissions')
    except (MemoryError, RuntimeError) as error:
        if not want_of_memory(error):
            raise
        remedy = '--n-gpu-procs, or --device cpu' if 'CUDA' in str(error) else '--nprocs'
        return _failed(f'out of memory: use fewer {remedy}')
    return 0


def call(function: Callable, inputs: Mapping[str, Any]) -> None:
    """Call a step with values from JSON: strings become paths where its signature says so."""
    hints = get_type_hints(function)
    paths = {name for name, hint in hints.items() if Path in (hint, *get_args(hint))}
    function(**{
        name: Path(value) if name in paths and value is not None else value for name, value in inputs.items()
    })  # fmt: skip


def _failed(message: str, exit_code: int = 1) -> int:
    print(f'{ERROR_PREFIX}{message}', file=sys.stderr)
    return exit_code


if __name__ == '__main__':
    sys.exit(work())
