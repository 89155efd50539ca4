"""In how many images do the detectors of ``cpmae-bids-audit`` find a face, by kind of image?

    python -m benchmarks.audit_detectors NAME=FOLDER [NAME=FOLDER ...] [--participants TABLE --split test]

Each folder holds T1w images of one kind: originals, what a method made of them (`benchmarks.run` leaves that
in ``OUT/scans/<method>``), or outputs of this tool, whose faces are generated. Verdicts are not asked: what
counts is whether a face is seen. ``turned`` and ``inverted`` in place of a folder's name are the originals,
turned by 15 degrees to the side or with dark tissue for bright as T2w and FLAIR have it:
``turned=FOLDER``, ``inverted=FOLDER``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.scans import command_line, find_t1w, read_split, write_result
from cpmae_bids.deid.images.intensity import skin_level
from cpmae_bids.deid.qc import relief
from cpmae_bids.runtime.pool import workers
from cpmae_bids.sharing.faces import recogniser
from cpmae_bids.sharing.faces.search import read_volumes

ALTERED = ('turned', 'inverted')


def alter(kind: str, values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An original as another scanner session or another contrast would show it."""
    if kind == 'turned':
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(0.26), -np.sin(0.26)], [np.sin(0.26), np.cos(0.26)]]
        return values, turn @ affine
    level = skin_level(values)
    high = 1.15 * np.percentile(values[values > level], 99)
    return np.where(values > level, np.maximum(high - values, 1.2 * level), values), affine


def look(path: Path, kind: str) -> tuple[str, float, bool, bool]:
    """Name of a scan, agreement of its relief, whether that is a face, and what dlib's detector says."""
    (values, *_), affine, _ = read_volumes(path)
    if kind in ALTERED:
        values, affine = alter(kind, values, affine)
    shape = relief.find_face(values, affine)
    return path.name, shape.agreement, shape.is_face or shape.opaque, recogniser.sees_face(values, affine)


def main(argv: list[str] | None = None) -> None:
    """Count, and write ``results/audit_detectors.json``."""
    parser = command_line(__doc__)
    parser.add_argument('folders', nargs='+', metavar='NAME=FOLDER')
    parser.add_argument('--participants', type=Path, help='table with a column "split"')
    parser.add_argument('--split', help='only the participants of this split')
    parser.add_argument('--nprocs', type=int, default=1)
    parser.add_argument('--label', default='', help='appended to the name of the result')
    args = parser.parse_args(argv)
    labels = read_split(args.participants, args.split) if args.split else None

    numbers = {}
    with workers(args.nprocs) as each:
        for item in args.folders:
            kind, _, folder = item.partition('=')
            paths = find_t1w(Path(folder), labels)
            found = list(each(look, paths, [kind] * len(paths)))
            agreements = [agreement for _, agreement, _, _ in found]
            numbers[kind] = {
                'images': len(found),
                'geometry': sum(geometry for *_, geometry, _ in found),
                'detector': sum(detector for *_, detector in found),
                'either': sum(geometry or detector for *_, geometry, detector in found),
                'agreement_lowest': round(min(agreements), 3),
                'agreement_highest': round(max(agreements), 3),
            }
            print(kind, numbers[kind], flush=True)
            for name, agreement, geometry, detector in found:
                print(f'  {name} {agreement:.2f} {geometry:d} {detector:d}', flush=True)
    print(write_result(f'audit_detectors{args.label}', {'split': args.split, **numbers}))


if __name__ == '__main__':
    main()
