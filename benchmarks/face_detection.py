"""Share of heads in which a face detector finds a face.

    python -m benchmarks.face_detection FOLDER [--participants participants.tsv --split test] [--label NAME]

A generated head that is still a head shows a face to a detector; a defaced one does not. The detector is
dlib's frontal HOG detector (``pip install dlib-bin``) and the pictures are those of
`cpmae_bids.reports.render`, the same for originals and for derivatives. The back of the head is the control:
what is found there is a false alarm.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.scans import command_line, find_t1w, read_split, write_result
from cpmae_bids.reports.render import render_field, skin_field

YAWS = {'left_20': -20.0, 'frontal': 0.0, 'right_20': 20.0}
BACK = 180.0
UPSAMPLE = 1  # the detector's smallest face is 80 pixels: one doubling makes room for small heads


def detect_faces(volume: np.ndarray, affine: np.ndarray, detector) -> dict[str, bool]:
    """Whether a face is found in each view of a head.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
        Whole-head scan in any orientation.
    affine : ndarray, shape (4, 4)
        Voxel indices to world coordinates (RAS, mm).
    detector : callable
        ``detector(picture, upsample)`` gives the faces in a uint8 picture.

    Returns
    -------
    dict of str to bool
        The views of `YAWS`, and ``back``. All False if the volume shows no head at all.
    """
    views = {**YAWS, 'back': BACK}
    try:
        field = skin_field(volume, affine)
    except ValueError:
        return dict.fromkeys(views, False)
    return {
        name: len(detector(render_field(field, yaw_deg=yaw), UPSAMPLE)) > 0 for name, yaw in views.items()
    }


def summarise(found: list[dict[str, bool]]) -> dict:
    """Counts by view; ``any_view`` and ``all_views`` leave the back of the head out."""
    return {
        'heads': len(found),
        'any_view': sum(any(one[name] for name in YAWS) for one in found),
        'all_views': sum(all(one[name] for name in YAWS) for one in found),
        **{name: sum(one[name] for one in found) for name in (*YAWS, 'back')},
    }


def main(argv: list[str] | None = None) -> None:
    """Measure a folder of scans and write ``results/face_detection_<label>.json``."""
    parser = command_line(__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--participants', type=Path, help='table with a column "split" (default: in FOLDER)')
    parser.add_argument('--split', help='only the participants of this split')
    parser.add_argument('--label', default='heads', help='name of the result')
    args = parser.parse_args(argv)

    import dlib

    detector = dlib.get_frontal_face_detector()
    labels = (
        read_split(args.participants or args.folder / 'participants.tsv', args.split) if args.split else None
    )
    found = []
    for path in find_t1w(args.folder, labels):
        image = nib.load(path)
        found.append(detect_faces(np.asanyarray(image.dataobj), image.affine, detector))
        missed = [name for name in YAWS if not found[-1][name]]
        print(path.name, 'no face: ' + ', '.join(missed) if missed else 'face in every view', flush=True)
    numbers = summarise(found)
    print(numbers)
    print(write_result(f'face_detection_{args.label}', {'split': args.split, **numbers}))


if __name__ == '__main__':
    main()
