"""Average the depth of faces in the frame of their brains: what the verdict compares a generated face with.

    python -m benchmarks.face_depth PREPARED [--others HEADS WORK]

PREPARED is the file of ``cpmae-bids-train prepare`` at 2 mm. No face of a person is left in a mean of many.
With ``--others``, the heads of the BIDS dataset HEADS that are not in PREPARED are compared with the mean as
well; WORK holds their brain masks and affines.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.scans import command_line, find_t1w
from cpmae_bids.deid.images import intensity, masks, nifti
from cpmae_bids.deid.images.intensity import from_levels
from cpmae_bids.deid.qc import face, scan_checks
from cpmae_bids.deid.qc.thresholds import threshold
from cpmae_bids.deid.space import geometry
from cpmae_bids.runtime.packaged import packaged_json
from cpmae_bids.steps.conform import read_affine
from cpmae_bids.training.data import Head, read_prepared

MAX_SPREAD_MM = 8.0
"""Standard deviation over heads up to which a point belongs to the face."""

MIN_HEADS = 0.95
"""Share of the heads that must have skin in front of a point."""

RESULTS = Path(__file__).parent / 'results' / 'face_depth.json'


def head_mask(head: Head) -> np.ndarray:
    """The head of a prepared scan, brain included; bool, shape (n, n, n)."""
    return masks.head_mask(np.where(head.brain, np.float32(1), from_levels(head.image)), fill=True)


def average(depths: np.ndarray) -> np.ndarray:
    """Mean over heads of (heads, a, c), rounded to mm; NaN where it says little."""
    spread, present = depths.std(axis=0), (depths > depths.min()).mean(axis=0)
    where = (spread <= MAX_SPREAD_MM) & (present >= MIN_HEADS)
    return np.where(where, depths.mean(axis=0).round(), np.nan)


def other_head(t1w: Path, work: Path) -> float | None:
    """Distance of a scan's own face to the mean, as the verdict measures that of the refaced scan."""
    scan = scan_checks.load_t1w(t1w)
    name = t1w.name.split('.')[0]
    brain = nifti.read_mask(work / f'{name}_brain.nii.gz', scan)
    frame = scan.affine, read_affine(work / f'{name}_affine.txt'), 128
    values = scan.values()
    cube = geometry.to_template(values, *frame) / intensity.brain_scale(values[brain])
    head = masks.head_mask(cube, fill=True)
    return face.distance_to_mean(head, geometry.field_of_view(scan.shape, *frame))


def summarise(distances: list[float | None]) -> dict:
    """Number of heads, of those with a face in view, and percentiles of their distances (mm)."""
    seen = [distance for distance in distances if distance is not None]
    percentiles = {str(p): round(float(np.percentile(seen, p)), 2) for p in (0, 5, 50, 95, 100)}
    return {'heads': len(distances), 'face_in_view': len(seen), 'distance_mm': percentiles}


def main(argv: list[str] | None = None) -> None:
    """Write the mean, and how far heads are from it."""
    parser = command_line(__doc__)
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--others', type=Path, nargs=2, metavar=('HEADS', 'WORK'))
    args = parser.parse_args(argv)
    heads = read_prepared(args.prepared)
    outlines = [head_mask(head) for head in heads]
    mean = average(np.array([face.depth(mask) for mask in outlines]))
    content = {
        'description': f'Mean depth (mm) of {len(heads)} faces, left to right and bottom to top',
        'depth_mm': [[None if np.isnan(value) else int(value) for value in row] for row in mean],
    }
    Path('cpmae_bids/data/face_depth.json').write_text(json.dumps(content) + '\n', encoding='utf-8')

    packaged_json.cache_clear()
    face.mean_depth.cache_clear()
    distances = [face.distance_to_mean(mask, head.fov) for mask, head in zip(outlines, heads, strict=True)]
    summary = {'limit_mm': threshold('face_distance_mm').high, 'averaged': summarise(distances)}
    if args.others:
        folder, work = args.others
        names = {head.name for head in heads}
        others = [path for path in find_t1w(folder) if path.name.split('.')[0] not in names]
        summary['others'] = summarise([other_head(path, work) for path in others])
    RESULTS.write_text(json.dumps(summary, indent=1) + '\n', encoding='utf-8')
    print(json.dumps(summary))


if __name__ == '__main__':
    main()
