"""Tables of all verdicts: that of each run, and that of the group level with what its columns mean."""

import math
from pathlib import Path
from typing import Any

from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.tsv import Table
from cpmae_bids.deid.qc.thresholds import common_thresholds, is_public

TABLE = 'group_verdicts.tsv'

_COLUMNS = {
    'scan': 'Path of the scan in its dataset',
    'status': 'Verdict',
    'reasons': 'Why the scan did not pass',
    'version': 'Version of cpmae-bids',
    'model_hash': 'Hash of the weights',
    'preset': 'Resolution at which detail was drawn: 256 (1 mm) or 128 (2 mm)',
    'seed': 'Seed of the scan',
    'steps': 'Refinement steps',
    'template': 'Template that the brain was aligned to',
    'reference': 'Scan of the subject around whose brain the head was generated',
    't1w': 'T1w scan by which the brain of another contrast was found',
    'fill': 'What lies around the brain of another contrast',
    'most_unusual': 'The measure in which the scan differs most from the others',
    'robust_z': 'How much: distance from the median in robust standard deviations',
}
_OF_CONTRASTS = ('t1w', 'fill')
_OF_OUTLIERS = ('most_unusual', 'robust_z')
_STATUS_LEVELS = {
    'pass': 'An image was published',
    'fail': 'The result was judged and did not pass; no image',
    'error': 'The scan could not be processed, or its files are not those of its record',
}

_WITHIN_LEVELS = {
    'true': 'Within; the number depends on the original head and is not published',
    'false': 'Beyond, or not measured',
}


def write_run_table(output_dir: Path, records: list[dict[str, Any]]) -> Path:
    """Write ``logs/verdicts.tsv``: a row for each record, a column for each measure; return its path."""
    path = output_dir / 'logs' / 'verdicts.tsv'
    OutputFolder(output_dir).write(path, _table(records).text())
    return path


def write_group_table(output_dir: Path, records: list[dict[str, Any]], outliers: list) -> Path:
    """Write ``group_verdicts.tsv`` and the JSON file that describes its columns; return the table's path."""
    unusual = {outlier.scan: {'most_unusual': outlier.measure, 'robust_z': outlier.z} for outlier in outliers}
    table = _table(records, unusual)
    path = output_dir / TABLE
    folder = OutputFolder(output_dir)
    folder.write(path.with_suffix('.json'), to_json(_describe(table.columns, records)))
    folder.write(path, table.text())
    return path


def _table(records: list[dict[str, Any]], unusual: dict[str, dict[str, Any]] | None = None) -> Table:
    """Build a row for each record, with columns about outliers if `unusual` has their values by scan."""
    has_contrasts = any(record.get('t1w') for record in records)
    columns = [name for name in _COLUMNS if has_contrasts or name not in _OF_CONTRASTS]
    columns = [name for name in columns if unusual is not None or name not in _OF_OUTLIERS]
    measures = sorted({name for record in records for name in _measured(record)})
    rows = []
    for record in sorted(records, key=lambda record: str(record.get('scan'))):
        row = {**record, 'reasons': '; '.join(record.get('reasons', []))}
        row |= (unusual or {}).get(str(record.get('scan')), {})
        found = _measured(record)
        rows.append([_cell(value) for value in (*map(row.get, columns), *map(found.get, measures))])
    return Table([*columns, *measures], rows)


def _describe(names: list[str], records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    columns: dict[str, dict[str, Any]] = {
        name: {'Description': _COLUMNS[name]} for name in names if name in _COLUMNS
    }
    measures = [name for name in names if name not in _COLUMNS]
    columns['status']['Levels'] = _STATUS_LEVELS
    for name in measures:
        having = [record for record in records if _measured(record).get(name) is not None]
        limit = common_thresholds(record.get('fill') or '' for record in having).get(name)
        if not is_public(name):
            limits = f' ({limit.low:g} to {limit.high:g}); if not: {limit.meaning}' if limit else ''
            columns[name] = {
                'Description': f'Whether it lay within its limits{limits}',
                'Levels': _WITHIN_LEVELS,
            }
            continue
        if limit is None:
            columns[name] = {'Description': 'Measured, and not judged, or not in all scans alike'}
            continue
        columns[name] = {'Description': f'Out of range, it means: {limit.meaning}'}
        bounds = (('Minimum', limit.low), ('Maximum', limit.high))
        columns[name] |= {key: float(bound) for key, bound in bounds if math.isfinite(bound)}
    return columns


def _measured(record: dict[str, Any]) -> dict[str, Any]:
    """What a public record says of each measure: a number, or whether it was within its limits."""
    return record.get('measures', {}) | record.get('within_limits', {})


def _cell(value: Any) -> str:
    """Format a value for BIDS TSV: one line, ``n/a`` for what is missing."""
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, float):
        value = f'{value:.6g}'
    text = ' '.join(str(value).split()) if value is not None else ''
    return text or 'n/a'
