"""The distribution of every measure of the verdict, beside its limit.

    python -m benchmarks.verdict_limits PRIVATE [PRIVATE ...] [--prepared PREPARED] [--every N]

PRIVATE is a folder of ``cpmae-bids --private-report-dir``, such as ``private-256`` in the folder of
`benchmarks.run`, or a work directory, with ``verdict.json`` below it: what the tool makes. The records of an
output lack the numbers that compare it with the original, and are passed over. A limit that such outputs
exceed is a false alarm. PREPARED is the file of ``cpmae-bids-train prepare`` at 2 mm: what real heads are
like, and how much two people differ; without it, their earlier numbers stay. Each head, in the frame of its
brain, is compared with the next one as an output is with its original. N takes every Nth head of it.

Use outputs and heads of the training split: what a limit is drawn from must not be what it is tested with.
Numbers go to ``results/verdict_limits.json``; with those of `benchmarks.verdict_sabotage`, they make the
table in ``docs/verdict.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.contact_sheet import REPOSITORY
from benchmarks.provenance import Provenance, remarks
from benchmarks.scans import RESULTS, command_line, write_result
from cpmae_bids.deid.images.intensity import from_levels
from cpmae_bids.deid.qc.head_metrics import compare_heads
from cpmae_bids.deid.qc.thresholds import Threshold, thresholds_of
from cpmae_bids.training.data import Head, read_prepared

PERCENTILES = (0, 5, 50, 95, 100)
DOCS = REPOSITORY / 'docs' / 'verdict.md'
BEGIN, END = '<!-- limits: python -m benchmarks.verdict_limits -->', '<!-- end of limits -->'

PEOPLE = 'pairs of people'
WHERE_FROM = {
    'brain_ml': 'infants to the largest adults',
    'kept_per_brain': 'a rim of 2 mm adds a tenth to a third',
    'kept_far_ml': 'at most 0.3 ml in 139 training heads; a nose or an ear is 50',
    'kept_near_air_ml': '`benchmarks.swallowed_scalp`',
    'volume_by_interior': '`benchmarks.swallowed_scalp`',
    'template_overlap': '`benchmarks.turned_headers`',
    'template_correlation': '`benchmarks.turned_headers`',
    'rotation_deg': 'a head in a coil does not turn further',
    'stretch_min': 'small children to large adults',
    'stretch_max': 'small children to large adults',
    'unchanged_tissue_share': 'equal values by chance; a tenth of a head is an ear or a cheek',
    'unchanged_region_share': 'equal values by chance, in the worst block of 16 mm',
    'detail_correlation': PEOPLE,
    'surface_moved_mm': PEOPLE,
    'surface_same_share': PEOPLE,
    'code_agreement': 'outputs',
    'head_per_brain': 'the tightest field of view',
    'head_volume_ratio': PEOPLE,
    'nose_share': 'real heads, and heads after pydeface',
    'face_distance_mm': '`benchmarks.face_depth`',
    'face_relief': 'the detector of `cpmae-bids-audit`; real heads',
    'head_brightness': 'real heads',
    'head_contrast': 'real heads',
    'stray_tissue_share': 'outputs',
    'far_tissue_share': 'real heads',
    'vault_closed_share': 'real heads',
    'surface_roughness': 'real heads',
    'seam_ratio': 'outputs',
    'air_busy_ratio': 'outputs',
    'air_p95_change': 'outputs',
}
"""What each limit was derived from; all others count what must not be."""


def read_measures(folder: Path) -> list[dict[str, float]]:
    """Measures of all verdicts with all numbers under a folder, passed or not."""
    paths = [path for path in sorted(folder.rglob('*.json')) if _holds(path)]
    records = [json.loads(path.read_text('utf-8')) for path in paths]
    return [r['measures'] for r in records if r.get('measures') and 'within_limits' not in r]


def _holds(path: Path) -> bool:
    return path.name.startswith('verdict') or path.with_suffix('.html').exists()


def real_heads(path: Path, every: int = 1) -> Iterator[dict[str, float]]:
    """Measures of real heads, each with the one before it in place of its original."""
    heads = read_prepared(path)[::every]
    for one, other in zip(heads, heads[1:] + heads[:1], strict=True):
        yield compare_heads(
            _volume(one), _volume(other), other.brain, one.brain | other.brain, one.fov & other.fov
        )


def _volume(head: Head) -> np.ndarray:
    return np.where(head.brain, np.float32(1), from_levels(head.image))


def summarise(measures: list[dict[str, float]], limit: Threshold) -> dict | None:
    """Distribution of a measure, how many values lie beyond the limit, and how far off it is.

    Returns
    -------
    summary : dict or None
        ``number``, ``percentiles``, ``beyond`` and ``margin``: distance of the nearer limit from the median
        in robust standard deviations. None if nobody has the measure.
    """
    found = [one.get(limit.metric) for one in measures]
    values = np.array([value for value in found if value is not None], float)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    median = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - median))
    room = min(limit.high - median, median - limit.low)
    return {
        'number': int(values.size),
        'percentiles': [float(f'{value:.3g}') for value in np.percentile(values, PERCENTILES)],
        'beyond': int(((values < limit.low) | (values > limit.high)).sum()),
        'margin': round(float(room / spread), 1) if spread > 0 and np.isfinite(room) else None,
    }


def table(numbers: dict, sabotages: dict[str, dict]) -> list[str]:
    """Lines of Markdown: a row for each limit that was derived from heads."""
    lines = ['| metric | derived from | outputs | real heads | catches |', '|---|---|---|---|---|']
    for name, row in numbers.items():
        if name not in WHERE_FROM:
            continue
        caught = sum(name in one['fired'] for one in sabotages.values())
        cells = [_distribution(row[kind]) for kind in ('outputs', 'real_heads')]
        lines.append(f'| `{name}` | {" | ".join([WHERE_FROM[name], *cells, str(caught or "–")])} |')
    return lines


def _distribution(found: dict | None) -> str:
    if found is None:
        return '–'
    least, _, median, _, most = found['percentiles']
    beyond = f', **{found["beyond"]} beyond**' if found['beyond'] else ''
    return f'{least:g} … {median:g} … {most:g}{beyond}'


def insert(page: str, content: dict, sabotages: dict[str, dict]) -> str:
    """The page with a table of these numbers between its marks."""
    before, _, rest = page.partition(BEGIN)
    about = ' '.join(remarks([Provenance.read(one) for one in content.get('provenance', ())]))
    manipulations = sum(name != 'honest' for name in sabotages)
    then = '' if content.get('real_heads_measured_now', True) else ' (measured by earlier code)'
    about += (
        f' {content["outputs"]} outputs, {content["real_heads"]} real heads{then},'
        f' {manipulations} manipulations.'
    )
    lines = [BEGIN, '', about, '', *table(content['measures'], sabotages), '', END]
    return before + '\n'.join(lines) + rest.partition(END)[2]


def main(argv: list[str] | None = None) -> None:
    """Write the numbers and the page."""
    parser = command_line(__doc__)
    parser.add_argument('private', type=Path, nargs='+', metavar='PRIVATE')
    parser.add_argument('--prepared', type=Path)
    parser.add_argument('--every', type=int, default=1, metavar='N')
    args = parser.parse_args(argv)
    outputs = [measures for folder in args.private for measures in read_measures(folder)]
    if not outputs:
        parser.error('no verdict with all numbers in these folders')
    real = list(real_heads(args.prepared, args.every)) if args.prepared else []
    # what real heads are like does not depend on weights
    earlier = {} if real else json.loads((RESULTS / 'verdict_limits.json').read_text('utf-8'))
    before = earlier.get('measures', {})
    numbers = {
        limit.metric: {
            'limit': [None if np.isinf(bound) else bound for bound in (limit.low, limit.high)],
            'outputs': summarise(outputs, limit),
            'real_heads': summarise(real, limit) if real else before.get(limit.metric, {}).get('real_heads'),
        }
        for limit in thresholds_of('')
    }
    content = {
        'outputs': len(outputs),
        'real_heads': len(real) or earlier.get('real_heads', 0),
        'real_heads_measured_now': bool(real),
        'percentiles': PERCENTILES,
    }
    path = write_result('verdict_limits', {**content, 'measures': numbers})
    sabotages = RESULTS / 'verdict_sabotage.json'
    found = json.loads(sabotages.read_text('utf-8'))['sabotages'] if sabotages.exists() else {}
    content = json.loads(path.read_text('utf-8'))
    DOCS.write_text(insert(DOCS.read_text('utf-8'), content, found), encoding='utf-8')
    print(path)


if __name__ == '__main__':
    main()
