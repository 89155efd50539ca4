"""De-identify the test heads and count: verdicts, brain voxels changed, BIDS errors.

    python -m benchmarks.run_test_split OUTPUT [HEADS] [--split test] [-- OPTIONS OF cpmae-bids]

HEADS is a BIDS dataset whose ``participants.tsv`` has a column ``split`` (default: $CPMAE_TEST_HEADS).
OUTPUT, the derivatives dataset, stays for `benchmarks.contact_sheet` and `benchmarks.face_detection`. The
voxels are counted here again with nibabel, by none of the code that gives the verdicts; with ``--also``,
those of other contrasts too.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.contact_sheet import REPOSITORY, refuse_shared
from benchmarks.scans import command_line, find_t1w, read_split, write_result
from cpmae_bids.bids.validation import validate_bids

HEADER_FIELDS = (
    'dim',
    'datatype',
    'pixdim',
    'scl_slope',
    'scl_inter',
    'xyzt_units',
    'qform_code',
    'sform_code',
    'quatern_b',
    'quatern_c',
    'quatern_d',
    'qoffset_x',
    'qoffset_y',
    'qoffset_z',
    'srow_x',
    'srow_y',
    'srow_z',
)


def header_changed(before: nib.Nifti1Header, after: nib.Nifti1Header) -> int:
    """Number of `HEADER_FIELDS` that differ; the sizes of axes that are not there are scrubbed on purpose."""
    sizes = slice(4)
    return sum(
        not np.array_equal(
            *(one[field][sizes if field == 'pixdim' else ...] for one in (before, after)), equal_nan=True
        )
        for field in HEADER_FIELDS
    )


def compare(original: Path, refaced: Path, kept_mask: Path) -> dict[str, float]:
    """Compare stored values and header of a scan with those of its refaced version.

    Parameters
    ----------
    original, refaced, kept_mask : Path
        NIfTI files on one grid.

    Returns
    -------
    dict
        ``kept``: voxels inside the mask, and ``kept_ml`` their volume. ``kept_changed``: how many of them
        differ. ``outside_same``: share of the voxels outside the mask that are not air (above a tenth of the
        mean kept value) and still have their value. ``header_changed``: header fields that differ.
    """
    before, after, mask = nib.load(original), nib.load(refaced), nib.load(kept_mask)
    raw_before, raw_after = (np.asanyarray(image.dataobj.get_unscaled()) for image in (before, after))
    if raw_before.shape != raw_after.shape or raw_before.dtype != raw_after.dtype:
        raise ValueError(f'{refaced}: another shape or data type than {original}')
    kept = np.asanyarray(mask.dataobj) > 0
    values = np.asanyarray(before.dataobj)
    tissue = ~kept & (values > values[kept].mean() / 10)
    same = raw_before == raw_after
    return {
        'kept': int(kept.sum()),
        'kept_changed': int((kept & ~same).sum()),
        'kept_ml': float(kept.sum() * abs(np.linalg.det(before.affine[:3, :3])) / 1000),
        'outside_same': float(same[tissue].mean()),
        'header_changed': header_changed(before.header, after.header),
    }


def run(heads: Path, output: Path, labels: set[str], options: list[str]) -> tuple[int, float]:
    """Run cpmae-bids on some participants; exit code and wall time in seconds."""
    participants = sorted(label.removeprefix('sub-') for label in labels)
    command = [sys.executable, '-m', 'cpmae_bids', str(heads), str(output), 'participant']
    start = time.perf_counter()
    done = subprocess.run([*command, '--participant-label', *participants, *options], check=False)
    return done.returncode, time.perf_counter() - start


def images(heads: Path, output: Path, labels: set[str]) -> Iterator[tuple[Path, Path, Path]]:
    """Each image of these participants: original, refaced, and mask of the preserved region."""
    for refaced in sorted(output.rglob('*_desc-refaced_*.nii.gz')):
        start, _, rest = refaced.name.partition('_desc-refaced_')
        suffix = rest.partition('.')[0]
        of = '' if suffix == 'T1w' else suffix
        folder = heads / refaced.relative_to(output).parent
        for original in folder.glob(f'{start}_{suffix}.nii*'):
            if start.partition('_')[0] in labels:
                yield original, refaced, refaced.with_name(f'{start}_desc-brain{of}_mask.nii.gz')


def count(heads: Path, output: Path, labels: set[str]) -> dict:
    """Numbers of a finished run; see `compare` for those of a scan."""
    records = {
        path.stem: json.loads(path.read_text(encoding='utf-8'))
        for path in output.glob('logs/verdicts/*.json')
        if path.name.partition('_')[0] in labels
    }
    statuses = collections.Counter(record['status'] for record in records.values())
    found = [compare(*image) for image in images(heads, output, labels)]
    t1w = [path.name.partition('.')[0] for path in find_t1w(heads, labels)]
    return {
        'scans': len(records.keys() | set(t1w)),
        't1w': len(t1w),
        'images': len(found),
        'verdicts': {status: statuses[status] for status in ('pass', 'fail', 'error')},
        'without_record': len(set(t1w) - records.keys()),
        'kept_voxels': sum(one['kept'] for one in found),
        'kept_voxels_changed': sum(one['kept_changed'] for one in found),
        'kept_ml_smallest': round(min((one['kept_ml'] for one in found), default=0.0)),
        'kept_ml_largest': round(max((one['kept_ml'] for one in found), default=0.0)),
        'outside_tissue_same_largest': round(max((one['outside_same'] for one in found), default=0.0), 4),
        'header_fields_changed': sum(one['header_changed'] for one in found),
        'validator_errors': len(validate_bids(output)),
    }


def main(argv: list[str] | None = None) -> None:
    """Run, count and write ``results/test_split.json``."""
    argv = sys.argv[1:] if argv is None else argv
    own, options = (argv[: argv.index('--')], argv[argv.index('--') + 1 :]) if '--' in argv else (argv, [])
    parser = command_line(__doc__)
    parser.add_argument('output', type=Path, help='derivatives dataset to write, outside of the repository')
    parser.add_argument('heads', type=Path, nargs='?', default=os.environ.get('CPMAE_TEST_HEADS'))
    parser.add_argument('--split', default='test')
    args = parser.parse_args(own)
    if args.heads is None:
        parser.error('name the heads, or set CPMAE_TEST_HEADS')
    try:
        refuse_shared(args.output, REPOSITORY)
    except ValueError as error:
        parser.error(str(error))

    labels = read_split(args.heads / 'participants.tsv', args.split)
    code, seconds = run(args.heads, args.output, labels, options)
    numbers = {
        'exit_code': code,
        'seconds': round(seconds),
        **count(args.heads, args.output, labels),
    }
    print(json.dumps(numbers, indent=2))
    print(write_result('test_split', numbers))


if __name__ == '__main__':
    main()
