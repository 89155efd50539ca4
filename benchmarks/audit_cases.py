"""``cpmae-bids-audit`` at work on heads that show faces, on outputs, and on outputs that were tampered with.

    python -m benchmarks.audit_cases HEADS OUT [--nprocs 2]

HEADS is a BIDS dataset of originals, OUT the outputs of cpmae-bids from it. The cases:

``originals``  HEADS: every image must be named.
``outputs``    OUT with its originals: no image named, no alarm.
``slipped``    a copy of OUT with one original under the name of its output: that one named, no other.
``leaking``    a copy of OUT in which every output is its original, bent by about 3 mm and noised, and vouched
               for by a forged record: no image named, but an alarm of both attacks.

Copies are private and removed. Numbers go to ``results/audit_cases.json``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks.scans import command_line, write_result
from cpmae_bids.bids.atomic import sha256_of
from cpmae_bids.bids.patterns import output_path
from cpmae_bids.bids.verdict_records import read_records
from cpmae_bids.cli.audit import main as audit

BEND_MM, SMOOTH_MM = 1.5, 20.0
"""Standard deviation of a bend along each axis, and of the Gaussian that makes it smooth."""

NOISE = 0.02
"""Standard deviation of the noise, as a share of the brightest voxel."""


def run(folder: Path, report: Path, *options: str) -> dict:
    """Exit code, counts of findings, and the privacy audit if it was asked for."""
    code = audit([str(folder), '--json', str(report), *options])
    content = json.loads(report.read_text('utf-8'))
    counts = Counter(image['finding'] for image in content['images'])
    result = {'exit_code': code, 'images': len(content['images']), 'found': dict(sorted(counts.items()))}
    if 'privacy' in content:
        result |= {'attacks': content['privacy']['attacks'], 'alarms': len(content['privacy']['alarms'])}
    named = [image['path'] for image in content['images'] if image['finding'] not in ('passed', 'clear')]
    return result | {'named': named}


def bend(source: Path, target: Path, seed: int) -> None:
    """Write a scan that is bent and noised."""
    image = nib.load(source)
    values, sizes = np.asarray(image.dataobj, np.float32), np.array(image.header.get_zooms()[:3])
    rng = np.random.default_rng(seed)
    index = np.indices(values.shape, dtype=np.float32)
    for axis, size in enumerate(sizes):
        shift = ndimage.gaussian_filter(rng.standard_normal(values.shape, np.float32), SMOOTH_MM / sizes)
        index[axis] += shift / shift.std() * BEND_MM / size
    bent = ndimage.map_coordinates(values, index, order=1, mode='nearest')
    bent += NOISE * values.max() * rng.standard_normal(values.shape, np.float32)
    bent = np.clip(bent, values.min(), values.max()).astype(image.get_data_dtype())
    nib.save(nib.Nifti1Image(bent, image.affine, image.header), target)


def slip(heads: Path, out: Path) -> str:
    """Put one original under the name of its output; which."""
    scan = sorted(record['scan'] for record in read_records(out).values() if record['status'] == 'pass')[0]
    target = output_path(scan, 'refaced').as_posix()
    shutil.copyfile(heads / scan, out / target)
    return target


def leak(heads: Path, out: Path) -> None:
    """Put bent originals in place of all outputs, and forge the records."""
    for name, record in read_records(out).items():
        if record['status'] != 'pass':
            continue
        target = output_path(record['scan'], 'refaced').as_posix()
        bend(heads / record['scan'], out / target, seed=int(record['seed']))
        record['files'][target] = sha256_of(out / target)
        (out / 'logs' / 'verdicts' / f'{name}.json').write_text(json.dumps(record), encoding='utf-8')


def main(argv: list[str] | None = None) -> None:
    """Run all cases."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--nprocs', default='1')
    args = parser.parse_args(argv)
    processes, originals = ('--nprocs', args.nprocs), ('--originals', str(args.heads))
    with tempfile.TemporaryDirectory() as folder:
        report, copy = Path(folder, 'report.json'), Path(folder, 'out')
        cases = {
            'originals': run(args.heads, report, *processes),
            'outputs': run(args.out, report, *processes, *originals),
        }
        shutil.copytree(args.out, copy)
        slipped = slip(args.heads, copy)
        cases['slipped'] = run(copy, report, *processes)
        cases['slipped']['named_rightly'] = cases['slipped']['named'] == [slipped]
        shutil.rmtree(copy)
        shutil.copytree(args.out, copy)
        leak(args.heads, copy)
        cases['leaking'] = run(copy, report, *processes, *originals)
    for case in cases.values():
        case['named'] = len(case['named'])
    print(write_result('audit_cases', cases))


if __name__ == '__main__':
    main()
