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

from benchmarks.pairs import DEFAULT, OWN, PEERS, PERTURBED, RESCAN
from benchmarks.provenance import Provenance, remarks
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
        numbers of the benchmark. None where what it is compared with has not been measured.
    """

    text: str
    met: Callable[[float, str, Values, dict], bool | None]


def at_most(limit: float, text: str = '') -> Goal:
    return Goal(text or f'≤ {limit:g}', lambda value, *_: value <= limit)


def at_least(limit: float, text: str = '') -> Goal:
    return Goal(text or f'≥ {limit:g}', lambda value, *_: value >= limit)


def within(low: float, high: float) -> Goal:
    return Goal(f'{low:g} to {high:g}', lambda value, *_: low <= value <= high)


def as_a_rescan(otherwise: Goal, higher: bool = False) -> Goal:
    """No worse than another scan of the same person; a number where nobody was scanned twice."""

    def met(value: float, method: str, values: Values, numbers: dict) -> bool | None:
        floor = values.get(RESCAN)
        if not floor:
            return otherwise.met(value, method, values, numbers)
        return value >= floor[0] if higher else value <= floor[0]

    return Goal(f'no worse than a rescan (else {otherwise.text})', met)


def over_control(limit: float, control: str = 'own-air') -> Goal:
    """At most so much above the scan's own head after the same resampling, blend and air."""

    def met(value: float, method: str, values: Values, numbers: dict) -> bool | None:
        own = values.get(control)
        return value - own[0] <= limit if own else None

    return Goal(f'≤ {limit:g} over the own head', met)


ABOVE_CHANCE = Goal('> 0.05', lambda value, *_: value > 0.05)
NO_NUMBER = as_a_rescan(Goal('–', lambda *_: None), higher=True)
"""What a rescan alone can judge."""

SAME_BRAIN = as_a_rescan(at_least(0.99), higher=True)


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
    kind : {'pooled', 'mean', 'median', 'size', 'share', 'sum'}
        A pooled number; or of the scans: mean, median, mean absolute value, share of true ones, sum.
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
            Figure('geometry', f'{region}_living_auc', f'{region}: AUC, other scans', 'pooled', None, '.2f'),
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
        *(
            figure
            for region in ('face', 'ears', 'outline')
            for figure in (
                Figure(
                    'geometry',
                    f'{region}_beyond_auc',
                    f'{region}, beyond: AUC',
                    'pooled',
                    None,
                    '.2f',
                ),
                Figure('geometry', f'{region}_beyond_p', 'dealt p', 'pooled', ABOVE_CHANCE, '.3f'),
            )
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
        Figure('recognition', 'living_rank1', 'other scans known: rank-1', 'pooled', None, '%'),
        Figure('recognition', 'living_auc', 'AUC', 'pooled', None, '.2f'),
        Figure('recognition', 'living_probes', 'probes', 'pooled', None, '.0f'),
    ],
    'Can recognisers that nobody tuned against?': [
        figure
        for name in ('mobileface', 'faceres')
        for figure in (
            Figure('attackers', f'{name}_rank1', f'{name}: rank-1', 'pooled', None, '%'),
            Figure('attackers', f'{name}_auc', f'{name}: AUC', 'pooled', at_most(0.55), '.2f'),
            Figure('attackers', f'{name}_dealt_p', 'dealt p', 'pooled', ABOVE_CHANCE, '.3f'),
            Figure('attackers', f'{name}_living_auc', 'AUC, other scans', 'pooled', None, '.2f'),
        )
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
        Figure('attackers', 'mesh_frontal', 'found by BlazeFace', 'pooled', None, '%'),
        Figure('attackers', 'mesh_plausible', 'plausible mesh', 'pooled', at_least(0.95, '≥ 95 %'), '%'),
    ],
    'Is it anatomy?': [
        Figure('structure', 'coherence', 'coherence', 'median', at_least(0.95), '.2f'),
        Figure('structure', 'fine', 'fine contrast', 'median', within(0.9, 1.1), '.2f'),
        Figure('structure', 'bright', 'bright tissue', 'median', within(0.85, 1.15), '.2f'),
        *(
            Figure('structure', f'power_{key}', f'power, {band} mm', 'median', within(0.8, 1.2), '.2f')
            for key, band in (('16_8', '16–8'), ('8_4', '8–4'), ('4_2.5', '4–2.5'))
        ),
        Figure('structure', 'globes_of_originals', 'globes', 'pooled', at_least(1, '100 %'), '%'),
        Figure('structure', 'ears_of_originals', 'ears', 'pooled', at_least(0.9, '≥ 90 %'), '%'),
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
        Figure('masks', 'dice', 'deepbet: Dice', 'mean', SAME_BRAIN, '.4f'),
        Figure(
            'synthstrip', 'dice', 'SynthStrip: Dice', 'mean', as_a_rescan(at_least(0.99), higher=True), '.4f'
        ),
        Figure('tissue', 'dice', 'Atropos: Dice', 'mean', as_a_rescan(at_least(0.98), higher=True), '.4f'),
        *(
            Figure('meshnet', f'dice_{classes}', f'MeshNet, {classes}: Dice', 'mean', NO_NUMBER, '.4f')
            for classes in (18, 50, 104)
        ),
        Figure('hippocampus', 'volume_change', 'hippocampus (%)', 'size', as_a_rescan(at_most(1)), '.2f'),
        Figure('hdbet', 'dice', 'HD-BET: Dice', 'mean', SAME_BRAIN, '.4f'),
        *(
            Figure(
                'tissue',
                f'volume_change_{tissue}',
                f'{tissue.upper()} volume (%)',
                'size',
                as_a_rescan(at_most(1)),
                '.2f',
            )
            for tissue in ('gm', 'wm', 'csf')
        ),
        Figure('registration', 'head', 'registration, head (mm)', 'mean', as_a_rescan(at_most(0.5)), '.2f'),
        Figure('registration', 'brain', 'registration, brain (mm)', 'mean', as_a_rescan(at_most(0.5)), '.2f'),
        Figure('bias', 'head', 'N4 field (log)', 'mean', below_peers(REFACERS), '.4f'),
        Figure('masks', 'failed', 'no brain found', 'share', None, '%'),
    ],
    'Would a network notice?': [
        Figure('classifier', 'auc', 'classifier: AUC', 'pooled', below_peers(), '.2f'),
        Figure('classifier', 'auc_slice', 'AUC of one slice', 'pooled', over_control(0.1), '.2f'),
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
            Figure('mriqc', f'{name}_change_abs', f'{name} (%)', 'pooled', as_a_rescan(at_most(10)), '.1f')
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

BY_GROUP = [
    Figure('structure', 'coherence', 'coherence', 'median', None, '.2f'),
    Figure('structure', 'fine', 'fine contrast', 'median', None, '.2f'),
    Figure('structure', 'bright', 'bright tissue', 'median', None, '.2f'),
    Figure('structure', 'globes', 'globes', 'mean', None, '.1f'),
    Figure('structure', 'ears', 'ears', 'mean', None, '.1f'),
    Figure('faces', 'frontal', 'face detected', 'share', None, '%'),
    Figure('attackers', 'views_with_face', 'views with a face, BlazeFace', 'mean', None, '.1f'),
    Figure('masks', 'dice', 'deepbet: Dice', 'mean', None, '.4f'),
    Figure('tissue', 'dice', 'Atropos: Dice', 'mean', None, '.4f'),
    Figure('bias', 'head', 'N4 field (log)', 'mean', None, '.4f'),
    Figure('classifier', 'histogram_distance', 'histogram distance', 'mean', None, '.3f'),
]
GROUPS_NOTE = (
    'This tool at 256. Elderly: 60 years and more. Globes and ears: of two, where the original has them. '
    'What needs all scans at once, such as ranks among them, has no row here.'
)

NOTES = {
    'Can a face recogniser find the person?': (
        'dlib (HOG detector, 5 points, 128-d ResNet), 5 renderings of each head, against the originals of '
        'the test and the gallery. A probe without a face ranks at random. Guessing reaches a rank-1 of '
        '{chance} within its 95 % interval. The last row shows whether the attack is alive: it has to know '
        'at least 95 % of the originals again that were turned by 5 degrees, scaled by 3 % and noised. '
        'Dealt p: see below. Other scans known: the gallery holds other scans of the people, and not '
        'those that the probes were made of; the row of the originals shows whether this attack is alive.'
    ),
    'Can recognisers that nobody tuned against?': (
        'mobileface and faceres-deep on the same renderings, with the detector and the landmarks of '
        'MediaPipe: independent of dlib. Other scans: see above.'
    ),
    'Can geometry?': (
        'Depth of the skin in the frame of the brain, compared with that of every original. The last row is '
        'an attacker who sees nothing but the brain mask, and guesses the head from it.'
    ),
    'Does the tool leak more than the brain does?': (
        'Beyond: the attack of the geometry after a regression, trained on the gallery, has taken off '
        'outputs and originals what their brains tell. '
        'p: paired test (Wilcoxon, one-sided) of the distance to the own original against the mean distance '
        "to the others', which supposes that they lie evenly around their mean. Dealt p: share of 9,999 "
        'random matches of outputs and people that are as near as the true one, which supposes nothing. The '
        'mean head shows what field of view and alignment alone give away. Identical: the codes of the '
        'generated head, after everything outside the kept mask was replaced by the head of another scan, on '
        'a few scans.'
    ),
    'Is it anatomy?': (
        'Medians of output over original, in the tissue more than 6 mm from brain and skin: coherence of the '
        'structure tensor, standard deviation of what a low-pass filter of 3 mm removes, 95th percentile, '
        'power by wavelength. Globes and ears: found in the output, of those found in the original.'
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
    if figure.kind == 'median':
        return bootstrap(values, np.median)
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
        for method in (RESCAN, PERTURBED, 'brain alone')
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
                    cells.append('–' if met is None else 'met' if met else '**not met**')
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
        *_provenance(numbers),
        *([f'Left out: {", ".join(numbers["left_out"])}.'] if numbers.get('left_out') else []),
        '',
        'Below the methods stand controls: the own head of each scan on ever more of the way of a generated',
        'one (resampling and blend; generated air; codec; detail), and another scan of the person.',
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
            cells = [_text(read(figure, OWN[0], part), figure.form) for figure in BY_GROUP]
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', type=Path)
    args = parser.parse_args(argv)
    print(document(json.loads(args.results.read_text(encoding='utf-8'))), end='')


if __name__ == '__main__':
    main()
