"""Summarise a run."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpmae_bids.workflows.run import Failure

_WORDS = {'pass': 'passed', 'fail': 'failed quality control', 'error': 'ended with an error'}


def count(number: int, noun: str) -> str:
    """A number with its noun, as in ``1 scan``, ``2 scans``."""
    return f'{number} {noun}{"s" * (number != 1)}'


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
