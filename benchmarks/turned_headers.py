"""Does the registration accept a brain that lies on its side? Overlap and correlation with the template.

    python -m benchmarks.turned_headers HEADS WORK [--turned 5]

WORK holds brain masks and affines as ``cpmae-bids-train prepare`` leaves them. All heads are measured at
their affines; then some of them are aligned again after their headers were turned by right angles.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.scans import command_line, find_t1w, write_result
from cpmae_bids.deid.images import nifti
from cpmae_bids.deid.qc import head_checks, scan_checks
from cpmae_bids.deid.qc.thresholds import threshold
from cpmae_bids.deid.space import alignment, geometry
from cpmae_bids.steps import register
from cpmae_bids.steps.conform import read_affine
from cpmae_bids.templates import find_template

TURNS = tuple(tuple(sign * 90 * (i == axis) for i in range(3)) for axis in range(3) for sign in (1, -1))
"""Degrees about x, y and z."""


class Brain:
    """A scan, its brain mask, and how it lies on the template."""

    def __init__(self, t1w: Path, work: Path, template):
        scan = scan_checks.load_t1w(t1w)
        name = t1w.name.split('.')[0]
        self.values, self.affine, self.template = scan.values(), scan.affine, template
        self.mask = nifti.read_mask(work / f'{name}_brain.nii.gz', scan)
        self.world_to_template = read_affine(work / f'{name}_affine.txt')

    def measure(self, affine: np.ndarray, world_to_template: np.ndarray) -> tuple[float, float, str | None]:
        """Overlap, correlation, and why the registration would refuse it but for the correlation."""
        template = self.template
        overlap = alignment.template_overlap(self.mask, affine, world_to_template, template)
        correlation = alignment.intensity_correlation(
            self.values, self.mask, affine, world_to_template, template
        )
        return overlap, correlation, head_checks.alignment_fault(world_to_template, overlap, correlation=1)

    def turned(self, degrees) -> list[tuple[float, float, str | None]]:
        """What each start of the registration gives after the header was turned."""
        affine = np.eye(4)
        affine[:3, :3] = geometry.rotation(degrees)
        affine = affine @ self.affine
        brain, grid = register.brain_on_grid(self.values, self.mask, affine)
        template = self.template.brain, self.template.affine
        return [
            self.measure(affine, register.align(brain, grid, *template, geometry.rotation(start)))
            for start in register.STARTS
        ]


def summarise(found: list[tuple[float, float, str | None]]) -> dict:
    """Ranges of what was found."""
    accepted = np.array([pair[:2] for pair in found if pair[2] is None]).reshape(-1, 2)
    summary = {'alignments': len(found), 'plausible_but_for_the_correlation': len(accepted)}
    for name, values in zip(('overlap', 'correlation'), accepted.T, strict=True):
        quantiles = np.percentile(values, (0, 5, 50, 95, 100)).round(3)
        summary[name] = dict(zip(('0', '5', '50', '95', '100'), quantiles.tolist(), strict=True))
    return summary


def main(argv: list[str] | None = None) -> None:
    """Write the two distributions."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('work', type=Path)
    parser.add_argument('--turned', type=int, default=5, metavar='N', help='heads that are turned')
    args = parser.parse_args(argv)
    template, paths = find_template(), find_t1w(args.heads)
    as_they_are = []
    for path in tqdm(paths, 'as they are'):
        brain = Brain(path, args.work, template)
        as_they_are.append(brain.measure(brain.affine, brain.world_to_template))
    turned = []
    chosen = paths[:: max(1, len(paths) // args.turned)][: args.turned]
    for path, degrees in tqdm([(path, degrees) for path in chosen for degrees in TURNS], 'turned'):
        turned += Brain(path, args.work, template).turned(degrees)
    summary = {
        'limits': {name: threshold(f'template_{name}').low for name in ('overlap', 'correlation')},
        'as_they_are': summarise(as_they_are),
        'turned': {'heads': len(chosen), **summarise(turned)},
    }
    print(write_result('turned_headers', summary))


if __name__ == '__main__':
    main()
