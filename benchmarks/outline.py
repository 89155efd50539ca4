"""Is the skin of a head, drawn in its own shape, where it was scanned?

    python -m benchmarks.outline PREPARED [--every 5] [--others HEADS WORK]

PREPARED is the file of ``cpmae-bids-train prepare`` at 2 mm. The mean head is given the shape of training
heads, and its skin; how much farther in that lies than in the scan is measured as `benchmarks.surfaces` does.
HEADS is a BIDS dataset, of whose test split the same is measured: heads that the components of shape have not
seen. WORK keeps their masks and affines. Numbers go to ``results/outline.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import surfaces
from benchmarks.generate import halved
from benchmarks.scans import find_t1w, read_split, write_result
from cpmae_bids.deid import skin

if TYPE_CHECKING:
    from cpmae_bids.models.vqvae import VQVAE
    from cpmae_bids.training.data import Head

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
    parser.add_argument('--others', type=Path, nargs=2, metavar=('HEADS', 'WORK'), help='unseen heads')
    args = parser.parse_args(argv)

    from cpmae_bids.models.weights import load_model, resolve_weights
    from cpmae_bids.training.data import Head, read_prepared

    model = load_model(resolve_weights(None), 'head')
    numbers = compare(
        model, [one for one in read_prepared(args.prepared) if one.split == 'train'][:: args.every]
    )
    if args.others:
        from cpmae_bids.training.prepare import conform_scan

        dataset, work = args.others
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = find_t1w(dataset, read_split(dataset / 'participants.tsv', 'test'))
        scans = (conform_scan(path, work, surfaces.N) for path in paths)
        numbers['unseen'] = compare(model, [Head(name, 'test', *cubes, None) for name, *cubes in scans])
    print(numbers)
    print(write_result('outline', numbers))


def compare(model: VQVAE, heads: list[Head]) -> dict[str, Any]:
    """How far the skin of heads lies from that of the mean head in their shapes.

    Parameters
    ----------
    model : VQVAE
    heads : list of Head
        In the cube of 2 mm.

    Returns
    -------
    numbers : dict
        ``heads`` (how many), and by region, and by part of the outline, what `summary` gives.
    """
    import torch

    from cpmae_bids.models.warps import find_warp
    from cpmae_bids.training.align import working
    from cpmae_bids.training.data import decode_intensity

    template = model.shape.template
    farther_in: dict[str, list[np.ndarray]] = {'face': [], 'ears': [], 'outline': []}
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
    numbers: dict[str, Any] = {'heads': len(heads)}
    for region, rows in farther_in.items():
        numbers[region] = summary(np.array(rows))
    for part, lies in PARTS.items():
        numbers[part] = summary(np.array(farther_in['outline'])[:, lies(outwards)])
    return numbers


def summary(farther_in: np.ndarray) -> dict[str, float]:
    """Mean, mean size and median size of distances (mm); ``nan`` where nothing was seen."""
    sizes = np.abs(farther_in)
    return {
        'farther_in_mm': round(float(np.nanmean(farther_in)), 2),
        'off_mm': round(float(np.nanmean(sizes)), 2),
        'off_median_mm': round(float(np.nanmedian(sizes)), 2),
    }


if __name__ == '__main__':
    main()
