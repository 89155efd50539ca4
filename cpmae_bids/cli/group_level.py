"""The group level: the verdicts on all scans of an output, as a table and a page, and a privacy audit."""

import logging
import os
from typing import Any

from cpmae_bids.bids.atomic import locked
from cpmae_bids.bids.completeness import hashes_of_unchanged_files, verified_records
from cpmae_bids.bids.verdict_tables import write_group_table, write_run_table
from cpmae_bids.cli.folder_checks import check_folders, check_writable, reject_foreign_output, reject_links
from cpmae_bids.cli.summary import summarise
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import EXIT_FAILED, EXIT_OK, NothingToDoError
from cpmae_bids.reports.group_page import write_group_report
from cpmae_bids.reports.outliers import find_outliers
from cpmae_bids.runtime import scratch
from cpmae_bids.runtime.pool import workers
from cpmae_bids.sharing.faces import recogniser
from cpmae_bids.sharing.privacy.attacks import Privacy, audit, describe_attacks, find_pairs

logger = logging.getLogger(__name__)


def run_group(config: RunConfig) -> int:
    """Write ``group_verdicts.tsv``, ``group.html`` and ``logs/verdicts.tsv``; return the exit code.

    Every image is compared with its record, so that what was lost, changed or left behind is an error.
    Outputs are compared with the originals, where those are there. Raises NothingToDoError if the output
    holds no record and no image, UsageError if the folders cannot be used.
    """
    # Without the originals the output can still be checked against itself
    if os.access(config.bids_dir, os.R_OK | os.X_OK):
        check_folders(config)
    else:
        reject_foreign_output(config.output_dir)
    if not config.output_dir.is_dir():
        raise NothingToDoError(f'{config.output_dir}: no such output; run the participant level first')
    scratch.sweep(config.bids_dir)
    hash_of = hashes_of_unchanged_files()
    if not verified_records(config.output_dir, hash_of=hash_of):
        raise NothingToDoError(f'{config.output_dir}: no verdict yet; run the participant level first')
    check_writable(config.output_dir, 'output_dir')
    reject_links(config.output_dir, ('logs',))
    # Runs beside this one change records and files one after the other, and write the table as well. As they
    # wait for this lock, only what they have changed since is read again.
    with locked(config.output_dir, 'logs'):
        records = verified_records(config.output_dir, hash_of=hash_of)
        write_run_table(config.output_dir, records)
    for line in summarise(records):
        logger.info(line)

    privacy, without = _audit(config, records)
    outliers = find_outliers(records)
    table = write_group_table(config.output_dir, records, outliers)
    attacks, notes = (privacy.rows(), privacy.notes()) if privacy else ([], [])
    page = write_group_report(
        config.output_dir, records, outliers, attacks, [*notes, *filter(None, [without])]
    )
    logger.info('verdicts: %s', table)
    logger.info('report: %s', page)
    all_passed = all(record['status'] == 'pass' for record in records)
    return EXIT_OK if all_passed and not (privacy and privacy.alarms()) else EXIT_FAILED


def _audit(config: RunConfig, records: list[dict[str, Any]]) -> tuple[Privacy | None, str]:
    """Compare the outputs with the originals, and say how that went, or why it could not be done."""
    found = find_pairs(config.output_dir, config.bids_dir, records)
    pairs = [pair for pair in found if pair.original.is_file()]  # content may have been dropped since
    if not pairs:
        without = 'No privacy audit: there is no original of an output that passed.'
        logger.info(without)
        return None, without
    recognise = recogniser.is_installed()
    without = '' if recognise else f'The face recogniser is not installed: pip install {recogniser.EXTRA}'
    with workers(min(config.nprocs, len(pairs))) as each:
        privacy = audit(pairs, recognise, each)
    for line in [*describe_attacks(privacy), without]:
        if line:
            logger.info('%s', line)
    return privacy, without
