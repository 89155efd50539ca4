"""Scans of other contrasts, positions, fields of view and voxels: which pass, which are rejected, and why.

    python -m benchmarks.robustness HEADS OUT [--cases NAME ...] [--heads 2] [--fine 1]

HEADS is a BIDS dataset whose ``participants.tsv`` has the columns ``split``, ``face_complete`` and
``voxel_mm``. Cases are made from its first test heads of 2 mm with a whole face, those about voxels from its
first test heads of about 1 mm (`robustness_cases`), and every test head of about 1 mm is taken as it is. Each
is de-identified by ``cpmae-bids-file``, at 2 mm (``--preset 128``) unless the case is about voxels. OUT keeps
all of it, original faces included: it must lie outside of HEADS and the repository. A call that was stopped
goes on when it is made again. Numbers go to ``results/robustness.json``, the table to ``docs/robustness.md``.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.contact_sheet import REPOSITORY, refuse_shared
from benchmarks.provenance import Provenance, remarks
from benchmarks.robustness_cases import CASES, Head
from benchmarks.scans import command_line, find_t1w, write_result
from cpmae_bids.deid.qc import relief
from cpmae_bids.deid.qc.thresholds import threshold
from cpmae_bids.sharing.faces import recogniser
from cpmae_bids.steps.conform import read_affine

DOCS = REPOSITORY / 'docs' / 'robustness.md'


@dataclass(frozen=True)
class Job:
    """A scan to make and to de-identify: case, the head that it is made of, and the preset."""

    case: str
    source: Path
    preset: str
    voxel_mm: str

    @property
    def name(self) -> str:
        return f'{self.source.name.split("_")[0]}_{self.case}_{self.preset}'


def jobs(heads: Path, count: int, fine_count: int, cases: list[str]) -> list[Job]:
    """All scans to make, those as they are first: the others need their alignment."""
    with (heads / 'participants.tsv').open(newline='', encoding='utf-8') as file:
        rows = [row for row in csv.DictReader(file, delimiter='\t') if row['split'] == 'test']
    coarse = [row for row in rows if row['voxel_mm'] == '2x2x2' and row['face_complete'] == 'yes'][:count]
    fine = [row for row in rows if row['voxel_mm'] != '2x2x2']

    def job(case: str, row: dict, preset: str) -> Job:
        return Job(case, find_t1w(heads, {row['participant_id']})[0], preset, row['voxel_mm'])

    first = [job('as_is', row, '128') for row in coarse] + [job('as_is', row, '256') for row in fine]
    made = [
        job(case, row, '256' if CASES[case].fine else '128')
        for case in cases
        if case != 'as_is'
        for row in (fine[:fine_count] if CASES[case].fine else coarse)
    ]
    return first + made


def work_of(folder: Path) -> Path:
    """The only folder of intermediate files below one."""
    (work,) = folder.glob('work/cpmae-bids-*')
    return work


def write_scan(job: Job, out: Path, target: Path) -> None:
    """Make the scan of a case."""
    preset = '256' if CASES[job.case].fine else '128'
    work = work_of(out / Job('as_is', job.source, preset, job.voxel_mm).name)
    with np.load(work / 'brain.npz') as arrays:
        scale = float(arrays['scale'])
    head = Head.read(job.source, work / 'kept_mask.nii.gz', read_affine(work / 'affine.txt'), scale)
    values, affine = CASES[job.case].make(head)
    factor = 1000 / head.scale if values.max() < 4000 else 1.0  # the steps of 8 bits stay as they are
    raw = np.rint(np.clip(values * factor, 0, 32767)).astype(np.int16)
    image = nib.Nifti1Image(raw, affine)
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, target)


def run(job: Job, out: Path) -> dict:
    """Make a scan, de-identify it, and say what became of it."""
    folder = out / job.name
    folder.mkdir(parents=True, exist_ok=True)
    t1w, refaced, verdict = (folder / name for name in ('T1w.nii.gz', 'refaced.nii.gz', 'verdict.json'))
    if job.case == 'as_is':
        t1w = job.source
    else:
        write_scan(job, out, t1w)
    for path in (refaced, verdict):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / 'work', ignore_errors=True)  # of a call that was stopped
    command = [sys.executable, '-m', 'cpmae_bids.cli.file', str(t1w), str(refaced), '--preset', job.preset]
    command += ['--seed', '1', '--overwrite', '--verdict', str(verdict), '-w', str(folder / 'work')]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    message = done.stderr.strip().splitlines()[-1] if done.returncode else ''
    status = 'pass' if done.returncode == 0 else 'fail' if verdict.exists() else 'refused'
    # Without the path, which is of this machine and names a person
    reason = re.sub(rf'^cpmae-bids-file: ({re.escape(str(t1w))}: )?(no image was written: )?', '', message)
    image = nib.load(t1w)
    result = {
        'case': job.case,
        'voxels': ' x '.join(f'{size:.3g}' for size in image.header.get_zooms()[:3]),
        'shape': list(image.shape),
        'preset': job.preset,
        'status': status,
        'reason': reason,
    }
    if status == 'pass':
        result |= inspect(t1w, refaced, work_of(folder))
    if verdict.exists():
        full = work_of(folder) / 'verdict.json'  # the one beside the image has no private numbers
        result['measures'] = json.loads(full.read_text('utf-8'))['measures']
    return result


def inspect(t1w: Path, refaced: Path, work: Path) -> dict:
    """Count kept voxels that changed, by nibabel alone, and look for the face."""
    before, after, kept = (nib.load(path) for path in (t1w, refaced, work / 'kept_mask.nii.gz'))
    inside = np.asanyarray(kept.dataobj) > 0
    raw = [np.asanyarray(image.dataobj.get_unscaled())[inside] for image in (before, after)]
    values = np.asarray(after.dataobj, np.float32)
    to_template = read_affine(work / 'affine.txt') @ after.affine
    found = {
        'kept_voxels': int(inside.sum()),
        'kept_voxels_changed': int((raw[0] != raw[1]).sum()),
        'relief': round(relief.find_face(values, to_template).agreement, 3),
        'relief_original': round(
            relief.find_face(np.asarray(before.dataobj, np.float32), to_template).agreement, 3
        ),
    }
    if recogniser.is_installed():
        found['detector'] = bool(recogniser.sees_face(values, to_template))
    return found


def table(results: list[dict]) -> str:
    """Markdown: a row for each case."""
    lines = ['| scan | passed | relief | why rejected |', '|---|---|---|---|']
    by_case = {}
    for result in results:
        key = result['case'] if result['case'] != 'as_is' else f'as_is, {result["voxels"]} mm'
        by_case.setdefault(key, []).append(result)
    for found in by_case.values():
        case = CASES[found[0]['case']]
        name = case.text if found[0]['case'] != 'as_is' else f'{case.text}, {_grid(found[0])}'
        wanted = ' (to be rejected)' if case.refused else ''
        passed = [one for one in found if one['status'] == 'pass']
        reliefs = sorted({f'{one["relief"]:.2f}' for one in passed})
        shown = ' to '.join(dict.fromkeys((reliefs[0], reliefs[-1]))) if reliefs else '–'
        why = '; '.join(sorted({one['reason'] for one in found if one['reason']}))
        lines.append(f'| {name}{wanted} | {len(passed)} of {len(found)} | {shown} | {why} |')
    return '\n'.join(lines)


def _grid(result: dict) -> str:
    sizes = [float(size) for size in result['voxels'].split(' x ')]
    extent = ' x '.join(f'{n * size:.0f}' for n, size in zip(result['shape'], sizes, strict=True))
    return f'voxels of {result["voxels"]} mm, field of view of {extent} mm'


PAGE = """\
# Robustness

Which variants of a scan pass, and which the tool rejects. Written by
`python -m benchmarks.robustness HEADS OUT`, which makes the variants from test heads
([how](../benchmarks/robustness_cases.py)).

{about}

{changed} preserved voxels changed. Scans of about 1 mm and finer are processed with `--preset 256`, others
with `--preset 128`. *Relief* is `face_relief` of the output: {limit:g} and more is a face; a field of view
that cuts the face lowers it. Scans *to be rejected* have no head to replace, no whole brain, or are not T1w.

{table}

{unexpected}
"""


def write_docs(content: dict) -> None:
    """Write the page from the content of the result file."""
    results = content['scans']
    odd = sorted(
        {
            CASES[one['case']].text
            for one in results
            if (one['status'] != 'pass') != CASES[one['case']].refused
        }
    )
    unexpected = f'Against expectation: {"; ".join(odd)}.' if odd else 'No case went against expectation.'
    about = ' '.join(remarks([Provenance.read(one) for one in content.get('provenance', ())]))
    least = threshold('face_relief').low
    changed = sum(one.get('kept_voxels_changed', 0) for one in results)
    page = PAGE.format(about=about, changed=changed, limit=least, table=table(results), unexpected=unexpected)
    DOCS.write_text(page, encoding='utf-8')


def main(argv: list[str] | None = None) -> None:
    """Make all scans, and write numbers and page."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES))
    parser.add_argument('--heads', type=int, default=2, dest='count', help='heads of 2 mm (default: 2)')
    parser.add_argument('--fine', type=int, default=1, help='heads of 1 mm for what is about voxels')
    args = parser.parse_args(argv)
    try:
        refuse_shared(args.out, REPOSITORY, args.heads)
    except ValueError as error:
        parser.error(str(error))
    results = []
    for job in jobs(args.heads, args.count, args.fine, args.cases):
        record = args.out / job.name / 'result.json'
        if not record.exists():
            result = run(job, args.out)
            record.write_text(json.dumps(result), encoding='utf-8')
        results.append(json.loads(record.read_text('utf-8')))
        print(job.name, results[-1]['status'], results[-1]['reason'], flush=True)
    path = write_result('robustness', {'scans': results})
    write_docs(json.loads(path.read_text('utf-8')))
    print(path)


if __name__ == '__main__':
    main()
