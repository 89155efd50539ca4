"""``--dry-run``: say what a run would do with each scan, and why."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from cpmae_bids.bids.layout import without_reference, without_t1w
from cpmae_bids.bids.scan import Scan
from cpmae_bids.bids.selection import list_subjects
from cpmae_bids.bids.verdict_records import read_record, settings_of
from cpmae_bids.cli.raw_like import of_this_run
from cpmae_bids.cli.summary import count
from cpmae_bids.config import T1W_SUFFIXES, RunConfig
from cpmae_bids.exceptions import EXIT_FAILED, EXIT_OK, InputError
from cpmae_bids.runtime.text import one_line
from cpmae_bids.sharing.inventory import list_files, unprocessed


def print_plan(scans: Sequence[Scan], complete: Collection[Scan], config: RunConfig) -> int:
    """Print a line for each scan of a run, and for each file that is left out.

    Headers are read as well: what they let no run process, such as slices that are too thick, is an error.
    Returns 1 if a scan cannot be processed, as the run itself would end, else 0.
    """
    scans = [scan if scan in complete else replace(scan, problem=_problem(scan)) for scan in scans]
    todo = [scan for scan in scans if not scan.problem and scan not in complete]
    broken = [scan for scan in scans if scan.problem]
    for scan in scans:
        if scan in complete:
            line = f'SKIP {scan.relative_path}: complete'
        elif scan.problem:
            line = f'ERROR {scan.relative_path}: {scan.problem}'
        else:
            line = f'PROCESS {scan.relative_path}: {"; ".join(_reasons(scan, config))}'
        print(one_line(line))
    for line in _others(scans, config):
        print(one_line(line))
    skipped = len(scans) - len(todo) - len(broken)
    parts = f'{len(todo)} to process, {skipped} complete, {len(broken)} with an error'
    print(f'{count(len(scans), "scan")}: {parts}; nothing was written')
    return EXIT_FAILED if broken else EXIT_OK


def _problem(scan: Scan) -> str:
    """Why a scan cannot be processed: what was known before, or what headers say; or nothing."""
    problem = scan.problem or _header_problem(scan)
    told = without_reference if scan.t1w is None else without_t1w
    for needed in filter(None, (scan.t1w, scan.reference)):
        if not problem and (reason := _header_problem(needed)):
            problem = told(needed, reason)
    return problem


def _header_problem(scan: Scan) -> str:
    from cpmae_bids.deid.qc.scan_checks import check_header

    try:
        check_header(scan.path)
    except InputError as error:
        return str(error).removeprefix(f'{scan.path}: ')
    return ''


def _reasons(scan: Scan, config: RunConfig) -> Iterator[str]:
    """Why a scan would be processed, and from what."""
    record = read_record(config.output_dir, scan.name)
    if record is None:
        yield 'not processed yet'
    elif config.overwrite:
        yield '--overwrite'
    elif record['status'] != 'pass':
        yield f'did not pass before ({record["status"]})'
    elif changed := [key for key, value in settings_of(scan, config).items() if record.get(key) != value]:
        yield f'was made with another {", ".join(changed)}'
    else:
        yield 'its input or its outputs have changed since'
    if config.derivatives and scan.t1w is None:
        yield 'skull-stripped' if scan.brain_mask is None else 'brain mask from --derivatives'
    if scan.reference is not None:
        yield f'gets the head of {scan.reference_path}'
    if scan.t1w is not None:
        yield f'brain mask from {scan.t1w.relative_path}'


def _others(scans: Sequence[Scan], config: RunConfig) -> Iterator[str]:
    """Lines on subjects that labels exclude, and on files that may show a face and are not processed."""
    labels = [label for label in list_subjects(config.bids_dir) if not config.includes_subject(label)]
    yield from (f'EXCLUDED sub-{label}: not among the labels' for label in labels)
    if config.session_label:
        yield 'EXCLUDED all other sessions: not among the labels'
    suffixes = (*T1W_SUFFIXES, *config.also)
    planned = [{'scan': scan.relative_path, 'status': 'pass'} for scan in scans]
    for entry in of_this_run(unprocessed(list_files(config.bids_dir), planned, suffixes), config):
        if any(f'({suffix} in anat)' in entry.reason for suffix in suffixes):
            yield f'EXCLUDED {entry.path}: not chosen by the filters, or named above'
        else:
            yield f'NOT PROCESSED {entry.path}: {entry.reason.replace("was not", "is not")}'
