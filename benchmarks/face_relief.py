"""Average the relief of the faces of a dataset: the one number table that the geometric face detector needs.

    python -m benchmarks.face_relief HEADS [--split train] [--out cpmae_bids/data/face_relief.json]

HEADS is a BIDS dataset of whole heads whose ``participants.tsv`` has the columns ``split`` and
``face_complete``; only complete faces are averaged. The depth maps are laid over each other by the best
fit to their own median, starting from the foremost point, and the median is made symmetric. No face of a
person is left in a median of many.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks.scans import command_line, find_t1w
from cpmae_bids.deid.images import masks
from cpmae_bids.deid.images.intensity import skin_level
from cpmae_bids.deid.qc import relief

WIDTH, HEIGHT = 41, 55  # of the window in which faces are laid over each other: 123 x 165 mm
NOSE = HEIGHT // 2  # the row of its middle, where the tip of the nose comes to lie
KEPT = (slice(8, 33), slice(22, 45))  # what is kept of it: 75 x 69 mm, upper lip to brows
ROUNDS = 6


def depth(path: Path) -> np.ndarray:
    """The depth map of a scan, as the detector makes it."""
    image = nib.load(path)
    values, _, in_fov = relief._on_grid(np.asarray(image.dataobj, np.float32), image.affine)
    level = skin_level(values[in_fov])
    return relief.depth_map(values, masks.head_mask(values, level, sigma=0, within=in_fov), level)


def average(maps: list[np.ndarray]) -> np.ndarray:
    """Median of depth maps after they are laid over each other, symmetric; shape (WIDTH, HEIGHT)."""
    middles = [_foremost(one) for one in maps]
    for _ in range(ROUNDS):
        windows = np.array([_window(one, *middle) for one, middle in zip(maps, middles, strict=True)])
        windows -= np.nanmedian(windows[:, 10:31, 15:40], axis=(1, 2), keepdims=True)
        median = np.nanmedian(windows, axis=0)
        median = (median + median[::-1]) / 2
        middles = [_best_fit(one, middle, median) for one, middle in zip(maps, middles, strict=True)]
    return median


def _foremost(one: np.ndarray) -> tuple[int, int]:
    smooth = ndimage.uniform_filter(np.where(np.isnan(one), -999, one), 3)
    smooth[:, : one.shape[1] // 6] = -999  # no neck, no coil
    return np.unravel_index(smooth.argmax(), smooth.shape)


def _window(one: np.ndarray, x: int, z: int) -> np.ndarray:
    padded = np.pad(one, ((WIDTH // 2,) * 2, (HEIGHT // 2,) * 2), constant_values=np.nan)
    return padded[x : x + WIDTH, z : z + HEIGHT]


def _best_fit(one: np.ndarray, middle: tuple[int, int], median: np.ndarray) -> tuple[int, int]:
    best = None
    for x in range(max(0, middle[0] - 4), min(one.shape[0], middle[0] + 5)):
        for z in range(max(0, middle[1] - 8), min(one.shape[1], middle[1] + 9)):
            difference = _window(one, x, z) - median
            seen = np.isfinite(difference)
            if seen.mean() < 0.6:
                continue
            difference = difference[seen] - np.median(difference[seen])
            error = np.abs(difference).mean() + 20 * (1 - seen.mean())
            if best is None or error < best[0]:
                best = error, (x, z)
    return best[1] if best else middle


def main(argv: list[str] | None = None) -> None:
    """Write the table."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('--split', default='train')
    parser.add_argument('--out', type=Path, default=Path('cpmae_bids/data/face_relief.json'))
    args = parser.parse_args(argv)
    with (args.heads / 'participants.tsv').open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    labels = {r['participant_id'] for r in rows if r['split'] == args.split and r['face_complete'] == 'yes'}
    maps = [depth(path) for path in find_t1w(args.heads, labels)]
    content = {
        'description': f'Median depth (mm) of {len(maps)} faces, left to right and bottom to top',
        'voxel_mm': relief.GRID_MM,
        'nose_row': NOSE - KEPT[1].start,
        'depth_mm': average(maps)[KEPT].round(1).tolist(),
    }
    args.out.write_text(json.dumps(content) + '\n', encoding='utf-8')
    print(f'{args.out}: {len(maps)} faces')


if __name__ == '__main__':
    main()
