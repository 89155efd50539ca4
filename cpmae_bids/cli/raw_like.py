"""Report files that were not de-identified, and write the raw-like dataset."""

import logging
from collections.abc import Iterable
from typing import Any

from cpmae_bids.bids.raw_like import FOLDER, is_raw_like
from cpmae_bids.bids.scan import Scan
from cpmae_bids.bids.selection import select_subjects
from cpmae_bids.bids.validation import count_errors
from cpmae_bids.config import T1W_SUFFIXES, RunConfig
from cpmae_bids.exceptions import UsageError
from cpmae_bids.sharing.inventory import (
    DatasetFile,
    list_files,
    summary_lines,
    told_rows,
    unprocessed,
    write_list,
)
from cpmae_bids.sharing.rawlike.dates import dated_labels

logger = logging.getLogger(__name__)


def warn_of_dates(config: RunConfig, scans: Iterable[Scan]) -> None:
    """Warn of labels that are dates: names are kept, in the output and in the raw-like dataset.

    Raises UsageError if dates are to be shifted: one that is known gives away all others of the subject.
    """
    paths = [scan.relative_path for scan in scans]
    if config.layout == 'bids':
        paths += [entry.path for entry in list_files(config.bids_dir, select_subjects(config))]
    found = dated_labels(paths)
    if not found:
        return
    label, path = next(iter(found.items()))
    more = f' and {len(found) - 1} more labels' if len(found) > 1 else ''
    what = f'{path}: the label {label}{more} looks like a date, and names are kept'
    if config.layout == 'bids' and config.scan_dates == 'shift':
        raise UsageError(f'{what}, so that the shift could be undone; rename it, or use --scan-dates drop')
    logger.warning('%s; rename it before you share anything', what)


def report_unprocessed(config: RunConfig, records: list[dict[str, Any]]) -> None:
    """Write ``logs/not_processed.tsv`` about the whole dataset, and log what concerns this run's subjects."""
    found = unprocessed(list_files(config.bids_dir), records, (*T1W_SUFFIXES, *config.also))
    write_list(config.output_dir, 'logs/not_processed.tsv', told_rows(found))
    path = config.output_dir / 'logs' / 'not_processed.tsv'
    found = of_this_run(found, config)
    if found:
        logger.warning('%d files or folders may show a face and were not processed: %s', len(found), path)
        for line in summary_lines(found):
            logger.warning('NOT PROCESSED %s', line)
    folder = config.raw_like_folder
    if config.layout != 'bids' and is_raw_like(folder):
        logger.warning('%s: is of an earlier run and was not updated; --layout bids does it', folder)


def of_this_run(entries: list[DatasetFile], config: RunConfig) -> list[DatasetFile]:
    """Return the files of the subjects and sessions that a run is about, and what lies beside them."""
    labels = {entry: entry.path.partition('/')[0].removeprefix('sub-') for entry in entries}
    entries = [entry for entry in entries if config.includes_subject(labels[entry])]
    if sessions := config.session_label:
        entries = [entry for entry in entries if _session_of(entry.path) in (None, *sessions)]
    return entries


def _session_of(path: str) -> str | None:
    folder = next((part for part in path.split('/')[:-1] if part.startswith('ses-')), None)
    return folder and folder.removeprefix('ses-')


def conclude_raw_like(config: RunConfig) -> bool:
    """Write the raw-like dataset, log what is in it, and return whether it is complete and valid.

    Only runs over all subjects validate it, since another run may be writing its subjects at the same time.
    """
    from cpmae_bids.sharing.faces.search import face_in_copy
    from cpmae_bids.sharing.rawlike.build import write_raw_like

    outcome = write_raw_like(config, face_in_copy)
    for line in summary_lines(outcome.left_out):
        logger.warning('LEFT OUT %s', line)
    logger.info(
        'to upload: %s: %d de-identified and %d copied images; left out: %s',
        outcome.dataset,
        outcome.n_refaced,
        outcome.n_copied,
        outcome.dataset / FOLDER / 'left_out.tsv',
    )
    is_part = config.participant_label or config.exclude_participant_label
    errors = 0
    if not (config.skip_bids_validation or is_part):
        errors = count_errors(outcome.dataset, 'the raw-like dataset was not validated')
    if errors:
        logger.error('%s: not valid BIDS, %d errors in all', outcome.dataset, errors)
    return not errors and not outcome.failures
