"""Run the workflows of scans. Every scan ends with a verdict record."""

import contextlib
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from cpmae_bids.bids.atomic import crc32_of
from cpmae_bids.bids.completeness import stored_files_are_whole
from cpmae_bids.bids.layout import without_reference, without_t1w
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.publish import forget_rejections, record_failure
from cpmae_bids.bids.scan import Scan, by_subject
from cpmae_bids.bids.verdict_records import is_undecided, read_record, record_path
from cpmae_bids.cli.batches import make_batches
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import CpmaeError, InputError
from cpmae_bids.runtime.scratch import CRASH_FOLDER
from cpmae_bids.workflows.progress import Progress
from cpmae_bids.workflows.run import Failure, run_workflow

logger = logging.getLogger(__name__)
_NIPYPE_LEVELS = ('CRITICAL', 'INFO', 'DEBUG')


def process_scans(
    scans: Sequence[Scan], config: RunConfig, progress: Progress | None = None
) -> list[Failure]:
    """De-identify scans, after the pre-flight; return the nodes that broke.

    Afterwards each has a record of this run, and an image in the output only if that says 'pass'. After
    `RunConfig.stop_on_first_crash`, scans that were not reached keep what is whole of an earlier run.
    `progress` is told of each stage; by default it writes to standard error. Raises CpmaeError if no scan
    could be processed because of the settings.
    """
    waiting = []
    for scan in scans:
        if scan.problem:
            _fail(scan, config, scan.problem)
        else:
            waiting.append(scan)
    n_workable = len(waiting)
    batches = make_batches(waiting, config)
    failures: list[Failure] = []
    if waiting:
        _set_up_nipype(config)
    with _ready_to_work(config) if waiting else contextlib.nullcontext():
        for batch in batches:
            if failures and config.stop_on_first_crash:
                break
            waiting = waiting[len(batch) :]
            failures += _process_batch(batch, config, progress)
            logger.info('%d of %d scans processed', n_workable - len(waiting), n_workable)
    for scan in waiting:
        _leave_unprocessed(scan, config)
    return failures


def _ready_to_work(config: RunConfig) -> AbstractContextManager[None]:
    """Load libraries for steps on the CPU; forks of a process that has seen a GPU cannot use it."""
    from cpmae_bids.interfaces.process import libraries_loaded
    from cpmae_bids.runtime import threads

    if config.device != 'cpu' or config.nipype_plugin_file is not None:
        return contextlib.nullcontext()
    return libraries_loaded(threads.environment(config.omp_nthreads))


def _process_batch(batch: Sequence[Scan], config: RunConfig, progress: Progress | None) -> list[Failure]:
    """Run the workflow of some scans, and make sure that each has a record."""
    from cpmae_bids.workflows.base import init_cpmae_bids_wf

    OutputFolder(config.work_folder).make(mode=0o700)  # if it is gone since
    forget_rejections(batch, config)
    batch = _begin(batch, config)
    before = {scan: _signature(scan, config) for scan in batch}
    failures: list[Failure] = []
    fault = ''
    try:
        failures = run_workflow(init_cpmae_bids_wf(batch, config), config, progress)
    except CpmaeError:
        raise
    except Exception as err:
        logger.debug('the workflow broke', exc_info=True)
        failures = getattr(err, 'failures', [])
        fault = f'the workflow broke: {err}; -vv tells where'
    finally:
        if config.temporary_work_dir:
            _remove_intermediate_files(config)

    unfinished = []
    for scan in batch:
        if _signature(scan, config) != before[scan]:
            if fault and not _has_private_page(scan, config):
                unfinished.append(scan)
        elif reason := _reason(scan, failures):
            _fail(scan, config, reason)
        elif failures and config.stop_on_first_crash:
            _leave_unprocessed(scan, config)
        elif fault:
            unfinished.append(scan)
        else:
            _fail(scan, config, 'no verdict was written')
    if len({scan.subject for scan in batch}) > 1:  # one of them may have brought it down
        for of_subject in by_subject(unfinished).values():
            failures += _process_batch(of_subject, config, progress)
        return failures
    for scan in unfinished:
        if _signature(scan, config) == before[scan]:
            _fail(scan, config, fault)
        else:
            failures.append(Failure(scan.name, 'private_report', fault, config.work_folder / CRASH_FOLDER))
    return failures


def _reason(scan: Scan, failures: Sequence[Failure]) -> str:
    """Return the node that failed a scan, its own or of a scan that it depends on; or nothing."""
    first = {failure.scan: failure for failure in reversed(failures)}
    if failure := first.get(scan.name):
        return f'{failure.stage}: {failure.message}'
    if scan.t1w and (reason := _reason(scan.t1w, failures)):
        return without_t1w(scan.t1w, reason)
    if scan.reference is None:
        return ''
    from cpmae_bids.workflows.anatomical import BRAIN_STAGES, HEAD_STAGES

    of_brains = [failure for failure in failures if failure.stage in BRAIN_STAGES]
    if scan.first_echo and (reason := _reason(scan.first_echo, of_brains)):
        return without_t1w(scan.first_echo, reason)
    reason = _reason(scan.reference, [failure for failure in failures if failure.stage in HEAD_STAGES])
    return without_reference(scan.reference, reason) if reason else ''


def _has_private_page(scan: Scan, config: RunConfig) -> bool:
    """Whether a scan that has its record also has the private report, if it is to have one."""
    page = config.private_page(scan.name)
    record = read_record(config.output_dir, scan.name) or {}
    return page is None or page.is_file() or record.get('status') != 'pass'


def _begin(batch: Sequence[Scan], config: RunConfig) -> list[Scan]:
    """Remove old private pages; note what scans, and what they are made from, are now; those gone fail."""
    begun = []
    for scan in batch:
        if (page := config.private_page(scan.name)) is not None:  # what is there is about another head
            for earlier in (page, page.with_suffix('.json')):
                OutputFolder(page.parent).remove(earlier)
        try:
            begun.append(
                replace(
                    _noted(scan),
                    first_echo=scan.first_echo and _noted(scan.first_echo),
                    reference=scan.reference and _noted(scan.reference),
                    t1w=scan.t1w and _noted(scan.t1w),
                )
            )
        except OSError as err:
            _fail(scan, config, f'cannot be read any more ({err.strerror}); check the input')
    return begun


def _noted(scan: Scan) -> Scan:
    return replace(scan, crc32=crc32_of(scan.path))


def _remove_intermediate_files(config: RunConfig) -> None:
    """Empty the work folder but for crash files, which hold no voxels."""
    for path in config.work_folder.glob('*'):
        if path.is_dir() and path.name != CRASH_FOLDER:
            shutil.rmtree(path, ignore_errors=True)


def _leave_unprocessed(scan: Scan, config: RunConfig) -> None:
    """Keep what an earlier run made of a scan if it is whole; else record that there is nothing."""
    record = read_record(config.output_dir, scan.name)
    if (
        record is None
        or is_undecided(record)
        or (record['status'] == 'pass' and not stored_files_are_whole(record, config.output_dir))
    ):
        _fail(scan, config, 'not processed, since the run stopped at its first failure')


def _signature(scan: Scan, config: RunConfig) -> tuple[int, int] | None:
    """Distinguish a record that was written again from an earlier one, even with the same content."""
    try:
        status = record_path(config.output_dir, scan.name).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _fail(scan: Scan, config: RunConfig, reason: str) -> None:
    try:
        record_failure(scan, config, reason)
    except OSError as err:
        message = (
            f'{scan.relative_path}: failed ({reason}), and what is left of it in the output cannot be '
            f'removed ({err.strerror}); do not share the output'
        )
        record = read_record(config.output_dir, scan.name)
        if record is None or record['status'] != 'error':
            raise InputError(message) from err
        logger.error(message)


def _set_up_nipype(config: RunConfig) -> None:
    """Keep nipype off the network and, unless asked for more, quiet: the summary says what failed."""
    os.environ.setdefault('NO_ET', '1')  # or it asks a server for its latest version on import

    from nipype import config as nipype_config
    from nipype import logging as nipype_logging

    level = _NIPYPE_LEVELS[min(config.verbose, len(_NIPYPE_LEVELS) - 1)]
    levels = {f'{name}_level': level for name in ('workflow', 'interface', 'utils')}
    nipype_config.update_config({
        'logging': {**levels, 'log_directory': str(config.work_folder), 'log_to_file': 'false'},
        'execution': {'check_version': 'false', 'crashdump_dir': str(config.work_folder / CRASH_FOLDER)},
    })  # fmt: skip
    nipype_logging.update_logging(nipype_config)
