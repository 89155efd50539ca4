"""Before and after, a row per scan: sagittal, axial and coronal slice and the face.

    python -m benchmarks.contact_sheet INPUT OUTPUT SHEET.png [--rows 8]

INPUT is a BIDS dataset and OUTPUT what cpmae-bids made of it. The sheet shows the original faces: it is
readable for its owner alone and must lie outside the repository, INPUT and OUTPUT.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.scans import command_line
from cpmae_bids.reports.render import render_field, skin_field

REPOSITORY = Path(__file__).resolve().parents[1]
PIXELS = 224  # edge of a panel; a pixel is 1 mm in slices
ABOVE_CENTRE = 0.36  # the slices' middle lies this share of a panel below its top: room for the neck
SLICES = {
    # first axis of the picture (down), second (right), and the offset (mm, RAS) from the middle of the brain
    'sagittal': ((0, 0, -1), (0, -1, 0), (0, 12, 0)),
    'axial': ((0, -1, 0), (-1, 0, 0), (0, 10, -40)),
    'coronal': ((0, 0, -1), (-1, 0, 0), (0, 10, 0)),
}
YAWS = (0.0, 50.0)


def refuse_shared(sheet: Path, *shared: Path) -> None:
    """Stop where the sheet would be published with the repository or a dataset.

    Raises
    ------
    ValueError
        If `sheet` lies inside one of `shared`; links are followed.
    """
    for folder in shared:
        if sheet.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f'{sheet}: shows original faces and must not lie inside {folder}')


def pairs(bids_dir: Path, output_dir: Path) -> Iterator[tuple[Path, Path]]:
    """Each scan of the input with its refaced version; scans without one are left out."""
    for refaced in sorted(output_dir.rglob('*_desc-refaced_T1w.nii.gz')):
        folder = bids_dir / refaced.relative_to(output_dir).parent
        name = refaced.name.replace('_desc-refaced_T1w.nii.gz', '_T1w.nii')
        for original in (folder / f'{name}.gz', folder / name):
            if original.exists():
                yield original, refaced


def slice_panel(
    volume: np.ndarray, affine: np.ndarray, view: str, middle: np.ndarray, white: float
) -> np.ndarray:
    """Draw one slice at 1 mm per pixel, whatever the orientation of the scan.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
        Voxel indices to world (RAS, mm).
    view : str
        A key of `SLICES`.
    middle : ndarray, shape (3,)
        World coordinates of the middle of the brain.
    white : float
        Intensity that is drawn white.

    Returns
    -------
    ndarray, shape (PIXELS, PIXELS), uint8
        The front is on the left or at the top, the subject's right on the left.
    """
    down, right, offset = (np.array(axis, dtype=float) for axis in SLICES[view])
    top = ABOVE_CENTRE if view != 'axial' else 0.5
    start = middle + offset - PIXELS * (top * down + 0.5 * right)
    matrix = np.linalg.inv(affine)
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    world = start[:, None, None] + down[:, None, None] * rows + right[:, None, None] * columns
    voxels = np.tensordot(matrix[:3, :3], world, axes=1) + matrix[:3, 3, None, None]
    values = ndimage.map_coordinates(volume, voxels, order=1, output=np.float32)
    return np.round(255 * np.clip(values / white, 0, 1)).astype(np.uint8)


def scan_panels(volume: np.ndarray, affine: np.ndarray, middle: np.ndarray, white: float) -> np.ndarray:
    """Slices and faces of one scan, side by side; (PIXELS, 5 PIXELS) uint8."""
    panels = [slice_panel(volume, affine, view, middle, white) for view in SLICES]
    try:
        field = skin_field(volume, affine)
        panels += [render_field(field, yaw_deg=yaw, size=PIXELS) for yaw in YAWS]
    except ValueError:  # no head to be seen: an empty panel says so
        panels += [np.zeros((PIXELS, PIXELS), np.uint8)] * len(YAWS)
    return np.hstack(panels)


def row(original: Path, refaced: Path, kept_mask: Path) -> np.ndarray:
    """Before and after of one scan, both in the intensity window of the original."""
    image, mask = nib.load(original), nib.load(kept_mask)
    volume = image.get_fdata(dtype=np.float32)
    middle = np.append(ndimage.center_of_mass(np.asanyarray(mask.dataobj) > 0), 1) @ mask.affine.T
    white = float(np.percentile(volume[volume > volume.mean()], 98))
    after = nib.load(refaced).get_fdata(dtype=np.float32)
    halves = [scan_panels(half, image.affine, middle[:3], white) for half in (volume, after)]
    return np.hstack([halves[0], np.full((PIXELS, 6), 255, np.uint8), halves[1]])


def main(argv: list[str] | None = None) -> None:
    """Write the sheet, in as many files as it takes."""
    parser = command_line(__doc__)
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('output_dir', type=Path)
    parser.add_argument('sheet', type=Path, help='PNG to write, outside of all that is shared')
    parser.add_argument('--rows', type=int, default=8, help='scans per file')
    args = parser.parse_args(argv)
    try:
        refuse_shared(args.sheet, REPOSITORY, args.bids_dir, args.output_dir)
    except ValueError as error:
        parser.error(str(error))

    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    found = list(pairs(args.bids_dir, args.output_dir))
    if not found:
        parser.error(f'{args.output_dir}: no refaced scan of {args.bids_dir}')
    for number, first in enumerate(range(0, len(found), args.rows), start=1):
        rows = []
        for original, refaced in found[first : first + args.rows]:
            kept_mask = refaced.with_name(refaced.name.replace('desc-refaced_T1w', 'desc-brain_mask'))
            picture = Image.fromarray(row(original, refaced, kept_mask))
            ImageDraw.Draw(picture).text((4, 2), original.name.removesuffix('_T1w.nii.gz'), fill=255)
            rows.append(np.asarray(picture))
        path = args.sheet.with_stem(f'{args.sheet.stem}-{number}')
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
            Image.fromarray(np.vstack(rows)).save(file, format='PNG')
        print(path, flush=True)


if __name__ == '__main__':
    main()
