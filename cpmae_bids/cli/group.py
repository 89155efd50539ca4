"""The group level: the table of the verdicts on all scans of an output dataset."""

import logging

from cpmae_bids.bids.audit import audit_output
from cpmae_bids.bids.records import write_table
from cpmae_bids.cli.preflight import check_folders, check_writable
from cpmae_bids.cli.summary import summarise
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import EXIT_FAILED, EXIT_OK, NothingToDoError

logger = logging.getLogger(__name__)


def run_group(config: RunConfig) -> int:
    """Write ``logs/verdicts.tsv`` from the records of all participant runs into one output.

    Every image is read and compared with its record, so that what was lost, changed or left behind since
    is an error here.

    Returns
    -------
    int
        0 if all scans passed, else 1.

    Raises
    ------
    NothingToDoError
        If the output holds no record and no image.
    UsageError
        If the folders cannot be used.
    """
    check_folders(config)
    if not config.output_dir.is_dir():
        raise NothingToDoError(f'{config.output_dir}: no such output; run the participant level first')
    records = audit_output(config.output_dir)
    if not records:
        raise NothingToDoError(f'{config.output_dir}: no verdict yet; run the participant level first')
    check_writable(config.output_dir / 'logs', 'output_dir')
    table = write_table(config.output_dir, records)
    for line in [*summarise(records), f'verdicts: {table}']:
        logger.info(line)
    return EXIT_OK if all(record['status'] == 'pass' for record in records) else EXIT_FAILED
