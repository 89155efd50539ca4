"""How much fine contrast the brains of real heads have, and how much a blur leaves of it.

    python -m benchmarks.brain_sharpness PREPARED [--every 4]

PREPARED is the file of ``cpmae-bids-train prepare`` at 2 mm. The numbers are those of
`cpmae_bids.deid.synthesis.sharpness`; they go to ``results/brain_sharpness.json``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.scans import command_line, write_result
from cpmae_bids.deid.images.intensity import from_levels
from cpmae_bids.deid.synthesis.sharpness import BLUR_MM, fine_contrast
from cpmae_bids.training.data import read_prepared

VOXEL_MM = 2.0


def main(argv: list[str] | None = None) -> None:
    """Measure the brains of a prepared file."""
    parser = command_line(__doc__)
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--every', type=int, default=4, help='one of so many heads')
    args = parser.parse_args(argv)
    rows = []
    for head in read_prepared(args.prepared)[:: args.every]:
        brain = np.where(head.brain, from_levels(head.image), 0).astype(np.float32)
        rows.append(
            [
                fine_contrast(np.where(head.brain, ndimage.gaussian_filter(brain, mm / VOXEL_MM), 0))
                for mm in BLUR_MM
            ]
        )
    found = np.array(rows)
    numbers = {
        'heads': len(found),
        'mean_by_blur_mm': {
            f'{mm:g}': round(float(m), 3) for mm, m in zip(BLUR_MM, found.mean(0), strict=True)
        },
        'not_blurred': {str(p): round(float(np.percentile(found[:, 0], p)), 3) for p in (0, 5, 50, 95, 100)},
    }
    print(numbers)
    print(write_result('brain_sharpness', numbers))


if __name__ == '__main__':
    main()
