"""The distribution of every measure of the verdict, beside its limit.

    python -m benchmarks.verdict_limits PRIVATE [PRIVATE ...] [--prepared PREPARED] [--every N]

PRIVATE is a folder of ``cpmae-bids --private-report-dir``, such as ``private-256`` in the folder of
`benchmarks.run`, or a work directory, with ``verdict.json`` below it: what the tool makes. The records of an
output lack the numbers that compare it with the original, and are passed over. A limit that such outputs
exceed is a false alarm. PREPARED is the file of ``cpmae-bids-train prepare`` at 2 mm: what real heads are
like, and how much two people differ. Each head, in the frame of its brain, is compared with the next one as
an output is with its original. N takes every Nth head of it.

Use outputs and heads of the training split: what a limit is drawn from must not be what it is tested with.
Numbers go to ``results/verdict_limits.json``; with those of `benchmarks.verdict_sabotage`, they make
``docs/verdict.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.contact_sheet import REPOSITORY
from benchmarks.scans import RESULTS, write_result
from cpmae_bids.deid.qc import verdict
from cpmae_bids.training.data import Head, decode_intensity, read_prepared

PERCENTILES = (0, 5, 50, 95, 100)
DOCS = REPOSITORY / 'docs' / 'verdict.md'

PROMISE = 'what the tool promises'
PEOPLE = 'between two people, and a person and himself'
WHERE_FROM = {
    'brain_ml': 'infants to the largest adults',
    'kept_per_brain': 'a guard rim of 2 mm adds a tenth to a third',
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
"""What each limit was drawn from; all others count what must not be."""


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
        yield verdict.compare_heads(
            _volume(one), _volume(other), other.brain, one.brain | other.brain, one.fov & other.fov
        )


def _volume(head: Head) -> np.ndarray:
    return np.where(head.brain, np.float32(1), decode_intensity(head.image))


def summarise(measures: list[dict[str, float]], limit: verdict.Limit) -> dict | None:
    """Distribution of a measure, how many values lie beyond the limit, and how far off it is.

    Returns
    -------
    summary : dict or None
        ``number``, ``percentiles``, ``beyond`` and ``margin``: distance of the nearer limit from the median
        in robust standard deviations. None if nobody has the measure.
    """
    found = [one.get(limit.measure) for one in measures]
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


def table(numbers: dict, sabotages: dict[str, dict]) -> str:
    """Markdown: a row for each limit, with what it catches."""
    lines = [
        '| measure | limit | drawn from | outputs | false alarms | real heads | beyond | catches |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for name, row in numbers.items():
        low, high = row['limit']
        limit = f'≤ {high:g}' if low is None else f'≥ {low:g}' if high is None else f'{low:g} to {high:g}'
        cells = []
        for kind in ('outputs', 'real_heads'):
            found = row[kind]
            if found is None:
                cells += ['–', '–']
                continue
            least, _, median, _, most = found['percentiles']
            cells += [f'{least:g} … {median:g} … {most:g}', f'{found["beyond"]} of {found["number"]}']
        caught = '; '.join(what for what, one in sabotages.items() if name in one['fired'])
        cells = [limit if high != 0 else '0', WHERE_FROM.get(name, PROMISE), *cells, caught or '–']
        lines.append(f'| `{name}` | {" | ".join(cells)} |')
    return '\n'.join(lines)


PAGE = """\
# The limits of the verdict

Written by `python -m benchmarks.verdict_limits PRIVATE --prepared PREPARED`. [outputs.md](outputs.md) says
what each measure means.

* *outputs*: least, median and largest value of {outputs} outputs of heads that nothing was trained on, and
  how many lie beyond the limit: a false alarm each. The limits were chosen before, from 12 outputs of
  training heads and what the sabotages do, but for two: that of `air_busy_ratio` was lowered, from 0.5 to
  0.3, after one of these outputs was refused by it; that of `detail_correlation` was widened, from 0.6 to
  0.75, since outputs around averaged heads came near it.
* *real heads*: the same of {real} real training heads as they are (6 bits, no noise in the air). Where a
  measure compares two heads, each is compared with another person's, in the frame of the brains.
* *catches*: what was done to an output of a test head that this check noticed
  (`python -m benchmarks.verdict_sabotage T1W WORK`); the honest output passes.

These are numbers of research data. Of other scans, those that compare with the original are not told
([outputs.md](outputs.md#what-of-it-is-published)). If one of `detail_correlation`, `surface_moved_mm`,
`surface_same_share` and `code_agreement` fails, all scans that share the generated head are withdrawn, with
one reason that names none of them.

{table}

`tests/test_verdict.py` breaks a phantom in the same ways and more;
`pytest -m exhaustive tests/test_verdict_heads.py` repeats the sabotages on a real head, where
`CPMAE_TEST_HEADS` names a dataset.

cpmae-bids {version}.
"""


def write_docs(content: dict, sabotages: dict[str, dict]) -> None:
    """Write ``docs/verdict.md``."""
    page = PAGE.format(
        outputs=content['outputs'],
        real=content['real_heads'],
        table=table(content['measures'], sabotages),
        version=content['version'],
    )
    DOCS.write_text(page, encoding='utf-8')


def main(argv: list[str] | None = None) -> None:
    """Write the numbers and the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('private', type=Path, nargs='+', metavar='PRIVATE')
    parser.add_argument('--prepared', type=Path)
    parser.add_argument('--every', type=int, default=1, metavar='N')
    args = parser.parse_args(argv)
    outputs = [measures for folder in args.private for measures in read_measures(folder)]
    if not outputs:
        parser.error('no verdict with all numbers in these folders')
    real = list(real_heads(args.prepared, args.every)) if args.prepared else []
    numbers = {
        limit.measure: {
            'limit': [None if np.isinf(bound) else bound for bound in (limit.low, limit.high)],
            'outputs': summarise(outputs, limit),
            'real_heads': summarise(real, limit),
        }
        for limit in verdict.LIMITS
    }
    content = {'outputs': len(outputs), 'real_heads': len(real), 'percentiles': PERCENTILES}
    path = write_result('verdict_limits', {**content, 'measures': numbers})
    sabotages = RESULTS / 'verdict_sabotage.json'
    found = json.loads(sabotages.read_text('utf-8'))['sabotages'] if sabotages.exists() else {}
    write_docs(json.loads(path.read_text('utf-8')), found)
    print(path)


if __name__ == '__main__':
    main()
