"""The page of a whole output, ``group.html``: one file, no script, nothing fetched.

It is shared with the images. It holds numbers and pictures of generated heads, never of an original, no
path of the machine, and of the privacy audit only what says nothing about a single scan.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpmae_bids import __version__
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.deid.qc.thresholds import Threshold, common_thresholds
from cpmae_bids.reports.figures import figure_path
from cpmae_bids.reports.html import CAPTIONS, COMPARED, WITHIN, _page, _range, _table
from cpmae_bids.reports.plots import histogram

if TYPE_CHECKING:
    from cpmae_bids.sharing.audit.outliers import Outlier
    from cpmae_bids.sharing.audit.privacy import Privacy

PAGE = 'group.html'
NOTE = 'All scans of this output. No picture on this page shows an original head.'
SHOWN = 10
"""Scans to look at first; half of them with a picture."""

_STYLE = """<style>
.histogram { width: 100%; max-width: 36rem; display: block; }
.histogram .bar { fill: #4a7ebb; }
.histogram .beyond { fill: #b3261e22; }
.histogram .limit { stroke: #b3261e; stroke-width: 1.5; }
.histogram .tick, .histogram .axis { stroke: currentColor; stroke-width: 0.7; }
.histogram text { fill: currentColor; font-size: 11px; }
</style>"""


def write_group_report(
    output_dir: Path,
    records: list[dict[str, Any]],
    outliers: list[Outlier],
    privacy: Privacy | None,
    without: str = '',
) -> Path:
    """Write the page.

    Parameters
    ----------
    output_dir : Path
    records : list of dict
        As `cpmae_bids.sharing.audit_table.audit_output` returns them.
    outliers : list of Outlier
        The most unusual scan first.
    privacy : Privacy or None
        None if the originals were not there.
    without : str
        Why there is no privacy audit, or why only a part of it.

    Returns
    -------
    Path
    """
    sections = [
        _STYLE,
        _status_section(records),
        _privacy_section(privacy, without),
        _outlier_section(output_dir, records, outliers),
        _measure_section(records),
    ]
    path = Path(output_dir) / PAGE
    OutputFolder(output_dir).write(path, _page('All scans', NOTE, sections))
    return path


def _section(title: str, *parts: str) -> str:
    return '\n'.join(['<section>', f'<h2>{escape(title)}</h2>', *parts, '</section>'])


def _text(text: str) -> str:
    return f'<p>{escape(text)}</p>'


def _status_section(records: list[dict[str, Any]]) -> str:
    counts = Counter(record['status'] for record in records)
    parts = [_table('Verdicts', ('Verdict', 'Scans'), [(k, counts[k]) for k in ('pass', 'fail', 'error')])]
    failed = [record for record in records if record['status'] != 'pass']
    if failed:
        rows = [(r.get('scan', ''), r['status'], '; '.join(r.get('reasons') or [])) for r in failed]
        parts.append(_table('Scans without an image', ('Scan', 'Verdict', 'Why'), rows))
    every = [reason for record in failed for reason in record.get('reasons') or []]
    reasons = Counter(reason.partition(' (')[0] for reason in every)  # without the numbers
    if len(failed) > 1:
        parts.append(_table('Reasons, the most frequent first', ('Reason', 'Scans'), reasons.most_common()))
    versions = Counter((str(r.get('version')), str(r.get('model_hash'))) for r in records if 'version' in r)
    if len(versions) > 1:
        parts.append(_text('These scans were made by different versions or weights: compare with care.'))
    return _section('Verdicts', *parts)


def _privacy_section(privacy: Privacy | None, without: str) -> str:
    title = 'Do outputs match their own originals?'
    if privacy is None:
        return _section(title, _text(without))
    introduction = (
        'Each output was compared with all originals: an attacker who has all of them, and the brain, would '
        'name the nearest. Intervals are of 95 %.'
    )
    heads = ('Attack', 'Outputs', 'Own original first', 'By guessing', 'AUC (guessing: 0.50)', 'Result')
    notes = [*privacy.notes(), *filter(None, [without])]
    return _section(title, _text(introduction), _table('Attacks', heads, privacy.rows()), *map(_text, notes))


def _outlier_section(output_dir: Path, records: list[dict[str, Any]], outliers: list[Outlier]) -> str:
    title = 'Look at these first'
    if not outliers:
        return _section(title, _text('There are too few scans to find outliers among them.'))
    passed = {r['scan'] for r in records if r['status'] == 'pass'}
    rows = [
        (o.scan, o.measure, o.value, o.median, f'{o.z:+.1f}' + ' outlier' * o.is_unusual)
        for o in outliers[:SHOWN]
    ]
    heads = ('Scan', 'Most unusual measure', 'Value', 'Median of all', 'Robust z')
    parts = [_table('Scans by their most unusual measure', heads, rows)]
    shown = [o.scan for o in outliers[: SHOWN // 2] if o.scan in passed]
    return _section(title, *parts, *_faces(output_dir, shown))


def _faces(output_dir: Path, scans: Iterable[str]) -> Iterable[str]:
    """Pictures of generated heads, as the pages of the subjects show them."""
    for scan in scans:
        name = Path(scan).name.partition('.')[0]
        picture = figure_path(output_dir, name, 'face')
        if picture.is_file():
            data = base64.b64encode(picture.read_bytes()).decode('ascii')
            caption = escape(f'{name}: {CAPTIONS["face"]}')
            yield (
                f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"/>'
                f'<figcaption>{caption}</figcaption></figure>'
            )


def _measure_section(records: list[dict[str, Any]]) -> str:
    limits = common_thresholds(record.get('fill') or '' for record in records if record.get('measures'))
    named = {name for record in records for name in record.get('measures') or {}}
    parts = []
    # Judged measures first, in the order of the verdict
    for name in [*(n for n in limits if n in named), *sorted(named - set(limits))]:
        measured = [(r.get('measures') or {}).get(name) for r in records]
        values = [float(value) for value in measured if value is not None and math.isfinite(value)]
        if not values:
            continue
        limit = limits.get(name)
        must = f'must be {_range(limit)}' if limit else 'not judged'
        low, high = (limit.low, limit.high) if limit else (-math.inf, math.inf)
        label = f'{name} of {len(values)} scans: {min(values):.4g} to {max(values):.4g}, {must}'
        parts += [f'<h3>{escape(name)}</h3>', _text(f'{len(values)} scans; {must}')]
        parts.append(histogram(values, low, high, label))
    if not parts:
        parts = [_text('No scan has been measured.')]
    note = f'Limits are those of version {__version__}. Red lines are limits, ticks are scans.'
    return _section('Distribution of every measure', _text(note), *parts, *_compared(records, limits))


def _compared(records: list[dict[str, Any]], limits: dict[str, Threshold]) -> Iterable[str]:
    """How many scans were within the limits of each measure that depends on the original head."""
    judged = [record.get('within_limits') or {} for record in records]
    names = sorted({name for within in judged for name in within})
    rows = []
    for name in names:
        counts = Counter(within[name] for within in judged if name in within)
        rows.append((name, _range(limits.get(name)), counts[True], counts[False]))
    if rows:
        yield _table(COMPARED, ('Measure', 'Must be', *(f'Scans {WITHIN[holds]}' for holds in WITHIN)), rows)
