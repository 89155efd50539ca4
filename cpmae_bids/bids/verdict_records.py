"""Verdict records: one JSON file in ``logs/verdicts`` for each scan.

A record is the verdict together with what made it, so that a later run can tell whether the outputs are
still good.
"""

import glob
from pathlib import Path
from typing import Any

from cpmae_bids._version import __version__
from cpmae_bids.bids.atomic import crc32_of, sha256_of
from cpmae_bids.bids.jsontext import read_json, to_json
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.deid.qc.decision import rejects_head
from cpmae_bids.deid.qc.thresholds import common_thresholds, is_public
from cpmae_bids.exceptions import VerdictError

STATUSES = ('pass', 'fail', 'error')
_FORM = {'scan': str, 'reasons': list, 'measures': dict, 'within_limits': dict, 'files': dict, 'fill': str}
OF_AN_IMAGE = ('files', 'judged', 'measures', 'within_limits')  # fields of a record that go with the image

HEAD_REJECTED = (
    'the generated head was rejected: run all scans of the subject again with another --seed '
    '(--private-report-dir has the numbers)'
)
HEAD_UNDECIDED = 'its head was rejected before, and was not judged again; run again'
_OF_A_HEAD = ('version', 'model_hash', 'preset', 'seed', 'steps', 'reference')
# All that a record may hold: checksums of originals identify them, and so may what earlier versions measured
_PUBLISHED = frozenset((
    *('scan', 'status', 'reasons', 'head_rejected', *OF_AN_IMAGE, *_OF_A_HEAD, 'template', 'head_statistics'),
    *('t1w', 'fill', 'first_echo', 'given_brain_masks'),
))  # fmt: skip


def settings_of(scan: Scan, config: RunConfig) -> dict[str, Any]:
    """Return what decides the outputs of a scan, apart from the scan itself."""
    settings = {
        'version': __version__,
        'model_hash': config.model_hash,
        'preset': config.preset,
        'seed': scan.seed,
        'steps': config.steps,
        'reference': scan.reference_path,
    }
    if scan.first_echo is not None:
        settings['first_echo'] = scan.first_echo.relative_path
    if given := scan.given_brain_masks:
        settings['given_brain_masks'] = given
    if scan.t1w is not None:
        settings |= {'t1w': scan.t1w.relative_path, 'fill': config.also_fill}
    return settings


def record_path(output_dir: Path, name: str) -> Path:
    """Return the path of the record of the scan with that `Scan.name`."""
    return output_dir / 'logs' / 'verdicts' / f'{name}.json'


def identify(source: Path, files: dict[str, Path]) -> dict[str, Any]:
    """Return what ties a verdict to its files: ``source_crc32``, never published, and SHA-256 (``judged``).

    `source` is the original; `files` are the images 'refaced', 'defacemask' and 'brainmask' (the preserved
    region).
    """
    return {
        'source_crc32': crc32_of(source),
        'judged': {kind: sha256_of(path) for kind, path in files.items()},
    }


def public_form(verdict: dict[str, Any]) -> dict[str, Any]:
    """Return what of a verdict may be published; a public form stays as it is.

    ``measures`` has the numbers that may be published; ``within_limits`` says of the others whether they
    passed. The checksum, which identifies the original, and all that no record has are gone. Of a head that
    resembles its original it says only that it was rejected.
    """
    public = {key: value for key, value in verdict.items() if key in _PUBLISHED}
    if rejects_head(verdict):
        return rejected(public)
    if verdict.get('status') != 'pass':
        public.pop('judged', None)  # of images that are not published
    if 'measures' not in verdict:
        return public
    measures = verdict['measures']
    within = verdict.get('within_limits', {}) | {
        name: row.holds(measures[name])
        for name, row in common_thresholds([verdict.get('fill') or '']).items()
        if name in measures and not is_public(name)
    }
    numbers = {name: value for name, value in measures.items() if is_public(name)}
    return public | {'measures': numbers, 'within_limits': within}


def rejected(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a scan whose head was rejected, with the same neutral reason for all scans.

    The seed reproduces the head, so that a reason would tell how it resembles the original.
    """
    kept = {key: v for key, v in record.items() if key not in (*OF_AN_IMAGE, 'head_rejected')}
    return kept | {'status': 'fail', 'reasons': [HEAD_REJECTED]}


def is_rejected(record: dict[str, Any]) -> bool:
    """Whether a head was rejected by the scan of a record, or before it ended with an error."""
    return record.get('reasons') == [HEAD_REJECTED] or bool(record.get('head_rejected'))


def is_undecided(record: dict[str, Any]) -> bool:
    """Whether a head was rejected before, and is being judged again, or was to be."""
    return record.get('reasons') == [HEAD_UNDECIDED]


def have_one_head(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two records are of scans with one generated head: the same model, seed and brain made it."""
    return all(first.get(key) == second.get(key) for key in _OF_A_HEAD)


def make_record(scan: Scan, config: RunConfig, verdict: dict[str, Any]) -> dict[str, Any]:
    """Complete a verdict, with ``status`` and ``reasons``, to the record of a scan, in its public form.

    Raises VerdictError if the verdict is of another scan or other settings, has no valid status, or is a
    failure without a reason.
    """
    ours = {'scan': scan.relative_path, **settings_of(scan, config)}
    for key, value in ours.items():
        if key in verdict and str(verdict[key]) != str(value):
            raise VerdictError(
                f'{scan.relative_path}: the verdict is for {key} {verdict[key]!r} instead of {value!r}; '
                'use a fresh --work-dir'
            )
    public = public_form(verdict)
    status, reasons = public.get('status'), list(public.get('reasons', []))
    if status not in STATUSES or (status != 'pass' and not reasons):
        raise VerdictError(f'{scan.relative_path}: no usable verdict ({status!r}, reasons {reasons!r})')
    return {**public, **ours, 'status': status, 'reasons': reasons}


def write_record(output_dir: Path, name: str, record: dict[str, Any]) -> None:
    """Write the record of a scan."""
    OutputFolder(output_dir).write(record_path(output_dir, name), to_json(dict(sorted(record.items()))))


def read_record(output_dir: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a scan, or None if there is none that can be read."""
    try:
        record = read_json(record_path(output_dir, name))
    except (OSError, ValueError):
        return None
    return record if _is_record(record) else None


def _is_record(content: Any) -> bool:
    """Whether a JSON file holds what is written into a record: people change files, and so do versions."""
    return (
        isinstance(content, dict)
        and content.keys() >= {'scan', 'status'}
        and content['status'] in STATUSES
        and all(isinstance(content.get(key, kind()), kind) for key, kind in _FORM.items())
        and Path(content['scan']).name != ''
        and all(isinstance(value, float | int | None) for value in content.get('measures', {}).values())
        and all(isinstance(value, bool) for value in content.get('within_limits', {}).values())
    )


def read_records(output_dir: Path, subject: str = '') -> dict[str, dict[str, Any]]:
    """Return the public records of an output, or of one subject, by the names of their scans, sorted."""
    pattern = f'sub-{glob.escape(subject)}_*.json' if subject else '[!.]*.json'
    names = sorted(path.stem for path in record_path(output_dir, '*').parent.glob(pattern))
    return {
        name: public_form(record) for name in names if (record := read_record(output_dir, name)) is not None
    }
