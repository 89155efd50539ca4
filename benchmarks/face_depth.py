"""Average the depth of faces in the frame of their brains: what the verdict compares a generated face with.

    python -m benchmarks.face_depth PREPARED

PREPARED is the file of ``cpmae-bids-train prepare`` at 2 mm. No face of a person is left in a mean of many.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from cpmae_bids.deid import face, surface
from cpmae_bids.training.data import Head, decode_intensity, read_prepared

MAX_SPREAD_MM = 8.0
"""Standard deviation over heads up to which a point belongs to the face."""

MIN_HEADS = 0.95
"""Share of the heads that must have skin in front of a point."""

RESULTS = Path(__file__).parent / 'results' / 'face_depth.json'


def head_mask(head: Head) -> np.ndarray:
    """The head of a prepared scan, brain included; bool, shape (n, n, n)."""
    return surface.head_mask(np.where(head.brain, np.float32(1), decode_intensity(head.image)))


def average(depths: np.ndarray) -> np.ndarray:
    """Mean over heads of (heads, a, c), rounded to mm; NaN where it says little."""
    spread, present = depths.std(axis=0), (depths > depths.min()).mean(axis=0)
    where = (spread <= MAX_SPREAD_MM) & (present >= MIN_HEADS)
    return np.where(where, depths.mean(axis=0).round(), np.nan)


def main(argv: list[str] | None = None) -> None:
    """Write the mean, and how far the heads are from it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('prepared', type=Path)
    args = parser.parse_args(argv)
    heads = read_prepared(args.prepared)
    masks = [head_mask(head) for head in heads]
    mean = average(np.array([face.depth(mask) for mask in masks]))
    content = {
        'description': f'Mean depth (mm) of {len(heads)} faces, left to right and bottom to top',
        'depth_mm': [[None if np.isnan(value) else int(value) for value in row] for row in mean],
    }
    face.MEAN.write_text(json.dumps(content) + '\n', encoding='utf-8')

    face.mean_depth.cache_clear()
    found = [face.distance_to_mean(mask, head.fov) for mask, head in zip(masks, heads, strict=True)]
    seen = [value for value in found if value is not None]
    summary = {
        'heads': len(heads),
        'face_in_view': len(seen),
        'distance_mm': {str(p): round(float(np.percentile(seen, p)), 2) for p in (0, 5, 50, 95, 100)},
    }
    RESULTS.write_text(json.dumps(summary, indent=1) + '\n', encoding='utf-8')
    print(json.dumps(summary))


if __name__ == '__main__':
    main()
