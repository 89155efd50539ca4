"""The participant level: de-identify scans, and write what describes the output."""

import atexit
import logging
from pathlib import Path
from typing import Any

from cpmae_bids.bids.atomic import locked
from cpmae_bids.bids.completeness import complete_scans, verified_records
from cpmae_bids.bids.derivatives import write_dataset_files
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.participants import write_participants
from cpmae_bids.bids.scan import by_subject
from cpmae_bids.bids.validation import count_errors
from cpmae_bids.bids.verdict_tables import write_run_table
from cpmae_bids.cli.batches import make_batches, share_processors
from cpmae_bids.cli.claim import claimed
from cpmae_bids.cli.dry_run import print_plan
from cpmae_bids.cli.folder_checks import reject_links_in_work, with_places
from cpmae_bids.cli.interrupt import Interruption
from cpmae_bids.cli.preflight import check_space, preflight, remove_work_dir
from cpmae_bids.cli.process import process_scans
from cpmae_bids.cli.raw_like import conclude_raw_like, report_unprocessed, warn_of_dates
from cpmae_bids.cli.summary import count, summarise, with_other_heads
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import EXIT_FAILED, EXIT_OK, UsageError
from cpmae_bids.reports.subject_page import write_subject_report
from cpmae_bids.workflows.progress import Progress
from cpmae_bids.workflows.resources import size_factor

logger = logging.getLogger(__name__)


def run_participants(config: RunConfig, interruption: Interruption) -> int:
    """De-identify the scans that a run asks for, and write what describes them; return the exit code.

    Raises CpmaeError if the run cannot start.
    """
    config = preflight(config)
    keep_work_dir = False
    try:
        if not config.skip_bids_validation:
            _validate_input(config.bids_dir)
        scans = with_places(collect_scans(config), config.output_dir)
        warn_of_dates(config, scans)
        complete = set() if config.overwrite else set(complete_scans(scans, config))
        if config.dry_run:
            return print_plan(scans, complete, config)
        todo = [scan for scan in scans if scan not in complete]
        logger.info('%s, %d of them complete already', count(len(scans), 'scan'), len(complete))
        size = max((size_factor(scan.path) for scan in todo), default=1.0)
        config = share_processors(len(todo), config, size)
        largest = max(map(len, make_batches(todo, config)), default=0)
        check_space(config, len(todo), at_a_time=largest if config.temporary_work_dir else None)
        write_dataset_files(config)
        # no other run uses a temporary folder
        subjects = [] if config.temporary_work_dir else sorted({f'sub-{scan.subject}' for scan in todo})
        reject_links_in_work(config.work_folder, subjects)
        with claimed(config.work_folder, subjects):
            if config.write_graph:
                from cpmae_bids.workflows.base import write_graph

                write_graph([scan for scan in todo if not scan.problem], config)
            failures = process_scans(todo, config, Progress(check=interruption.check))
        keep_work_dir = bool(failures)
        return _conclude(scans, failures, config)
    except KeyboardInterrupt:
        # Workers may still be writing; by then they have ended.
        atexit.register(remove_work_dir, config)
        raise
    finally:
        if not keep_work_dir:
            remove_work_dir(config)


def _validate_input(bids_dir: Path) -> None:
    """Reject an invalid dataset; without a validator, say so and continue."""
    if errors := count_errors(bids_dir, 'BIDS validation skipped'):
        raise UsageError(
            f'{bids_dir}: not valid BIDS, {errors} errors in all; fix them, or go on with '
            '--skip-bids-validation'
        )


def _conclude(scans: list, failures: list, config: RunConfig) -> int:
    """Write tables and reports, and say how it went, even if one of them cannot be written."""
    records: list[dict[str, Any]] = []
    folders = tuple({f'sub-{scan.subject}/' for scan in scans})
    try:
        # Tables are about all scans of the output, those of runs beside this one included
        with locked(config.output_dir, 'logs'):
            records = verified_records(config.output_dir, thorough=False)
            table = write_run_table(config.output_dir, records)
            passed = {Path(record['scan']).parts[0] for record in records if record['status'] == 'pass'}
            labels = {name.removeprefix('sub-') for name in passed}
            unread = write_participants(config.bids_dir, config.output_dir, labels)
            for subject in by_subject(scans):
                write_subject_report(config.output_dir, subject)

        for line in unread:
            logger.error('NOT CARRIED OVER %s', line)
        for line in with_other_heads(record for record in records if record['scan'].startswith(folders)):
            logger.warning('%s', line)
        report_unprocessed(config, records)
        shared = config.layout != 'bids' or conclude_raw_like(config)
    finally:
        paths = {scan.relative_path for scan in scans}
        strays = [record for record in records if 'stray' in record and record['scan'].startswith(folders)]
        ours = [record for record in records if record['scan'] in paths]
        for line in summarise([*ours, *strays], failures):
            logger.info('%s', line)
        if failures and config.temporary_work_dir:
            logger.info('kept for the crash files in it: %s', config.work_dir)
    logger.info('verdicts: %s', table)
    all_passed = len(ours) == len(paths) and all(record['status'] == 'pass' for record in ours)
    return EXIT_OK if all_passed and shared and not (strays or failures or unread) else EXIT_FAILED
