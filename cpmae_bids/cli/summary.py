"""Summarise a run."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpmae_bids.bids.verdict_records import have_one_head

if TYPE_CHECKING:
    from cpmae_bids.workflows.run import Failure

_WORDS = {'pass': 'passed', 'fail': 'failed quality control', 'error': 'ended with an error'}


def count(number: int, noun: str) -> str:
    """A number with its noun, as in ``1 scan``, ``2 scans``."""
    return f'{number} {noun}{"s" * (number != 1)}'


def with_other_heads(records: Iterable[dict[str, Any]]) -> list[str]:
    """Return lines on images whose reference scan has another head since, after a re-run of a part."""
    passed = {str(record['scan']): record for record in records if record['status'] == 'pass'}
    found = [
        (scan, record['reference'])
        for scan, record in passed.items()
        if record.get('fill') != 'air'
        and record.get('reference') in passed
        and not have_one_head(record, passed[record['reference']])
    ]
    return [
        f'ANOTHER HEAD {scan}: {reference} was processed with other settings or another reference scan; run '
        'all scans of the subject with the same (other contrasts with --also)'
        for scan, reference in found
    ]


def summarise(records: Iterable[dict[str, Any]], failures: 'Iterable[Failure]' = ()) -> list[str]:
    """Return lines: counts, scans without a pass, what is missing beside images, crash files."""
    records, failures = list(records), list(failures)
    counts = {status: sum(record['status'] == status for record in records) for status in _WORDS}
    said = [f'{n} {_WORDS[status]}' for status, n in counts.items() if n]
    unwritten = [failure for failure in failures if failure.stage == 'private_report']
    if unwritten:
        said.append(f'{len(unwritten)} without the private report')
    lines = [f'{count(len(records), "scan")}: {", ".join(said) or "nothing to report"}']
    for record in records:
        if record['status'] != 'pass':
            reasons = '; '.join(record.get('reasons') or ['no reason is recorded'])
            lines.append(f'{record["status"].upper()} {record.get("scan", "?")}: {reasons}')
    lines += [
        f'PRIVATE REPORT of {failure.scan} was not written: {failure.message}; '
        'the verdict on its image stands; fix this and run again'
        for failure in unwritten
    ]
    passed = {Path(record['scan']).name.partition('.')[0] for record in records if record['status'] == 'pass'}
    lines += [
        f'PICTURES of {failure.scan} may be missing: {failure.message}; the verdict on its image stands; fix '
        'this and run it again with --overwrite'
        for failure in failures
        if failure.scan in passed and failure not in unwritten
    ]
    lines += [f'crash file of {failure.scan}, {failure.stage}: {failure.crash_file}' for failure in failures]
    return lines
