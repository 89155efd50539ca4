"""Lock the subjects of a run, against other runs in the same work directory."""

import contextlib
import fcntl
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from cpmae_bids.bids.atomic import lock_byte
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.exceptions import UsageError

logger = logging.getLogger(__name__)
_NAME = '.subjects'


@contextlib.contextmanager
def claimed(work_dir: Path, subjects: Iterable[str]) -> Iterator[None]:
    """Keep other runs off the intermediate files of subjects; ends with this process, however that ends.

    Two runs that write the same files damage them for every later run too. A lock is a byte of one file, at a
    place that the name of the subject gives, so that any number of runs may share a folder. Jobs of a batch
    system that outlive the process are not kept off. Raises UsageError if another run processes one of them.
    """
    if not (subjects := sorted(set(subjects))):
        return (yield)
    folder = OutputFolder(work_dir)
    folder.make(mode=0o700)
    with folder.open_lock(_NAME) as file:
        try:
            for subject in subjects:
                lock_byte(file, subject, fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as err:  # POSIX allows both
            raise UsageError(
                f'{work_dir}: another run processes {subject} there; give each run a --work-dir of its own'
            ) from err
        except OSError as err:  # some network file systems know no locks
            logger.warning('%s: has no locks (%s); let no other run work there', work_dir, err.strerror)
        yield
