"""The command ``cpmae-bids``."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence

from cpmae_bids.bids.output_folder import never_written_to
from cpmae_bids.cli.interrupt import Interruption
from cpmae_bids.cli.outcome import exit_code_of
from cpmae_bids.cli.parser import parse_config
from cpmae_bids.cli.streams import forgiving_streams
from cpmae_bids.config import RunConfig
from cpmae_bids.runtime.text import one_line


@forgiving_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cpmae-bids``, by default with the arguments of the process, and return its exit code."""
    config = parse_config(argv)
    interrupted = 'interrupted; scans that are complete will be skipped by the next run'
    return exit_code_of('cpmae-bids', lambda: _run(config), interrupted)


def _run(config: RunConfig) -> int:
    with _messages(config.verbose), Interruption() as interruption, never_written_to(config.bids_dir):
        if config.analysis_level == 'group':
            from cpmae_bids.cli.group_level import run_group

            return run_group(config)
        from cpmae_bids.cli.participant_level import run_participants

        return run_participants(config, interruption)


def _as_one_line(record: logging.LogRecord) -> bool:
    record.msg, record.args = one_line(record.getMessage()), ()
    return True


@contextlib.contextmanager
def _messages(verbose: int) -> Iterator[None]:
    """Send this package's messages to standard error while a command runs, one line each."""
    package = logging.getLogger('cpmae_bids')
    before = package.level, package.propagate
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('cpmae-bids: %(message)s'))
    handler.addFilter(_as_one_line)
    package.addHandler(handler)
    package.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    package.propagate = False  # nipype puts a handler of its own on the root logger
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.level, package.propagate = before
