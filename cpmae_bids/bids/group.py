"""The table of all scans that the group level writes, and what its columns mean."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.records import _cell, leading_columns, measured
from cpmae_bids.deid.qc.thresholds import common_thresholds, is_public

TABLE = 'group_verdicts.tsv'
IGNORED = 'group_verdicts.*'
"""Pattern for .bidsignore: BIDS has no name for such a table in derivatives."""

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
_STATUS_LEVELS = {
    'pass': 'An image was published',
    'fail': 'The result was judged and did not pass; no image',
    'error': 'The scan could not be processed, or its files are not those of its record',
}

_WITHIN_LEVELS = {
    'true': 'Within; the number depends on the original head and is not published',
    'false': 'Beyond, or not measured',
}


def write_group_table(output_dir: Path, records: list[dict[str, Any]], outliers: list) -> Path:
    """Write ``group_verdicts.tsv`` and the JSON file that describes its columns.

    Parameters
    ----------
    output_dir : Path
    records : list of dict
    outliers : list of Outlier
        See `cpmae_bids.sharing.audit.outliers`.

    Returns
    -------
    Path
        The table.
    """
    measures = sorted({name for record in records for name in measured(record)})
    unusual = {outlier.scan: outlier for outlier in outliers}
    text = io.StringIO()
    writer = csv.writer(text, delimiter='\t', lineterminator='\n')
    leading = leading_columns(records)
    writer.writerow([*leading, 'most_unusual', 'robust_z', *measures])
    for record in sorted(records, key=lambda record: str(record.get('scan'))):
        row = {**record, 'reasons': '; '.join(record.get('reasons', []))}
        outlier = unusual.get(record.get('scan'))
        cells = [row.get(key) for key in leading]
        cells += [outlier.measure, outlier.z] if outlier else [None, None]
        cells += [measured(record).get(name) for name in measures]
        writer.writerow(_cell(value) for value in cells)
    path = output_dir / TABLE
    folder = OutputFolder(output_dir)
    folder.write(path.with_suffix('.json'), to_json(_describe(leading, measures, records)))
    folder.write(path, text.getvalue())
    _ignore(output_dir)
    return path


def _describe(
    leading: tuple[str, ...], measures: list[str], records: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    names = (*leading, 'most_unusual', 'robust_z')
    columns: dict[str, dict[str, Any]] = {name: {'Description': _COLUMNS[name]} for name in names}
    columns['status']['Levels'] = _STATUS_LEVELS
    for name in measures:
        having = [record for record in records if measured(record).get(name) is not None]
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


def _ignore(output_dir: Path) -> None:
    """Have validators pass the table over, in outputs of earlier versions too."""
    path = output_dir / '.bidsignore'
    lines = path.read_text('utf-8').splitlines() if path.is_file() else []
    if IGNORED not in lines:
        OutputFolder(output_dir).write(path, '\n'.join([*lines, IGNORED, '']))
