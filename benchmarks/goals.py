"""Goals beside what was measured: of smaller scripts for docs/benchmarks.md, missed ones for the model card.

The attacks and what came of them go to docs/evidence.md.

    python -m benchmarks.goals

Reads the files in ``results/``, and writes a table into each page, between its two marks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.contact_sheet import REPOSITORY
from benchmarks.pairs import OWN
from benchmarks.provenance import SAME_IMAGES, strangers
from benchmarks.questions import QUESTIONS, Figure
from benchmarks.robustness_cases import CASES
from benchmarks.scans import RESULTS
from benchmarks.table import BEGIN, END

PAGE = REPOSITORY / 'docs' / 'benchmarks.md'
CARD = REPOSITORY / 'cpmae_bids' / 'data' / 'MODEL_CARD.md'
EVIDENCE = REPOSITORY / 'docs' / 'evidence.md'


@dataclass(frozen=True)
class Row:
    """A goal and what became of it.

    Attributes
    ----------
    title : str
    measured : tuple of str
        At 256, and at 128 where it was measured there as well.
    of : str
        On how many of what.
    goal : str
    met : tuple of bool
        As `measured`.
    """

    title: str
    measured: tuple[str, ...]
    of: str
    goal: str
    met: tuple[bool, ...]

    def cells(self) -> list[str]:
        """As they stand in the table."""
        met = ' / '.join(dict.fromkeys('met' if one else '**missed**' for one in self.met))
        return [self.title, ' / '.join(self.measured), self.of, self.goal, met]


def figures(numbers: dict) -> dict[str, list[Row]]:
    """The goals of `benchmarks.table` by question, at both presets."""
    sections: dict[str, list[Row]] = {}
    for question, asked in QUESTIONS.items():
        rows = []
        for figure in asked:
            values = {method: table.read(figure, method, numbers) for method in numbers['methods']}
            own = {method: value for method in OWN if (value := values.get(method))}
            if figure.goal is None or not own:
                continue
            scans = numbers['measures'][figure.measure]['scans'][next(iter(own))]
            known = sum(scan.get(figure.key) is not None for scan in scans.values()) or len(scans)
            met = [figure.goal.met(value[0], method, values, numbers) for method, value in own.items()]
            if None in met:
                continue
            rows.append(
                Row(
                    figure.title,
                    tuple(table.plain(value[0], figure.form) for value in own.values()),
                    f'{known} scans',
                    figure.goal.text,
                    tuple(bool(one) for one in met),
                )
            )
        if rows:
            sections[question] = rows
    return sections


def at_most(title: str, value: float, limit: float, of: str, form: str = '.2f', unit: str = '') -> Row:
    """A row of one number that is to be small."""
    return Row(title, (f'{value:{form}}{unit}',), of, f'≤ {limit:g}{unit}', (value <= limit,))


def at_least(title: str, value: float, limit: float, of: str, form: str = '.2f') -> Row:
    """A row of one number that is to be large."""
    return Row(title, (f'{value:{form}}',), of, f'≥ {limit:g}', (value >= limit,))


def seeds(found: dict) -> list[Row]:
    """The worst of several seeds, of `benchmarks.privacy_seeds`."""
    rows = []
    for attack, name in ATTACKS.items():
        by_seed = [seed[attack] for seed in found['by_seed'].values()]
        of = f'{len(by_seed)} seeds, {found["scans"]} scans'
        auc = max(seed['auc'][0] for seed in by_seed)
        p = min(seed['nearer_to_own_p'] for seed in by_seed)
        rows.append(at_most(f'{name}: AUC', auc, 0.6 if attack == 'recogniser' else 0.65, of))
        rows.append(Row(f'{name}: p', (f'{p:.3f}',), of, '> 0.05', (p > 0.05,)))
    return rows


def model(results: dict[str, dict]) -> list[Row]:
    """What fails or is refused for nothing."""
    limits, robustness = results['verdict_limits'], results['robustness']['scans']
    rows = []
    alarms = sum(one['outputs']['beyond'] for one in limits['measures'].values())
    rows.append(at_most('false alarms of the verdict', alarms, 0, f'{limits["outputs"]} outputs', '.0f'))
    taken = [one for one in robustness if not CASES[one['case']].refused]
    refused = sum(one['status'] != 'pass' for one in taken)
    rows.append(
        at_most('rejected, though a person would accept it', refused, 0, f'{len(taken)} scans', '.0f')
    )
    return rows


def shapes(found: dict) -> list[Row]:
    """Of `benchmarks.shape_draws`."""
    of, heads = f'{found["draws"]} draws, {found["scans"]} scans', f'{found["scans"]} heads'
    return [
        at_least('variance of the points of faces, of real', found['variance'], 0.8, of),
        at_least('the same, of training faces', found['variance_training'], 0.8, of),
        at_least('within the ranges of training faces', found['within_training_range'], 0.95, of),
        at_least('plausible distances between them, by encoded faces', found['plausible'], 0.95, of),
        at_least('not nearer to training heads than real ones', found['nobody'], 0.95, of),
        at_most('largest share of one donor (%)', 100 * found['largest_share'], 20, heads, '.0f'),
        at_most('longest piece of one donor (mm)', found['longest_piece_mm'], 80, heads, '.0f'),
        at_most('seam energy, change (%)', 100 * found['seam_energy_change'], -30, heads, '.0f'),
    ]


def speed(timing: dict, scaling: dict) -> list[Row]:
    """Of `benchmarks.stage_timing` and `benchmarks.scaling`."""
    two = scaling['workers']['2']
    scan = '1 scan of 1 mm' + (f', {timing["repeats"]} runs' if timing.get('repeats', 1) > 1 else '')
    scans = f'{scaling["scans"]} scans of 1 mm'
    models = sum(timing['stages'][stage]['seconds'] for stage in MODEL_STAGES)
    ratio = timing['seconds'] / timing['synthstrip']['seconds']
    return [
        at_most('a scan', timing['seconds'], 60, scan, '.0f', ' s'),
        at_most('models, of it', models, 20, scan, '.0f', ' s'),
        at_most("over SynthStrip's mask alone", ratio, 0.6, scan),
        at_most('memory', timing['peak_gib'], 4, scan, '.1f', ' GiB'),
        at_least('two workers: efficiency', two['efficiency'], 0.9, scans),
        at_most('two workers: memory', two['peak_gib'], scaling['mem_gb'], scans, '.1f', ' GiB'),
        at_most('two workers: intermediate files over input', two['files_per_input'], 3, scans),
    ]


ATTACKS = {
    'recogniser': 'recogniser',
    'face': 'depth of the face',
    'ears': 'depth of the ears',
    'outline': 'outline of the head',
}
"""Of `benchmarks.privacy_seeds`."""

SOURCES = ('benchmark', 'test_split', 'verdict_sabotage', 'audit_cases', 'faults')
"""Results that docs/evidence.md is made of."""

RANKED = (
    ('recognition', '', 'dlib'),
    ('upright', '', 'dlib, heads turned upright'),
    ('attackers', 'mobileface_', 'mobileface'),
    ('attackers', 'faceres_', 'faceres-deep'),
    ('geometry', 'face_', 'geometry of the face'),
    ('geometry', 'ears_', 'geometry of the ears'),
    ('geometry', 'outline_', 'geometry of the outline'),
)
"""Attacks that rank originals: measure, what its keys begin with, name."""

MODEL_STAGES = ('encode_brain', 'encode_head', 'remodel', 'decode_head')
"""Of `benchmarks.stage_timing`."""


def lines(results: dict[str, dict], missed: bool = False) -> list[str]:
    """How many goals are met, and a table in Markdown.

    Parameters
    ----------
    results : dict
        Contents of result files by name.
    missed : bool
        The table holds all goals that are missed, rather than those that no table of the benchmark has.
    """
    others = {
        'Further seeds, the worst of them': seeds(results['privacy_seeds']),
        'Drawn shapes': shapes(results['shape_draws']),
        'Model and verdict': model(results),
        'Two cores, without a GPU': speed(results['stage_timing_256'], results['scaling']),
    }
    every = {**figures(results['benchmark']), **others}
    met = [one for section in every.values() for row in section for one in row.met]
    rows = [['', 'at 256 / 128', 'of', 'goal', ''], ['---'] * 5]
    for title, section in (every if missed else others).items():
        if shown := [row.cells() for row in section if not (missed and all(row.met))]:
            rows += [[f'**{title}**', *[''] * 4], *shown]
    return [
        f'{sum(met)} of {len(met)} goals are met'
        + ('; these are missed.' if missed else ', those of the tables below included.'),
        *strangers(results),
        '',
        *('| ' + ' | '.join(row) + ' |' for row in rows),
    ]


def attacks(results: dict[str, dict]) -> list[str]:
    """What came of the attacks on the outputs of the preset 256, as a table in Markdown."""
    measures = results['benchmark']['measures']

    def of(measure: str, key: str, form: str = '.2f') -> str:
        value = table.read(Figure(measure, key, '', 'pooled', None, form), OWN[0], results['benchmark'])
        return table.text(value, form)

    def pooled(measure: str) -> dict:
        return measures.get(measure, {}).get('pooled', {}).get(OWN[0], {})

    rows = [['attack', 'names the right person first', 'AUC (0.5 is chance)', 'p'], ['---'] * 4]
    for measure, prefix, name in RANKED:
        found = pooled(measure)
        for known, title in (('', name), ('living_', f'{name}, another scan known')):
            if f'{prefix}{known}rank1' in found:
                probes = found.get(f'{prefix}{known}probes', found.get('probes'))
                rank1, auc = (f'{prefix}{known}{key}' for key in ('rank1', 'auc'))
                p = of(measure, f'{prefix}dealt_p', '.4f') if not known else ''
                rows.append([f'{title}, {probes} scans', of(measure, rank1, '%'), of(measure, auc), p])
    for part in ('face', 'outline'):
        if f'{part}_beyond_auc' in pooled('geometry'):
            rows.append(
                [
                    f'geometry of the {part}, less what the brain alone tells',
                    '',
                    of('geometry', f'{part}_beyond_auc'),
                    of('geometry', f'{part}_beyond_p', '.2f'),
                ]
            )
    split, audit = results['test_split'], results['audit_cases']
    sabotages = {k: v for k, v in results['verdict_sabotage']['sabotages'].items() if k != 'honest'}
    fired = sum(set(one['wanted']) <= set(one['fired']) for one in sabotages.values())
    faults = results['faults']['totals']
    return [
        *(f'| {" | ".join(row)} |' for row in rows),
        '',
        f'* Voxels of the preserved region that changed: {split["kept_voxels_changed"]} of'
        f' {split["kept_voxels"]:,}; {split["verdicts"]["pass"]} of {split["scans"]} scans passed.',
        f'* Manipulated outputs that quality control noticed: {fired} of {len(sabotages)}.',
        f'* Originals that the audit named: {audit["originals"]["named"]} of {audit["originals"]["images"]}.',
        f'* Faults injected: {faults["distinct"]}; leaks: {faults["leaks"]}; damaged inputs:'
        f' {faults["damaged inputs"]}.',
        '',
        *strangers({name: results[name] for name in SOURCES}),
    ]


def insert(page: str, table: list[str]) -> str:
    """A page with the lines of a table between the marks.

    Raises
    ------
    ValueError
        If it lacks the marks.
    """
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f'no {BEGIN} ... {END} in the page')
    return before + '\n'.join([BEGIN, '', *table, '', END]) + after


def read_results(folder: Path = RESULTS) -> dict[str, Any]:
    """Contents of the files of numbers by name."""
    return {
        path.stem: json.loads(path.read_text(encoding='utf-8'))
        for path in sorted(folder.glob('*.json'))
        if path.name != SAME_IMAGES.name
    }


def main() -> None:
    """Renew the tables of all pages."""
    results = read_results()
    tables = {PAGE: lines(results), CARD: lines(results, missed=True), EVIDENCE: attacks(results)}
    for page, rows in tables.items():
        text = insert(page.read_text(encoding='utf-8'), rows)
        page.write_text(text, encoding='utf-8')
        print(page)


if __name__ == '__main__':
    main()
