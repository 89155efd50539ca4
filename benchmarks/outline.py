"""Is the skin of a head, drawn in its own shape, where it was scanned?

    python -m benchmarks.outline PREPARED [--every 5]

PREPARED is the file of ``cpmae-bids-train prepare`` at 2 mm. The mean head is given the shape of training
heads, and its skin; how much farther in that lies than in the scan is measured as `benchmarks.surfaces` does.
Numbers go to ``results/outline.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks import surfaces
from benchmarks.generate import halved
from benchmarks.scans import write_result
from cpmae_bids.deid import skin

PARTS = {
    'top': lambda outwards: outwards[:, 2] > 0.8,
    'front': lambda outwards: outwards[:, 1] > 0.7,
    'back': lambda outwards: outwards[:, 1] < -0.7,
    'sides': lambda outwards: np.abs(outwards[:, 0]) > 0.7,
}
"""Of the outline, by the direction of the rays."""


def main(argv: list[str] | None = None) -> None:
    """Compare the skin of the mean head in the shapes of scans with that of the scans."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--every', type=int, default=5, help='one of so many heads')
    args = parser.parse_args(argv)

    import torch

    from cpmae_bids.models.warps import find_warp
    from cpmae_bids.models.weights import load_model, resolve_weights
    from cpmae_bids.training.align import working
    from cpmae_bids.training.data import decode_intensity, read_prepared

    model = load_model(resolve_weights(None), 'head')
    template = model.shape.template
    farther_in: dict[str, list[np.ndarray]] = {'face': [], 'ears': [], 'outline': []}
    heads = [one for one in read_prepared(args.prepared) if one.split == 'train'][:: args.every]
    for one in heads:
        shape = model.shape.encode(find_warp(working(one, template), template))
        with torch.no_grad():
            mean = model.decode_mean([shape])[0, 0].numpy()
        covered = skin.cover(skin.double(mean), skin.find(mean, mean))
        cubes = {'drawn': halved(covered), 'scanned': decode_intensity(one.image)}
        for region, rows in farther_in.items():
            found = {
                name: surfaces.trace(surfaces.smooth(cube), one.fov, region, surfaces.LEVEL)
                for name, cube in cubes.items()
            }
            rows.append(found['drawn'] - found['scanned'])
    outwards = -surfaces.rays('outline')[1]
    numbers: dict[str, dict[str, float] | int] = {'heads': len(heads)}
    for region, rows in farther_in.items():
        numbers[region] = _summary(np.array(rows))
    for part, lies in PARTS.items():
        numbers[part] = _summary(np.array(farther_in['outline'])[:, lies(outwards)])
    print(numbers)
    print(write_result('outline', numbers))


def _summary(farther_in: np.ndarray) -> dict[str, float]:
    return {
        'farther_in_mm': round(float(np.nanmean(farther_in)), 2),
        'off_mm': round(float(np.nanmean(np.abs(farther_in))), 2),
    }


if __name__ == '__main__':
    main()
