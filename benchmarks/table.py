"""The numbers of a benchmark as Markdown: a table per question, with the goals and which are missed.

python -m benchmarks.table benchmarks/results/benchmark.json > docs/benchmarks.md
python -m benchmarks.goals
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.pairs import DEFAULT, OWN, PERTURBED, RESCAN
from benchmarks.provenance import Provenance, remarks
from benchmarks.questions import BY_GROUP, GROUPS_NOTE, NOTES, QUESTIONS, Figure, Values
from benchmarks.scans import command_line
from benchmarks.statistics import Interval, bootstrap, share

NAMES = {
    'original': 'original',
    'cpmae-256': '**this tool, 256**',
    'cpmae-128': '**this tool, 128**',
    'radveil': 'RadVeil',
    'quickshear': 'Quickshear',
    'pydeface': 'pydeface (ANTs)',
    'skullstrip': 'skull-stripping',
    'meanhead': 'mean head',
    'nearesthead': 'nearest training head',
    'own-grid': 'own head, resampled and blended',
    'own-air': '… with generated air',
    'own-codes': '… encoded and decoded',
    'own-detail': '… with detail',
    RESCAN: 'another scan of the person',
    PERTURBED: 'original, perturbed',
    'brain alone': 'guess from the brain',
}
BEGIN, END = '<!-- goals: python -m benchmarks.goals -->', '<!-- end of goals -->'
"""Between these `benchmarks.goals` writes its table."""


def read(figure: Figure, method: str, numbers: dict) -> Interval | None:
    """Value and interval of a figure for a method; None if it has not been measured."""
    found = numbers['measures'].get(figure.measure, {'scans': {}, 'pooled': {}})
    if figure.kind == 'pooled':
        value = found['pooled'].get(method, {}).get(figure.key)
        value = value if isinstance(value, list) else [value, None, None]
        return None if value[0] is None else tuple(np.nan if one is None else one for one in value)
    values = [scan.get(figure.key) for scan in found['scans'].get(method, {}).values()]
    values = np.array([value for value in values if value is not None], dtype=float)
    if len(values) == 0:
        return None
    if figure.kind == 'sum':
        return (float(values.sum()), np.nan, np.nan)
    if figure.kind == 'share':
        return share(values)
    if figure.kind == 'median':
        return bootstrap(values, np.median)
    return bootstrap(np.abs(values) if figure.kind == 'size' else values)


def plain(value: float, form: str) -> str:
    """A number as text, in a form of `Figure`."""
    return f'{100 * value:.0f} %' if form == '%' else format(value, form)


def text(value: Interval | None, form: str) -> str:
    """A value and its interval, as a table has them."""
    if value is None:
        return '–'
    middle = plain(value[0], form)
    if np.isnan(value[1]):
        return middle
    low, high = (plain(one, form).removesuffix(' %') for one in value[1:])
    return f'{middle} ({low}–{high})'


def _table(figures: list[Figure], numbers: dict) -> list[str]:
    """A row for each figure: its goal, this tool with intervals, the other methods and controls."""
    order = [*OWN, *(one for one in (*DEFAULT, RESCAN, PERTURBED, 'brain alone') if one not in OWN)]
    values: list[Values] = [{method: read(figure, method, numbers) for method in order} for figure in figures]
    measured = [(figure, row) for figure, row in zip(figures, values, strict=True) if any(row.values())]
    methods = [method for method in order if any(row[method] for _, row in measured)]
    if not methods:
        return ['Not measured.']
    rows = [['', 'goal', *(NAMES.get(method, method) for method in methods)], ['---'] * (len(methods) + 2)]
    for figure, row in measured:
        cells = [figure.title, figure.goal.text if figure.goal else '']
        for method in methods:
            value = row[method]
            cell = text(value if method in OWN else value and (value[0], np.nan, np.nan), figure.form)
            if method in OWN and value and figure.goal:
                cell += MARKS[figure.goal.met(value[0], method, row, numbers)]
            cells.append(cell)
        rows.append(cells)
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    absent = [figure.title for figure, row in zip(figures, values, strict=True) if not any(row.values())]
    return [*lines, *(['', f'Not measured: {"; ".join(absent)}.'] if absent else [])]


MARKS = {True: '', False: ' **missed**', None: ' (no control)'}
"""What is said of a value with a goal; None where that with which the goal compares was not measured."""


def document(numbers: dict) -> str:
    """The page ``docs/benchmarks.md``.

    Parameters
    ----------
    numbers : dict
        As `benchmarks.run.collect` gives them.

    Returns
    -------
    text : str
    """
    lines = [
        '# Benchmarks',
        '',
        'Written by `python -m benchmarks.run HEADS OUT`; [benchmarks/README.md](../benchmarks/README.md)',
        'describes methods, controls and measures. This tool has 95 % intervals (Wilson for shares, else',
        'bootstrap over scans); `benchmarks/results/benchmark.json` has those of the others.',
        '',
        f'cpmae-bids {numbers["version"]}; {numbers["gallery"]} further heads in the gallery.',
        *_provenance(numbers),
        *([f'Left out: {", ".join(numbers["left_out"])}.'] if numbers.get('left_out') else []),
        '',
        '| method | version | scans | made | rejected | failed |',
        '|---|---|---|---|---|---|',
    ]
    for method, summary in numbers['methods'].items():
        cells = [NAMES.get(method, method), summary['version'] or '–']
        cells += [str(summary[key]) for key in ('scans', 'made', 'refused', 'failed')]
        lines.append('| ' + ' | '.join(cells) + ' |')
    lines += ['', '## Goals', '', BEGIN, END]
    for question, figures in {**QUESTIONS, **_others(numbers)}.items():
        if not figures:
            continue
        lines += ['', f'## {question}', '']
        if question in NOTES:
            lines += [NOTES[question].format(chance=_chance(numbers)), '']
        if samples := _samples(figures, numbers):
            lines += [f'On a part of the scans: {samples}.', '']
        lines += _table(figures, numbers)
    if groups := by_group(numbers):
        lines += ['', *groups]
    return '\n'.join(lines) + '\n'


def _provenance(numbers: dict) -> list[str]:
    """Of which weights and code the numbers are; a method that was taken from an earlier run says so."""
    earlier = {
        NAMES.get(method, method): Provenance.read(summary['provenance'])
        for method, summary in numbers['methods'].items()
        if 'provenance' in summary
    }
    return remarks([Provenance.read(one) for one in numbers.get('provenance', ())], earlier)


def by_group(numbers: dict) -> list[str]:
    """This tool by scanner and age, so that no mean hides a weakness; lines of Markdown."""
    kinds = numbers.get('groups', {})
    if not kinds:
        return []
    rows = [['', 'scans', *(figure.title for figure in BY_GROUP)], ['---'] * (len(BY_GROUP) + 2)]
    for key, title in (('scanner', 'scanner'), ('age', 'age'), ('voxel', 'voxels')):
        for name in sorted({kind[key] for kind in kinds.values()}):
            own = {scan for scan, kind in kinds.items() if kind[key] == name}
            part = restricted(numbers, own)
            cells = [text(read(figure, OWN[0], part), figure.form) for figure in BY_GROUP]
            made = numbers['measures'].get('brain', {}).get('scans', {}).get(OWN[0], own)
            rows.append([f'{title}: {name}', str(len(own & set(made))), *cells])
    return ['## By scanner and age', '', GROUPS_NOTE, '', *('| ' + ' | '.join(row) + ' |' for row in rows)]


def restricted(numbers: dict, scans: set[str]) -> dict:
    """Numbers of a part of the scans; nothing that was pooled over all."""
    measures = {
        name: {
            'scans': {
                method: {scan: value for scan, value in values.items() if scan in scans}
                for method, values in found['scans'].items()
            },
            'pooled': {},
        }
        for name, found in numbers['measures'].items()
    }
    return {**numbers, 'measures': measures}


def _samples(figures: list[Figure], numbers: dict) -> str:
    """How many scans each measure took that did not take all."""
    most = numbers['methods'].get(OWN[0], {}).get('made', 0)
    counts = {
        figure.measure: len(numbers['measures'].get(figure.measure, {}).get('scans', {}).get(OWN[0], ()))
        for figure in figures
    }
    return ', '.join(f'{measure} {count}' for measure, count in counts.items() if 0 < count < most)


def _chance(numbers: dict) -> str:
    pooled = numbers['measures'].get('recognition', {}).get('pooled', {})
    limits = [value['chance_limit'] for method, value in pooled.items() if method == OWN[0]]
    return f'{100 * limits[0]:.1f} %' if limits else '–'


def _others(numbers: dict) -> dict[str, list[Figure]]:
    """A table of means for each measure that no question asks for."""
    asked = {figure.measure for figures in QUESTIONS.values() for figure in figures}
    tables = {}
    for measure, found in numbers['measures'].items():
        if measure in asked:
            continue
        scans = [scan for method in found['scans'].values() for scan in method.values()]
        keys = dict.fromkeys(key for scan in scans for key in scan)
        pooled = dict.fromkeys(key for method in found['pooled'].values() for key in method)
        tables[f'Further: {measure}'] = [
            *(Figure(measure, key, key, 'pooled') for key in pooled),
            *(Figure(measure, key, key) for key in keys if key not in pooled),
        ]
    return tables


def main(argv: list[str] | None = None) -> None:
    """Print the page."""
    parser = command_line(__doc__)
    parser.add_argument('results', type=Path)
    args = parser.parse_args(argv)
    print(document(json.loads(args.results.read_text(encoding='utf-8'))), end='')


if __name__ == '__main__':
    main()
