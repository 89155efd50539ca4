"""The numbers of a benchmark as Markdown: a table per question, with the goals and whether they are met.

python -m benchmarks.table benchmarks/results/benchmark.json > docs/benchmarks.md
python -m benchmarks.goals
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.pairs import DEFAULT, OWN, PEERS, PERTURBED
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
    PERTURBED: 'original, perturbed',
    'brain alone': 'guess from the brain',
}
BEGIN, END = '<!-- goals: python -m benchmarks.goals -->', '<!-- end of goals -->'
"""Between these `benchmarks.goals` writes its table."""

REFACERS = tuple(peer for peer in PEERS if peer != 'skullstrip')
"""Peers that change the face rather than take the head away."""

Values = dict[str, Interval | None]
"""Value and interval of each method."""


@dataclass(frozen=True)
class Goal:
    """What a number has to be.

    Attributes
    ----------
    text : str
        As it stands in the table.
    met : callable
        ``met(value, method, values, numbers)`` of a method of this tool, the values of all methods, and all
        numbers of the benchmark.
    """

    text: str
    met: Callable[[float, str, Values, dict], bool]


def at_most(limit: float, text: str = '') -> Goal:
    return Goal(text or f'≤ {limit:g}', lambda value, *_: value <= limit)


def at_least(limit: float, text: str = '') -> Goal:
    return Goal(text or f'≥ {limit:g}', lambda value, *_: value >= limit)


def within(low: float, high: float) -> Goal:
    return Goal(f'{low:g} to {high:g}', lambda value, *_: low <= value <= high)


def below_peers(peers: tuple[str, ...] = PEERS) -> Goal:
    def met(value: float, method: str, values: Values, numbers: dict) -> bool:
        others = [values[peer][0] for peer in peers if values.get(peer)]
        return bool(others) and value < min(others)

    return Goal('below every peer' if peers == PEERS else 'below every refacer', met)


def _within_chance(value: float, method: str, values: Values, numbers: dict) -> bool:
    return value <= numbers['measures']['recognition']['pooled'][method]['chance_limit']


@dataclass(frozen=True)
class Figure:
    """A column of a table.

    Attributes
    ----------
    measure, key : str
        Module under ``benchmarks/measures``, and key of what it gives.
    title : str
    kind : {'pooled', 'mean', 'size', 'share', 'sum'}
        A pooled number; or of the scans: mean, mean absolute value, share of true ones, sum.
    goal : Goal, optional
    form : str
        ``%`` or a format specification.
    """

    measure: str
    key: str
    title: str
    kind: str = 'mean'
    goal: Goal | None = None
    form: str = '.3g'


def _geometry() -> list[Figure]:
    figures = []
    for region in ('face', 'ears', 'outline'):
        rank1, auc = at_most(0.05, '≤ 5 %'), at_most(0.65)
        figures += [
            Figure('geometry', f'{region}_rank1', f'{region}: rank-1', 'pooled', rank1, '%'),
            Figure('geometry', f'{region}_auc', f'{region}: AUC', 'pooled', auc, '.2f'),
        ]
    return figures


def _independence() -> list[Figure]:
    above = Goal('> 0.05', lambda value, *_: value > 0.05)
    identical = at_least(1, '100 %')
    return [
        *(
            Figure('geometry', f'{region}_p', f'{region}: p', 'pooled', above, '.4f')
            for region in ('face', 'ears', 'outline')
        ),
        *(
            Figure('geometry', f'{region}_dealt_p', f'{region}: dealt p', 'pooled', None, '.2f')
            for region in ('face', 'ears', 'outline')
        ),
        Figure('independence', 'same_given_mask', 'identical, same mask', 'share', identical, '%'),
        Figure('independence', 'same', 'identical, mask found anew', 'share', identical, '%'),
        Figure('independence', 'moved', 'face moved by the transplant (mm)', 'mean', None, '.2f'),
        Figure('independence', 'moved_by_seed', 'by another seed (mm)', 'mean', None, '.2f'),
    ]


QUESTIONS: dict[str, list[Figure]] = {
    'Can a face recogniser find the person?': [
        Figure(
            'recognition',
            'rank1',
            'rank-1',
            'pooled',
            Goal('within the interval of chance', _within_chance),
            '%',
        ),
        Figure('recognition', 'rank5', 'rank-5', 'pooled', None, '%'),
        Figure('recognition', 'auc', 'AUC', 'pooled', at_most(0.60), '.2f'),
        Figure('recognition', 'dealt_p', 'dealt p', 'pooled', None, '.3f'),
        Figure('recognition', 'with_face', 'probes with a face', 'pooled', None, '%'),
    ],
    'Can geometry?': _geometry(),
    'Does the tool leak more than the brain does?': _independence(),
    'Is it still a face?': [
        Figure('faces', 'frontal', 'detected', 'pooled', None, '%'),
        Figure(
            'faces', 'frontal_of_originals', 'detected, of originals', 'pooled', at_least(0.95, '≥ 95 %'), '%'
        ),
        Figure('faces', 'plausible', 'plausible landmarks', 'pooled', None, '%'),
        Figure(
            'faces',
            'plausible_of_originals',
            'plausible, of originals',
            'pooled',
            at_least(0.95, '≥ 95 %'),
            '%',
        ),
        Figure('faces', 'back', 'false alarms (back)', 'pooled', None, '%'),
    ],
    "Is it diverse, and nobody's?": [
        Figure('diversity', 'variance', 'variance, of real', 'pooled', at_least(0.6, '≥ 60 %'), '%'),
        Figure('diversity', 'between', 'between subjects (mm)', 'pooled', None, '.2f'),
        Figure('seeds', 'face', 'between seeds (mm)', 'pooled', None, '.2f'),
        Figure('diversity', 'nearest', 'nearest training head (mm)', 'pooled', None, '.2f'),
        Figure('diversity', 'nearest_ratio', 'over 5th percentile of any two', 'pooled', at_least(1), '.2f'),
        Figure(
            'diversity',
            'original_enough',
            'not nearer than real ones',
            'pooled',
            at_least(0.95, '≥ 95 %'),
            '%',
        ),
    ],
    'Is the brain untouched?': [
        Figure('brain', 'kept_changed', 'voxels changed, brain and rim', 'sum', at_most(0, '0'), ',.0f'),
        Figure('brain', 'brain_changed', 'voxels changed, brain', 'sum', at_most(0, '0'), ',.0f'),
        Figure('brain', 'header_changed', 'header fields changed', 'sum', at_most(0, '0'), ',.0f'),
    ],
    'Do brain tools give the same?': [
        Figure('masks', 'dice', 'deepbet: Dice', 'mean', at_least(0.99), '.4f'),
        Figure('synthstrip', 'dice', 'SynthStrip: Dice', 'mean', at_least(0.99), '.4f'),
        Figure('tissue', 'dice', 'Atropos: Dice', 'mean', at_least(0.98), '.4f'),
        *(
            Figure(
                'tissue', f'volume_change_{tissue}', f'{tissue.upper()} volume (%)', 'size', at_most(1), '.2f'
            )
            for tissue in ('gm', 'wm', 'csf')
        ),
        Figure('registration', 'head', 'registration, head (mm)', 'mean', at_most(0.5), '.2f'),
        Figure('registration', 'brain', 'registration, brain (mm)', 'mean', at_most(0.5), '.2f'),
        Figure('bias', 'head', 'N4 field (log)', 'mean', below_peers(REFACERS), '.4f'),
        Figure('masks', 'failed', 'no brain found', 'share', None, '%'),
    ],
    'Would a network notice?': [
        Figure('classifier', 'auc', 'classifier: AUC', 'pooled', below_peers(), '.2f'),
        Figure('classifier', 'auc_slice', 'AUC of one slice', 'pooled', None, '.2f'),
        Figure('classifier', 'histogram_distance', 'histogram distance', 'mean', None, '.3f'),
        Figure('classifier', 'power_16_8', 'power, 16–8 mm', 'mean', within(0.8, 1.2), '.2f'),
        Figure('classifier', 'power_8_4', 'power, 8–4 mm', 'mean', within(0.8, 1.2), '.2f'),
        *(
            Figure(
                'classifier',
                f'millimetre_{key}',
                f'of scans of 1 mm, {band} mm',
                'mean',
                within(0.8, 1.2),
                '.2f',
            )
            for key, band in (('16_8', '16–8'), ('8_4', '8–4'), ('4_2.5', '4–2.5'))
        ),
        Figure('seam', 'kept', 'seam: gradient ratio', 'mean', at_most(1.1), '.2f'),
        Figure('seam', 'cut', 'at the cut', 'mean', None, '.2f'),
    ],
    'Does MRIQC survive?': [
        Figure('mriqc', 'crash', 'no number', 'share', at_most(0, '0'), '%'),
        Figure('mriqc', 'air_zeros', 'air that is 0', 'mean', None, '.2f'),
        *(
            Figure('mriqc', f'{name}_change_abs', f'{name} (%)', 'pooled', at_most(10), '.1f')
            for name in ('efc', 'fber', 'cjv', 'cnr', 'snrd', 'bg_mean', 'bg_median', 'bg_mad', 'bg_p95')
        ),
    ],
    'What does it cost?': [
        Figure('cost', 'cpu_seconds_ratio', 'CPU time', 'pooled', None, '.3g'),
        Figure('cost', 'seconds_ratio', 'wall time', 'pooled', None, '.3g'),
        Figure('cost', 'peak_mib_ratio', 'peak memory', 'pooled', None, '.3g'),
        Figure('cost', 'cpu_seconds', 'CPU seconds', 'mean', None, '.3g'),
        Figure('cost', 'peak_mib', 'peak MiB', 'mean', None, '.0f'),
    ],
}

NOTES = {
    'Can a face recogniser find the person?': (
        'dlib (HOG detector, 5 points, 128-d ResNet), 5 renderings of each head, against the originals of '
        'the test and the gallery. A probe without a face ranks at random. Guessing reaches a rank-1 of '
        '{chance} within its 95 % interval. The last row shows whether the attack is alive: it has to know '
        'at least 95 % of the originals again that were turned by 5 degrees, scaled by 3 % and noised. '
        'Dealt p: see below.'
    ),
    'Can geometry?': (
        'Depth of the skin in the frame of the brain, compared with that of every original. The last row is '
        'an attacker who sees nothing but the brain mask, and guesses the head from it.'
    ),
    'Does the tool leak more than the brain does?': (
        'p: paired test (Wilcoxon, one-sided) of the distance to the own original against the mean distance '
        "to the others', which supposes that they lie evenly around their mean. Dealt p: share of 9,999 "
        'random matches of outputs and people that are as near as the true one, which supposes nothing. The '
        'mean head shows what field of view and alignment alone give away. Identical: the codes of the '
        'generated head, after everything outside the kept mask was replaced by the head of another scan, on '
        'a few scans.'
    ),
    "Is it diverse, and nobody's?": (
        'Distances of the face. The row of the originals shows how near real heads that were not trained on '
        'come to those of the gallery, which for the released weights are the training heads.'
    ),
    'Do brain tools give the same?': (
        'Means over the scans in which the tool finds a brain. N4: better than every peer that changes the '
        'face, which leaves skull-stripping aside.'
    ),
    'Does MRIQC survive?': 'Mean size of the changes; no number: NaN, or nothing to measure.',
    'What does it cost?': (
        'One core each, every scan in a process of its own. Ratios are to this tool at 256; brain mask and '
        'alignment are added to methods that need them. Wall times depend on what else the machine does.'
    ),
}


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
    return bootstrap(np.abs(values) if figure.kind == 'size' else values)


def plain(value: float, form: str) -> str:
    """A number as text, in a form of `Figure`."""
    return f'{100 * value:.0f} %' if form == '%' else format(value, form)


def _text(value: Interval | None, form: str) -> str:
    if value is None:
        return '–'
    middle = plain(value[0], form)
    if np.isnan(value[1]):
        return middle
    low, high = (plain(one, form).removesuffix(' %') for one in value[1:])
    return f'{middle} ({low}–{high})'


def _table(figures: list[Figure], numbers: dict) -> list[str]:
    """Rows of the methods, then the goals and whether this tool meets them."""
    extra = [
        method
        for method in (PERTURBED, 'brain alone')
        if any(read(figure, method, numbers) is not None for figure in figures)
    ]
    methods = [
        *(method for method in DEFAULT if method in numbers['methods'] or method == 'original'),
        *extra,
    ]
    values: list[Values] = [{m: read(figure, m, numbers) for m in methods} for figure in figures]
    methods = [method for method in methods if any(column[method] for column in values)]
    if not methods:
        return ['Not measured.']
    rows = [['', *(figure.title for figure in figures)], ['---'] * (len(figures) + 1)]
    for method in methods:
        cells = [_text(column[method], figure.form) for figure, column in zip(figures, values, strict=True)]
        rows.append([NAMES.get(method, method), *cells])
    if any(figure.goal for figure in figures):
        rows.append(['*goal*', *(figure.goal.text if figure.goal else '' for figure in figures)])
        for method in (own for own in OWN if own in methods):
            cells = []
            for figure, column in zip(figures, values, strict=True):
                value = column[method]
                if figure.goal is None or value is None:
                    cells.append('–' if figure.goal else '')
                else:
                    met = figure.goal.met(value[0], method, column, numbers)
                    cells.append('met' if met else '**not met**')
            rows.append([f'*{method.removeprefix("cpmae-")}*', *cells])
    return ['| ' + ' | '.join(row) + ' |' for row in rows]


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
        'says how. Numbers by scan are in `benchmarks/results/benchmark.json`. Values have their 95 %',
        'interval (Wilson for shares, else bootstrap over scans). Where a goal is missed, the table says so.',
        '',
        f'cpmae-bids {numbers["version"]}; {numbers["gallery"]} further heads in the gallery.',
        '',
        '| method | version | scans | made | refused | failed |',
        '|---|---|---|---|---|---|',
    ]
    for method, summary in numbers['methods'].items():
        cells = [NAMES.get(method, method), summary['version'] or '–']
        cells += [str(summary[key]) for key in ('scans', 'made', 'refused', 'failed')]
        lines.append('| ' + ' | '.join(cells) + ' |')
    lines += ['', '## Every goal', '', BEGIN, END]
    for question, figures in {**QUESTIONS, **_others(numbers)}.items():
        if not figures:
            continue
        lines += ['', f'## {question}', '']
        if question in NOTES:
            lines += [NOTES[question].format(chance=_chance(numbers)), '']
        if samples := _samples(figures, numbers):
            lines += [f'On a part of the scans: {samples}.', '']
        lines += _table(figures, numbers)
    return '\n'.join(lines) + '\n'


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', type=Path)
    args = parser.parse_args(argv)
    print(document(json.loads(args.results.read_text(encoding='utf-8'))), end='')


if __name__ == '__main__':
    main()
