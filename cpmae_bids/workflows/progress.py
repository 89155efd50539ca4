"""One line per scan and stage while a workflow runs."""

import re
import sys
import time
from collections.abc import Callable
from typing import TextIO

from cpmae_bids.runtime.text import one_line

CLEAR_LINE = '\r\x1b[K'


def node_name(name: str) -> str:
    """Return a name with the codes of characters that nipype rejects in names of workflows and nodes.

    ``a+b`` becomes ``a-2b-b``. What looks like a code gets one too, so that no two names become one.
    """
    return re.sub(r'[^\w-]|-(?=[0-9a-f]+[^\w])', lambda match: f'-{ord(match[0]):x}-', name)


def _as_given(name: str) -> str:
    """Inverse of `node_name`."""
    return re.sub(r'-([0-9a-f]+)-', lambda match: chr(int(match[1], 16)), name)


def scan_and_stage(fullname: str) -> tuple[str, str]:
    """Return scan and stage of a node by its full name; the scan is empty if it belongs to none.

    ``cpmae_bids_wf.sub-01_wf.sub-01_T1w_wf.reface_wf.blend`` gives ``('sub-01_T1w', 'blend')``.
    """
    *around, stage = fullname.split('.')
    return (_as_given(around[2].removesuffix('_wf')) if len(around) > 2 else ''), stage


def _outcome(node) -> str:
    """What a node that took no time did: the sink of a scan that did not pass has published nothing."""
    if not node.run_without_submitting:
        return 'found in the work folder'
    outputs = getattr(getattr(node, 'result', None), 'outputs', None)
    return 'done' if getattr(outputs, 'published', True) else 'NOT PUBLISHED, did not pass'


class Progress:
    """Status callback for nipype's plugins, called in the main process for each start and end of a node.

    A finished stage is one plain line, ``[sub-01_ses-2_T1w] remodel ... 12.3 s``. A terminal also shows what
    is running now, on a last line that is overwritten. `stream` is standard error by default; `clock` returns
    seconds. `check` raises what is to end the run, at an event or while the run waits for one.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        clock=time.monotonic,
        check: Callable[[], None] = lambda: None,
    ):
        self.stream = stream or sys.stderr
        self.clock = clock
        self.check = check
        self.running: dict[str, float] = {}
        self.failed: set[str] = set()

    def __call__(self, node, status: str) -> None:
        """Take note of one event: ``start``, ``end`` or ``exception``."""
        self.check()
        scan, stage = scan_and_stage(node.fullname)
        if status == 'start':
            self.running[node.fullname] = self.clock()
            self._show()
            return
        started = self.running.pop(node.fullname, None)
        took = '' if started is None else f' {self.clock() - started:.1f} s'
        if status == 'exception':
            self.failed.add(scan)
            self._show(f'[{scan}] {stage} ... FAILED{took and " after"}{took}')
        elif took:
            self._show(f'[{scan}] {stage} ...{took}')
        elif scan not in self.failed:  # after a failure, the linear plugin also reports what it skips
            self._show(f'[{scan}] {stage} ... {_outcome(node)}')

    def close(self) -> None:
        """Remove the line of what is running."""
        self.running.clear()
        self._show()

    def _show(self, line: str | None = None) -> None:
        text = '' if line is None else f'{one_line(line)}\n'
        if self.stream.isatty():
            now = ', '.join(' '.join(scan_and_stage(name)) for name in self.running)
            text = f'{CLEAR_LINE}{text}{one_line(now)}'
        if text:
            self.stream.write(text)
            self.stream.flush()
