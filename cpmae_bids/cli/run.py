"""The command ``cpmae-bids``."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence

from cpmae_bids.bids.output_folder import never_written_to
from cpmae_bids.cli.outcome import settle_surroundings
from cpmae_bids.cli.parser import parse_config
from cpmae_bids.cli.streams import forgiving_streams
from cpmae_bids.exceptions import EXIT_FAILED, EXIT_INTERRUPTED, CpmaeError
from cpmae_bids.runtime.text import one_line

logger = logging.getLogger(__name__)


@forgiving_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cpmae-bids``, by default with the arguments of the process, and return its exit code."""
    config = parse_config(argv)
    settle_surroundings()
    from cpmae_bids.cli.interrupt import Interruption

    with _messages(config.verbose), Interruption() as interruption, never_written_to(config.bids_dir):
        try:
            if config.analysis_level == 'group':
                from cpmae_bids.cli.group_level import run_group

                return run_group(config)
            from cpmae_bids.cli.participant_level import run_participants

            return run_participants(config, interruption)
        except CpmaeError as err:
            logger.error('%s', err)
            return err.exit_code
        except OSError as err:
            logger.error('%s; check space and permissions, and run again', err)
            return EXIT_FAILED
        except KeyboardInterrupt:
            logger.error('interrupted; scans that are complete will be skipped by the next run')
            return EXIT_INTERRUPTED


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
