"""Inject all faults, and write what became of each: ``python -m tests.faults.report [pytest arguments]``.

Numbers go to ``benchmarks/results/faults.json``. With arguments, such as ``-k signal``, the faults that they
select are done anew, and the others stay as they are in that file.
"""

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.provenance import Provenance
from cpmae_bids.bids.atomic import locked, write_text

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / 'benchmarks' / 'results' / 'faults.json'
WORDS = {'LEAK': 'leaks', 'HANG': 'hangs', 'INPUT': 'damaged inputs', 'PROCESS': 'survivors'}


class Collector:
    """Keeps what the tests note, and tests that fail without a note."""

    def __init__(self, anew: bool):
        self.anew = anew

    def pytest_runtest_logreport(self, report):
        """Take the notes of one test."""
        if report.when != 'call' and report.passed:
            return
        notes = [value for name, value in report.user_properties if name == 'fault']
        if report.failed and not any(note['complaints'] for note in notes):
            lines = str(report.longrepr).splitlines()
            error = next((line for line in reversed(lines) if line.startswith('E ')), 'no reason')
            notes.append({'kind': 'test', 'fault': report.nodeid, 'result': 'failed', 'complaints': [error]})
        if notes:
            self.anew = write({report.nodeid: notes}, self.anew)


def write(tests: dict[str, list[dict]], anew: bool) -> bool:
    """Add the notes of a test to the file, or begin it anew; other reports may do so at the same time."""
    with locked(Path(tempfile.gettempdir())):
        known = {} if anew or not RESULTS.exists() else json.loads(RESULTS.read_text('utf-8'))['tests']
        tests = dict(sorted((known | tests).items()))
        faults = [note for notes in tests.values() for note in notes]
        by_kind = dict(sorted(Counter(note['kind'] for note in faults).items()))
        made_by = [Provenance.today().dump()]
        report = {
            'provenance': made_by,
            'totals': totals(faults),
            'faults_by_kind': by_kind,
            'tests': tests,
        }
        write_text(RESULTS, json.dumps(report, indent=1) + '\n')
    return False


def totals(faults: list[dict]) -> dict[str, int]:
    """Count faults, and what went wrong after them."""
    counts = {'faults': len(faults), 'distinct': len({(note['kind'], note['fault']) for note in faults})}
    complaints = Counter(line.partition(' ')[0] for note in faults for line in note['complaints'])
    counts |= {words: complaints[word] for word, words in WORDS.items()}
    counts['other complaints'] = sum(count for word, count in complaints.items() if word not in WORDS)
    return counts


def main(arguments: list[str]) -> int:
    """Run the tests, print the table and write the file; returns pytest's exit code."""
    options = ['-q', '-p', 'no:cacheprovider', '-m', 'slow or not slow', *arguments]
    code = pytest.main([str(HERE), *options], plugins=[Collector(anew=not arguments)])
    report = json.loads(RESULTS.read_text('utf-8'))
    for notes in report['tests'].values():
        for note in notes:
            leak = 'LEAK' if any(line.startswith('LEAK') for line in note['complaints']) else 'no leak'
            print(f'{note["kind"]:<20} {note["fault"]:<75} {note["result"]:<28} {leak}')
    print(
        *(f'{name}: {count}' for name, count in (report['faults_by_kind'] | report['totals']).items()),
        sep='\n',
    )
    return int(code)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
