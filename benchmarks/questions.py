"""The questions that the benchmark asks: what is measured, and the goals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.pairs import PEERS, RESCAN
from benchmarks.statistics import Interval

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

    return Goal(f'rescan, or {otherwise.text}', met)


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
    identical = at_least(1, '100 %')
    return [
        *(
            Figure('geometry', f'{region}_p', f'{region}: p', 'pooled', ABOVE_CHANCE, '.4f')
            for region in ('face', 'ears', 'outline')
        ),
        *(
            Figure('geometry', f'{region}_{key}', f'{region}: {title}', 'pooled', None, '.2f')
            for region in ('face', 'ears', 'outline')
            for key, title in (
                ('dealt_p', 'dealt p'),
                ('scanner_auc', 'AUC, same scanner'),
                ('scanner_p', 'dealt p, same scanner'),
            )
        ),
        *(
            figure
            for region in ('face', 'ears', 'outline')
            for figure in (
                Figure('geometry', f'{region}_beyond_auc', f'{region}, beyond: AUC', 'pooled', None, '.2f'),
                Figure(
                    'geometry',
                    f'{region}_beyond_p',
                    f'{region}, beyond: dealt p',
                    'pooled',
                    ABOVE_CHANCE,
                    '.3f',
                ),
            )
        ),
        Figure('independence', 'same_given_mask', 'identical, same mask', 'share', identical, '%'),
        Figure('independence', 'same', 'identical, new mask', 'share', identical, '%'),
        Figure('independence', 'moved', 'face moved by the transplant (mm)', 'mean', None, '.2f'),
        Figure('independence', 'moved_by_seed', 'face moved by another seed (mm)', 'mean', None, '.2f'),
    ]


QUESTIONS: dict[str, list[Figure]] = {
    'Can a face recogniser find the person?': [
        Figure('recognition', 'rank1', 'rank-1', 'pooled', Goal('chance', _within_chance), '%'),
        Figure('recognition', 'rank5', 'rank-5', 'pooled', None, '%'),
        Figure('recognition', 'auc', 'AUC', 'pooled', at_most(0.60), '.2f'),
        Figure('recognition', 'dealt_p', 'dealt p', 'pooled', None, '.3f'),
        Figure('recognition', 'scanner_auc', 'AUC, same scanner', 'pooled', None, '.2f'),
        Figure('recognition', 'scanner_p', 'dealt p, same scanner', 'pooled', None, '.3f'),
        Figure('upright', 'auc', 'AUC, upright', 'pooled', None, '.2f'),
        Figure('upright', 'scanner_auc', 'AUC, upright, same scanner', 'pooled', None, '.2f'),
        Figure('upright', 'scanner_p', 'dealt p, upright, same scanner', 'pooled', None, '.3f'),
        Figure('recognition', 'with_face', 'probes with a face', 'pooled', None, '%'),
        Figure('recognition', 'living_rank1', 'rank-1, other scans', 'pooled', None, '%'),
        Figure('recognition', 'living_auc', 'AUC, other scans', 'pooled', None, '.2f'),
        Figure('recognition', 'living_probes', 'probes, other scans', 'pooled', None, '.0f'),
    ],
    'Can recognisers that nobody tuned against?': [
        figure
        for name in ('mobileface', 'faceres')
        for figure in (
            Figure('attackers', f'{name}_rank1', f'{name}: rank-1', 'pooled', None, '%'),
            Figure('attackers', f'{name}_auc', f'{name}: AUC', 'pooled', at_most(0.55), '.2f'),
            Figure('attackers', f'{name}_dealt_p', f'{name}: dealt p', 'pooled', ABOVE_CHANCE, '.3f'),
            Figure('attackers', f'{name}_living_auc', f'{name}: AUC, other scans', 'pooled', None, '.2f'),
        )
    ],
    'Can geometry?': _geometry(),
    'Does the tool leak more than the brain does?': _independence(),
    'Is it still a face?': [
        Figure(
            'faces', 'frontal_of_originals', 'detected, of originals', 'pooled', at_least(0.95, '≥ 95 %'), '%'
        ),
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
        Figure('classifier', 'auc_slice', 'classifier: AUC of one slice', 'pooled', over_control(0.1), '.2f'),
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
        Figure('seam', 'cut', 'seam: at the cut', 'mean', None, '.2f'),
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
        Figure('cost', 'seconds', 'wall seconds', 'mean', None, '.3g'),
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
    'This tool at 256. Elderly: 60 years and more. Globes and ears: of two, where the original has them.'
)

NOTES = {
    'Can a face recogniser find the person?': (
        'dlib on five renderings of each head, against originals of the test and the gallery. Chance reaches '
        'a rank-1 of {chance} within its 95 % interval. *Dealt p*: see below. *Other scans*: the gallery '
        'holds other scans of the people.'
    ),
    'Can recognisers that nobody tuned against?': 'mobileface and faceres-deep on the same renderings.',
    'Can geometry?': (
        'Depth of the skin in the frame of the brain. *Guess from the brain*: an attacker who has the brain '
        'mask alone.'
    ),
    'Does the tool leak more than the brain does?': (
        'Are outputs nearer to their own originals than to others? *p*: Wilcoxon; *dealt p*: permutation, '
        'which supposes less; *same scanner*: scanner and field of view stay as they are; '
        '*beyond*: without what the brain predicts. *Identical*: generated codes, '
        'after everything outside the preserved region was replaced by the head of another scan.'
    ),
    'Is it anatomy?': 'Output over original, in tissue more than 6 mm from brain and skin.',
    "Is it diverse, and nobody's?": 'Distances of faces; the gallery are the training heads.',
    'Do brain tools give the same?': (
        'Means over the scans in which the tool finds a brain. *Rescan*: no worse than another scan of the '
        'person, or the number where nobody was scanned twice.'
    ),
    'Does MRIQC survive?': 'Mean size of the changes; no number: NaN, or nothing to measure.',
    'What does it cost?': ('One core each. Brain mask and alignment are added where needed.'),
}
"""What a reader needs to know beside the titles; ``benchmarks/README.md`` has the rest."""
