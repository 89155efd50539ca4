"""Summarise a run."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpmae_bids.workflows.run import Failure

_WORDS = {'pass': 'passed', 'fail': 'failed quality control', 'error': 'ended with an error'}


def count(number: int, noun: str) -> str:
    """A number with its noun, as in ``1 scan``, ``2 scans``."""
    return f'{number} {noun}{"s" * (number != 1)}'


def summarise(records: Iterable[dict[str, Any]], failures: 'Iterable[Failure]' = ()) -> list[str]:
    """Return the lines of a summary: counts, scans without a pass, missing private reports, crash files."""
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
    lines += [f'crash file of {failure.scan}, {failure.stage}: {failure.crash_file}' for failure in failures]
    return lines
