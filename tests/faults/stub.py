"""A step that takes a ready-made result, or goes wrong.

FAULT_STEPS: ``STEP=WHAT``, where WHAT is ``sleep`` (for ever), ``kill`` (by itself), ``half`` (of its
results, then killed), ``full``, ``memory``, ``garbage``, ``nothing``, ``remove:PATH`` or ``swap:PATH`` (a
file that is written to). ``STEP@TEXT=WHAT`` is about steps on files with that text in their paths.
"""

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import stand_in

from cpmae_bids import __version__
from cpmae_bids.interfaces.step import specifications
from cpmae_bids.runtime.lifeline import end_with_parent


def content_of(name: str) -> bytes:
    """Ready-made result."""
    path = Path(os.environ['FAULT_RESULTS'], name)
    return path.read_bytes() if path.exists() else f'{name}\n'.encode()


def verdict(options: dict) -> bytes:
    """A verdict that passes, on the files that are there."""
    settings = {name: options[name] for name in ('scan', 'model_hash', 'preset', 'seed', 'steps')}
    files = {name: Path(options[name]) for name in ('t1w', 'refaced', 'deface_mask', 'kept_mask')}
    return json.dumps(stand_in.verdict(**files, **settings, version=__version__, noise={})).encode()


def main(argv: list[str]) -> int:
    """Write the results of a step, in place of `cpmae_bids.steps.__main__.work`."""
    end_with_parent()
    step, inputs = argv
    options = json.loads(Path(inputs).read_text())
    function = getattr(importlib.import_module(f'cpmae_bids.steps.{step}'), step)
    outputs = specifications(function)[1]().copyable_trait_names()
    files = {options[name]: verdict(options) if step == 'verdict' else content_of(name) for name in outputs}
    where, _, what = os.environ['FAULT_STEPS'].partition('=')
    where, _, text = where.partition('@')
    flag = Path(os.environ['FAULT_FLAGS'], step)
    if where in (step, 'any') and what and text in str(options):
        part = flag.with_suffix('.part')
        part.write_text(str(os.getpid()))
        part.replace(flag)
        if what == 'sleep':
            time.sleep(10000)
        elif what == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == 'half':
            for path, content in files.items():
                Path(path).write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == 'full':
            print(f'cpmae-bids: {step}: [Errno 28] No space left on device', file=sys.stderr)
            return 1
        elif what == 'memory':
            resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
            bytearray(2**31)
        elif what == 'garbage':
            files = dict.fromkeys(files, b'garbage')
        elif what == 'nothing':
            return 0
        elif what.startswith('remove:'):
            path = Path(what.removeprefix('remove:'))
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        elif what.startswith('swap:'):
            path = Path(what.removeprefix('swap:'))
            path.write_bytes(path.read_bytes() + b'\0')
    for path, content in files.items():
        Path(path).write_bytes(content)
    return 0
