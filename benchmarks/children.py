"""Test heads made those of children, for a dataset that lacks them.

    python -m benchmarks.children HEADS MERGED [--count 4]

MERGED becomes a BIDS dataset with links to all of HEADS, and a few test heads again under labels of their
own: brain of 0.93 of the size and a low face, as at about six years (`benchmarks.robustness_cases.child`).
participants.tsv says so (age 6, split ``test``, a person of their own). Run the benchmark on MERGED.
MERGED-work beside it keeps brain masks and affines.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.contact_sheet import REPOSITORY, refuse_shared
from benchmarks.robustness_cases import Head, child
from benchmarks.run import longest_edge, spread
from benchmarks.scans import command_line, find_t1w, read_split

AGE = 6
LABEL = 'sub-child'


def merge(heads: Path, merged: Path) -> list[dict[str, str]]:
    """Link a dataset into a new folder; the rows of its participants.tsv."""
    merged.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted(heads.iterdir()):
        target = merged / path.name
        if path.name != 'participants.tsv' and not target.is_symlink():
            target.symlink_to(path.resolve())
    with (heads / 'participants.tsv').open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file, delimiter='\t'))


def aligned(scan: Path, work: Path) -> Head:
    """A scan with its brain and its place in the template, which are kept in a private folder."""
    from cpmae_bids.deid.images import intensity
    from cpmae_bids.steps.conform import read_affine
    from cpmae_bids.steps.register import register
    from cpmae_bids.steps.skullstrip import skullstrip

    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = scan.name.split('.')[0]
    brain, kept, affine = (work / f'{name}_{part}' for part in ('brain.nii.gz', 'kept.nii.gz', 'affine.txt'))
    if not affine.exists():
        skullstrip(scan, brain, kept)
        register(scan, brain, affine)
    inside = np.asanyarray(nib.load(brain).dataobj) > 0
    scale = intensity.brain_scale(nib.load(scan).get_fdata(dtype=np.float32)[inside])
    return Head.read(scan, kept, read_affine(affine), scale)


def add_child(row: dict[str, str], scan: Path, label: str, merged: Path, work: Path) -> dict[str, str]:
    """Write a test head as that of a child; its row of participants.tsv."""
    folder = merged / label / 'anat'
    folder.mkdir(parents=True, exist_ok=True)
    image = nib.load(scan)
    values, affine = child(aligned(scan, work))
    info = np.iinfo(np.int16)
    scale = max(float(np.abs(values).max()), 1e-12) / info.max
    made = nib.Nifti1Image(np.rint(values / scale).astype(np.int16), affine)
    made.header.set_slope_inter(scale, 0)
    made.header.set_xyzt_units(*image.header.get_xyzt_units())
    made.set_sform(affine, 1)
    made.set_qform(affine, 1, strip_shears=True)
    made.to_filename(folder / f'{label}_T1w.nii.gz')
    sidecar = scan.with_name(scan.name.split('.')[0] + '.json')
    if sidecar.exists():
        shutil.copyfile(sidecar, folder / f'{label}_T1w.json')
    notes = f'{row.get("notes", "")}; transformed into a child'.strip('; ')
    return {**row, 'participant_id': label, 'person': label, 'age': str(AGE), 'split': 'test', 'notes': notes}


def main(argv: list[str] | None = None) -> None:
    """Write the dataset."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('merged', type=Path)
    parser.add_argument('--split', default='test')
    parser.add_argument('--count', type=int, default=4)
    args = parser.parse_args(argv)
    heads, merged = args.heads.resolve(), args.merged.resolve()
    try:
        refuse_shared(merged, REPOSITORY, heads)
        labels = read_split(heads / 'participants.tsv', args.split)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    rows = merge(heads, merged)
    known = {row['participant_id']: row for row in rows}
    whole = {label for label in labels if known[label].get('face_complete', 'yes') == 'yes'}
    # one scan a person; thick slices are a case of their own
    scans = {path.name.split('_')[0]: path for path in find_t1w(heads, whole) if longest_edge(path) <= 2.5}
    for number, path in enumerate(spread(list(scans.values()), args.count), start=1):
        row = known[path.name.split('_')[0]]
        rows.append(add_child(row, path, f'{LABEL}{number}', merged, merged.parent / f'{merged.name}-work'))
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (merged / 'participants.tsv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns, delimiter='\t', restval='n/a', lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    described = merged / 'participants.json'
    content = json.loads(described.read_text(encoding='utf-8')) if described.exists() else {}
    described.unlink(missing_ok=True)
    described.write_text(json.dumps({**content, 'age': {'Units': 'year'}}, indent=1) + '\n', encoding='utf-8')
    print(f'{merged}: {len(rows)} participants')


if __name__ == '__main__':
    main()
