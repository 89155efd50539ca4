"""Does a head have ears? The relief of the pinna in views from 75 degrees, against that of a mean ear.

    python -m benchmarks.ears HEADS PREPARED

makes the mean ear, ``benchmarks/data/ear_relief.json``, from the training heads whose whole face is in view.
PREPARED is the work folder of ``cpmae-bids-train prepare``, with their brain masks and affines.
"""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks.anatomy import around
from benchmarks.scans import command_line, find_t1w
from cpmae_bids.reports.render import skin_field

MEAN_EAR = Path(__file__).parent / 'data' / 'ear_relief.json'

YAW_DEG = 75.0
"""Of the views."""

PLACE = (82.0, -32.0, -42.0)
"""Middle of the window in the template (mm), on the left; that on the right is its mirror image."""

REACH_MM = 42
WIDE_MM = 8.0
"""Standard deviation of the low-pass filter that leaves the side of the head; relief is what it removes."""

HIGHEST_MM = 10.0
"""Relief is clipped there: behind the ear, rays go on to the neck."""

KEPT = (slice(20, 65), slice(8, 77))
"""Part of the window that the mean ear keeps: 45 x 69 mm, to the front and up."""

SHIFT_MM = 15
"""How far the ear is looked for from its place, in both directions."""

AGREEMENT = 0.45
"""Least correlation with the relief of the mean ear: training heads have 0.49 to 0.82."""

STRENGTH = 0.7
"""Least height of the relief, as a multiple of the mean ear's: training heads have 0.95 to 1.7, and an ear
without folds 0.6."""

ROUNDS = 4


class Ear(NamedTuple):
    """What the place of an ear shows.

    Attributes
    ----------
    agreement : float
        Correlation of the relief with that of the mean ear, at the best place.
    strength : float
        Height of the relief there, as a multiple of the mean ear's.
    in_fov : bool
        Whether the scan covers the place.
    """

    agreement: float
    strength: float
    in_fov: bool

    @property
    def found(self) -> bool:
        """Whether this is an ear."""
        return self.agreement >= AGREEMENT and self.strength >= STRENGTH


def ears(values: np.ndarray, affine: np.ndarray, world_to_template: np.ndarray) -> list[Ear]:
    """Look for both ears of a head, that on the right first.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
    affine, world_to_template : ndarray, shape (4, 4)
        Voxel indices to world, world to template (mm).
    """
    mean = mean_ear()
    return [_compare(*one, mean) for one in reliefs(values, affine, world_to_template)]


@cache
def mean_ear() -> np.ndarray:
    """Relief (mm) of the mean ear, to the front and up; shape as `KEPT`."""
    return np.array(json.loads(MEAN_EAR.read_text(encoding='utf-8'))['relief_mm'])


def reliefs(
    values: np.ndarray, affine: np.ndarray, world_to_template: np.ndarray
) -> list[tuple[np.ndarray, bool]]:
    """Relief (mm) around the places of both ears, and whether the scan covers them; right side first."""
    field = skin_field(values, affine)
    in_scan = np.ones(values.shape, np.float32)
    cosine, sine = np.cos(np.radians(YAW_DEG)), np.sin(np.radians(YAW_DEG))
    found = []
    for side in (-1.0, 1.0):
        axes = np.array([[-side * cosine, sine, 0], [0, 0, 1], [-side * sine, -cosine, 0]]).T
        place = (side * PLACE[0], *PLACE[1:])
        box, _ = around(field.values, field.affine, world_to_template, place, REACH_MM, axes)
        _, seen = around(in_scan, affine, world_to_template, place, REACH_MM, axes)
        found.append((relief(box), bool(seen[KEPT][..., REACH_MM - 10 : REACH_MM + 10].mean() > 0.8)))
    return found


def relief(box: np.ndarray) -> np.ndarray:
    """Height (mm) of what rays meet along the last axis over the low-pass filtered surface.

    Parameters
    ----------
    box : ndarray, shape (front, up, depth)
        Positive within the head; voxels of 1 mm.
    """
    inside = box > 0
    inside[..., -1] = True
    first = np.maximum(inside.argmax(axis=2), 1)
    before, after = (np.take_along_axis(box, at[..., None], 2)[..., 0] for at in (first - 1, first))
    depth = first - np.clip(after / np.maximum(after - before, 1e-6), 0, 1)
    return np.clip(ndimage.gaussian_filter(depth, WIDE_MM) - depth, -HIGHEST_MM, HIGHEST_MM)


def _compare(found: np.ndarray, in_fov: bool, mean: np.ndarray) -> Ear:
    """The best place of the mean ear in a relief."""
    if not in_fov:
        return Ear(0.0, 0.0, False)
    agreement, shift = max(_agreements(found, mean))
    part = _window(found, shift)
    strength = (part - part.mean()).std() / (mean - mean.mean()).std()
    return Ear(float(agreement), float(strength), True)


def _agreements(found: np.ndarray, mean: np.ndarray) -> list[tuple[float, tuple[int, int]]]:
    """Correlation with the mean at every shift that the window allows."""
    limits = [
        range(max(-SHIFT_MM, -part.start), min(SHIFT_MM, size - part.stop) + 1)
        for part, size in zip(KEPT, found.shape, strict=True)
    ]
    return [
        (float(np.corrcoef(_window(found, (x, z)).ravel(), mean.ravel())[0, 1]), (x, z))
        for x in limits[0]
        for z in limits[1]
    ]


def _window(found: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    return found[tuple(slice(part.start + by, part.stop + by) for part, by in zip(KEPT, shift, strict=True))]


def average(maps: list[np.ndarray]) -> np.ndarray:
    """Median of reliefs after each is shifted to where it agrees best with the others; shape as `KEPT`."""
    shifts = [(0, 0)] * len(maps)
    for _ in range(ROUNDS):
        mean = np.median([_window(one, shift) for one, shift in zip(maps, shifts, strict=True)], axis=0)
        shifts = [max(_agreements(one, mean))[1] for one in maps]
    return np.median([_window(one, shift) for one, shift in zip(maps, shifts, strict=True)], axis=0)


def main(argv: list[str] | None = None) -> None:
    """Write the mean ear."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--split', default='train')
    parser.add_argument('--out', type=Path, default=MEAN_EAR)
    args = parser.parse_args(argv)
    with (args.heads / 'participants.tsv').open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    labels = {r['participant_id'] for r in rows if r['split'] == args.split and r['face_complete'] == 'yes'}
    maps, heads = [], 0
    for path in find_t1w(args.heads, labels):
        affine = args.prepared / f'{path.name.split(".")[0]}_affine.txt'
        if affine.exists():
            image = nib.load(path)
            found = reliefs(image.get_fdata(dtype=np.float32), image.affine, np.loadtxt(affine))
            maps += [one for one, in_fov in found if in_fov]
            heads += 1
    content = {
        'description': f'Median relief (mm) of {len(maps)} ears of {heads} heads, to the front and up',
        'relief_mm': average(maps).round(1).tolist(),
    }
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(content) + '\n', encoding='utf-8')
    print(f'{args.out}: {len(maps)} ears')


if __name__ == '__main__':
    main()
