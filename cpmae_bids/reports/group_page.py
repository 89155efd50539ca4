"""The page of a whole output, ``group.html``: one file without scripts or links to fetch.

It is shared with the images: it holds numbers and pictures of generated heads, no path of the machine, and of
the privacy audit only what says nothing about a single scan.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cpmae_bids import __version__
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.deid.qc.thresholds import Threshold, common_thresholds
from cpmae_bids.reports.figures import figure_path
from cpmae_bids.reports.histogram import histogram
from cpmae_bids.reports.outliers import Outlier
from cpmae_bids.reports.page import Element, Section, picture, render, required, table, text
from cpmae_bids.reports.subject_page import CAPTIONS, COMPARED, WITHIN

PAGE = 'group.html'
NOTE = 'All scans of this output. No picture on this page shows an original head.'
SHOWN = 10  # scans to look at first; half of them with a picture

_STYLE = """.histogram { width: 100%; max-width: 36rem; display: block; }
.histogram .bar { fill: #4a7ebb; }
.histogram .beyond { fill: #b3261e22; }
.histogram .limit { stroke: #b3261e; stroke-width: 1.5; }
.histogram .tick, .histogram .axis { stroke: currentColor; stroke-width: 0.7; }
.histogram text { fill: currentColor; font-size: 11px; }
"""


def write_group_report(
    output_dir: Path,
    records: list[dict[str, Any]],
    outliers: list[Outlier],
    attacks: Sequence[tuple],
    notes: Sequence[str],
) -> Path:
    """Write the page and return its path.

    `records` are those of `cpmae_bids.bids.completeness.verified_records`; of the `outliers` the most unusual
    scan comes first. `attacks` are the rows of the table of the privacy audit, none without one, and `notes`
    are about the audit, or why there is none.
    """
    sections = [
        _status_section(records),
        _privacy_section(attacks, notes),
        _outlier_section(output_dir, records, outliers),
        _measure_section(records),
    ]
    path = Path(output_dir) / PAGE
    OutputFolder(output_dir).write(path, render('All scans', NOTE, sections, _STYLE))
    return path


def _status_section(records: list[dict[str, Any]]) -> Section:
    counts = Counter(record['status'] for record in records)
    parts = [table('Verdicts', ('Verdict', 'Scans'), [(k, counts[k]) for k in ('pass', 'fail', 'error')])]
    failed = [record for record in records if record['status'] != 'pass']
    if failed:
        rows = [(r.get('scan', ''), r['status'], '; '.join(r.get('reasons') or [])) for r in failed]
        parts.append(table('Scans without an image', ('Scan', 'Verdict', 'Why'), rows))
    every = [reason for record in failed for reason in record.get('reasons') or []]
    reasons = Counter(reason.partition(' (')[0] for reason in every)  # without the numbers
    if len(failed) > 1:
        parts.append(table('Reasons, the most frequent first', ('Reason', 'Scans'), reasons.most_common()))
    versions = Counter((str(r.get('version')), str(r.get('model_hash'))) for r in records if 'version' in r)
    if len(versions) > 1:
        parts.append(text('These scans were made by different versions or weights: compare with care.'))
    return Section('Verdicts', parts)


def _privacy_section(attacks: Sequence[tuple], notes: Sequence[str]) -> Section:
    title = 'Do outputs match their own originals?'
    if not attacks:
        return Section(title, [*map(text, notes)])
    introduction = (
        'Each output was compared with all originals: an attacker who has all of them, and the brain, would '
        'name the nearest. Intervals are 95 %.'
    )
    heads = ('Attack', 'Outputs', 'Own original first', 'By chance', 'AUC (chance: 0.50)', 'Result')
    return Section(title, [text(introduction), table('Attacks', heads, attacks), *map(text, notes)])


def _outlier_section(output_dir: Path, records: list[dict[str, Any]], outliers: list[Outlier]) -> Section:
    title = 'Look at these first'
    if not outliers:
        return Section(title, [text('There are too few scans to find outliers among them.')])
    passed = {r['scan'] for r in records if r['status'] == 'pass'}
    rows = [
        (o.scan, o.measure, o.value, o.median, f'{o.z:+.1f}' + ' outlier' * o.is_unusual)
        for o in outliers[:SHOWN]
    ]
    heads = ('Scan', 'Most unusual metric', 'Value', 'Median of all', 'Robust z')
    parts = [table('Scans by their most unusual metric', heads, rows)]
    shown = [o.scan for o in outliers[: SHOWN // 2] if o.scan in passed]
    return Section(title, [*parts, *_faces(output_dir, shown)])


def _faces(output_dir: Path, scans: Iterable[str]) -> Iterable[Element]:
    """Pictures of generated heads, as the pages of the subjects show them."""
    for scan in scans:
        name = Path(scan).name.partition('.')[0]
        path = figure_path(output_dir, name, 'face')
        if path.is_file():
            yield picture(f'{name}: {CAPTIONS["face"]}', path.read_bytes())


def _measure_section(records: list[dict[str, Any]]) -> Section:
    limits = common_thresholds(record.get('fill') or '' for record in records if record.get('measures'))
    named = {name for record in records for name in record.get('measures', {})}
    parts = []
    # Metrics with a threshold first, in the order of the verdict
    for name in [*(n for n in limits if n in named), *sorted(named - set(limits))]:
        measured = [r.get('measures', {}).get(name) for r in records]
        values = [float(value) for value in measured if value is not None and math.isfinite(value)]
        if not values:
            continue
        limit = limits.get(name)
        must = f'must be {required(limit)}' if limit else 'no threshold'
        low, high = (limit.low, limit.high) if limit else (-math.inf, math.inf)
        label = f'{name} of {len(values)} scans: {min(values):.4g} to {max(values):.4g}, {must}'
        parts += [Element('heading', name), text(f'{len(values)} scans; {must}')]
        parts.append(Element('drawing', data=histogram(values, low, high, label)))
    if not parts:
        parts = [text('No scan has been measured.')]
    note = f'Thresholds (red lines) are those of version {__version__}; ticks are scans.'
    elements = [text(note), *parts, *_compared(records, limits)]
    return Section('Distribution of each metric', elements)


def _compared(records: list[dict[str, Any]], limits: dict[str, Threshold]) -> Iterable[Element]:
    """How many scans were within the threshold of each metric that involves the original head."""
    judged = [record.get('within_limits', {}) for record in records]
    names = sorted({name for within in judged for name in within})
    rows = []
    for name in names:
        counts = Counter(within[name] for within in judged if name in within)
        rows.append((name, required(limits.get(name)), counts[True], counts[False]))
    if rows:
        yield table(COMPARED, ('Metric', 'Threshold', *(f'Scans {WITHIN[holds]}' for holds in WITHIN)), rows)
