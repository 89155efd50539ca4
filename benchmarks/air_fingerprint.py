"""Do numbers give the original away? Name it among the heads of a dataset, by what an output tells of it.

    python -m benchmarks.air_fingerprint HEADS PREPARED [OUTPUT ...]

``PREPARED`` holds the masks and affines that ``cpmae-bids-train prepare`` leaves in its work folder. The
attacker has all originals, makes the same statistics of each, and looks for the one that fits:

``published``   the numbers in a sidecar, of the air, of the tissue and of both; whoever repeats the estimate
                gets the very same ones, so that the original is among those with equal numbers, and is
                guessed among them.
``rounded``     the same for one field of them alone, beside how many values it takes.
``by outputs``  for each ``OUTPUT``, a derivatives dataset: levels, tails and shares of the air by distance
                and side, and the statistics of the tissue, not rounded, taken from the image, against those
                of all originals.

Scanners differ in what they do to the air, and sharing a scan shares which scanner it is from. So each attack
is given among all heads and among those of one grid and data type, beside what guessing gives. No names are
written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scans import command_line, find_t1w, write_result
from cpmae_bids.deid.images import intensity, nifti, noise
from cpmae_bids.deid.qc import scan_checks
from cpmae_bids.deid.space import conforming
from cpmae_bids.deid.synthesis import air, tissue
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps.conform import read_affine

SHELLS_MM = (2.5, 5.5, 9.0, 14.0, 22.0, 35.0, 55.0, 1000.0)
"""Limits of the distances from the head, between which the air of an image is looked at."""


@dataclass(frozen=True)
class Description:
    """The numbers of one image.

    Attributes
    ----------
    told : dict
        As published, for ``Air`` and ``Tissue``.
    fine : dict of str to ndarray
        Finer ones, for attacks, of both.
    kind : tuple
        What kind of scan it is.
    """

    told: dict[str, dict]
    fine: dict[str, np.ndarray]
    kind: tuple


def describe(image: Path, masks: Path, name: str) -> Description:
    """Take the numbers of one image, with the masks and the affine of its original."""
    scan = scan_checks.load_t1w(image)
    kept, brain = (nifti.read_mask(masks / f'{name}_{kind}.nii.gz', scan) for kind in ('kept', 'brain'))
    values = scan.values()
    scale = intensity.brain_scale(values[brain])
    affine = read_affine(masks / f'{name}_affine.txt')
    around = conforming.conform_head(values, brain, scan.affine, affine, 128, scale)
    of_tissue = tissue.measure(around.head, around.in_brain, around.in_fov)
    told = {
        'Air': air.estimate(values, kept, scan.voxel_sizes, scale).to_dict(),
        'Tissue': of_tissue.rounded().to_dict(),
    }
    numbers = {
        'Air': fine(values, kept, scan.voxel_sizes, scale),
        'Tissue': np.concatenate([of_tissue.quantiles.ravel(), of_tissue.shading]),
    }
    kind = (scan.shape, tuple(np.round(scan.voxel_sizes, 2)), scan.raw.dtype.str)
    return Description(told, numbers, kind)


def fine(values: np.ndarray, kept: np.ndarray, sizes: np.ndarray, scale: float) -> np.ndarray:
    """Mean, 99th percentile and share above the least value, by distance and on six sides; not rounded.

    Parameters
    ----------
    values : ndarray of float32, shape (X, Y, Z)
    kept : ndarray of bool, shape (X, Y, Z)
    sizes : ndarray, shape (3,)
        mm.
    scale : float

    Returns
    -------
    numbers : ndarray, shape (126,)
        NaN where there is no air.
    """
    size = noise.block_size(sizes, 4.0)
    blocks = noise.blocks(values, size) / scale
    head = (blocks.mean(axis=-1) > air.FAINT_LEVEL) | noise.blocks(kept, size).any(axis=-1)
    distance = noise.distance(head, size * sizes)
    place = [(np.arange(n) / n - 0.5).reshape(np.roll((-1, 1, 1), a)) for a, n in enumerate(head.shape)]
    numbers = []
    for low, high in pairwise(SHELLS_MM):
        for axis in range(3):
            for side in (place[axis] < 0, place[axis] >= 0):
                found = blocks[(distance > low) & (distance <= high) & side]
                enough = len(found) > 20
                numbers += (
                    [found.mean(), np.quantile(found, 0.99), (found > found.min()).mean()]
                    if enough
                    else [np.nan] * 3
                )
    return np.array(numbers)


def named_by_numbers(told: list[str], groups: list) -> dict[str, float]:
    """Expected share of originals that are named by equal numbers, in all and in groups; beside chance."""
    among = Counter(told)
    within = Counter(zip(groups, told, strict=True))
    of_group = Counter(groups)
    several = [key for key in zip(groups, told, strict=True) if of_group[key[0]] > 1]
    return {
        'values': len(among),
        'rank1': float(np.mean([1 / among[one] for one in told])),
        'chance': 1 / len(told),
        'rank1_same_kind': float(np.mean([1 / within[key] for key in several])) if several else np.nan,
        'chance_same_kind': float(np.mean([1 / of_group[key[0]] for key in several])) if several else np.nan,
    }


def named_by_outputs(outputs: dict[str, np.ndarray], originals: dict[str, np.ndarray], groups: dict) -> dict:
    """Share of outputs that are nearest to their own original, in all and in its group; beside chance.

    Numbers count by their standard deviation between all originals.
    """
    spread = np.nanstd(np.stack(list(originals.values())), axis=0) + 1e-9
    hits = defaultdict(list)
    for name, output in outputs.items():
        distance = {
            other: float(np.nanmean(np.abs(numbers - output) / spread))
            for other, numbers in originals.items()
        }
        alike = [other for other in originals if groups[other] == groups[name]]
        hits['rank1'].append(min(distance, key=distance.__getitem__) == name)
        hits['chance'].append(1 / len(distance))
        hits['rank1_same_kind'].append(min(alike, key=distance.__getitem__) == name)
        hits['chance_same_kind'].append(1 / len(alike))
    return {'outputs': len(outputs), **{name: float(np.mean(values)) for name, values in hits.items()}}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('prepared', type=Path)
    parser.add_argument('outputs', type=Path, nargs='*')
    args = parser.parse_args()
    known: dict[str, Description] = {}
    left_out = 0
    for path in find_t1w(args.heads):
        name = path.name.split('.')[0]
        try:
            known[name] = describe(path, args.prepared, name)
        except InputError:
            left_out += 1  # no masks, or no air
    kinds = [one.kind for one in known.values()]
    published = {
        'Air': [str(one.told['Air']) for one in known.values()],
        'Tissue': [str(one.told['Tissue']) for one in known.values()],
        'both': [str(one.told) for one in known.values()],
    }
    fields = [(part, field) for part, told in next(iter(known.values())).told.items() for field in told]
    result: dict[str, Any] = {
        'heads': len(known),
        'left_out': left_out,
        'published': {part: named_by_numbers(told, kinds) for part, told in published.items()},
        'rounded': {
            field: named_by_numbers([str(one.told[part][field]) for one in known.values()], kinds)
            for part, field in fields
        },
        'by_outputs': {},
    }
    groups = {name: one.kind for name, one in known.items()}
    for folder in args.outputs:
        found = {}
        for path in find_t1w(folder):
            name = path.name.split('_desc-')[0] + '_T1w'
            if name in known:
                found[name] = describe(path, args.prepared, name).fine
        result['by_outputs'][folder.name] = {
            part: named_by_outputs(
                {name: fine[part] for name, fine in found.items()},
                {name: one.fine[part] for name, one in known.items()},
                groups,
            )
            for part in ('Air', 'Tissue')
        }
    write_result('air_fingerprint', result)


if __name__ == '__main__':
    main()
