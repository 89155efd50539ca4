"""Brain masks that have swallowed the scalp: what the verdict measures of them, and of honest ones.

    python -m benchmarks.swallowed_scalp HEADS PREPARED [--aligned-every N]

HEADS is a BIDS dataset of originals, PREPARED the work folder of ``cpmae-bids-train prepare``, with
``NAME_brain.nii.gz`` and ``NAME_affine.txt`` of each. On a grid of 2 mm, every brain mask is dilated, and
every head is made thinner around its brain, as those of children are: distances from the brain, skull and
scalp among them, shrink to a share. Of every Nth head, the dilated masks, and all that lies within some
distance of the template's brain, are aligned to the template again, as the tool would. Numbers go to
``results/swallowed_scalp.json``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks.scans import command_line, write_result
from cpmae_bids.deid.images import intensity
from cpmae_bids.deid.qc import margin
from cpmae_bids.deid.qc.head_checks import alignment_fault
from cpmae_bids.deid.qc.thresholds import thresholds_of
from cpmae_bids.deid.space import geometry
from cpmae_bids.deid.space.alignment import intensity_correlation, template_overlap, volume_by_interior
from cpmae_bids.steps.register import align, brain_on_grid
from cpmae_bids.steps.skullstrip import GUARD_MM
from cpmae_bids.templates import find_template

DILATIONS = (3, 6, 8, 10, 12)
"""Of a brain mask, mm."""

THINNER = (0.8, 0.65, 0.5)
"""Distances from the brain, as shares of an adult's: at 0.65 the scalp ends 6 to 9 mm from the brain."""

ROOM_MM = 30
"""Around the template's brain, for its dilation."""


@dataclass
class Head:
    """A scan on the grid of 2 mm: intensities, brain, affine, and its alignment to the template."""

    values: np.ndarray
    brain: np.ndarray
    affine: np.ndarray
    world_to_template: np.ndarray

    @classmethod
    def read(cls, scan: Path, prepared: Path) -> Head:
        image, mask = nib.load(scan), nib.load(prepared / f'{_name(scan)}_brain.nii.gz')
        grid, shape = geometry.world_grid(image.shape, image.affine, margin.GRID_MM)
        sigma = geometry.antialias_sigma(image.affine, margin.GRID_MM)
        to_scan = np.linalg.inv(image.affine) @ grid
        values, brain = (
            geometry.resample(geometry.smooth(volume, sigma), to_scan, shape)
            for volume in (image.get_fdata(dtype=np.float32), np.asarray(mask.dataobj) > 0)
        )
        return cls(values, brain >= 0.5, grid, np.loadtxt(prepared / f'{_name(scan)}_affine.txt'))

    def thinner(self, share: float) -> np.ndarray:
        """Intensities with distances from the brain shrunk to a share."""
        nearest = ndimage.distance_transform_edt(~self.brain, return_distances=False, return_indices=True)
        there = np.indices(self.values.shape, dtype=np.float32)
        there = nearest + (there - nearest) / np.float32(share)
        return ndimage.map_coordinates(self.values, there, order=1, mode='nearest')


def dilated(mask: np.ndarray, mm: float) -> np.ndarray:
    """A mask on the grid of 2 mm and all within a distance of it."""
    return ndimage.distance_transform_edt(~mask, sampling=margin.GRID_MM) <= mm


def cases(head: Head, *, aligned: bool) -> Iterator[tuple[str, dict[str, float]]]:
    """Measures of the honest mask and of all bad ones, by the name of the case."""
    scale = intensity.brain_scale(head.values[head.brain])
    outside = margin.Outside.of(head.values, head.affine, scale, head.brain)

    def near(brain: np.ndarray, outside=outside) -> float:
        return outside.near_ml(dilated(brain, GUARD_MM), head.affine)

    yield ('honest', {'kept_near_air_ml': near(head.brain), 'volume_by_interior': _volume(head, head.brain)})
    for mm in DILATIONS:
        mask = dilated(head.brain, mm)
        found = {'kept_near_air_ml': near(mask)}
        yield f'dilated by {mm} mm', found | (_aligned(head, mask) if aligned else {})
    for mm in DILATIONS[-2:]:
        mask = _around_template(head, mm)
        found = {'kept_near_air_ml': near(mask)}
        yield f'within {mm} mm of the template', found | (_aligned(head, mask) if aligned else {})
    for share in THINNER:
        thin = margin.Outside.of(head.thinner(share), head.affine, scale, head.brain)
        yield f'head of {share:g}', {'kept_near_air_ml': near(head.brain, thin)}
        for mm in (6, 8):
            mask = dilated(head.brain, mm)
            yield f'head of {share:g}, dilated by {mm} mm', {'kept_near_air_ml': near(mask, thin)}


def _volume(head: Head, mask: np.ndarray, world_to_template: np.ndarray | None = None) -> float:
    template = find_template()
    matrix = head.world_to_template if world_to_template is None else world_to_template
    return volume_by_interior(head.values, mask, head.affine, matrix, template)


def _aligned(head: Head, mask: np.ndarray) -> dict[str, float]:
    """Measures after an alignment by a mask; whether that alignment is plausible by all others."""
    template = find_template()
    brain = brain_on_grid(head.values, mask, head.affine)
    matrix = align(*brain, template.brain, template.affine)
    parts = (mask, head.affine, matrix)
    overlap = template_overlap(*parts, template)
    correlation = intensity_correlation(head.values, *parts, template)
    return {
        'volume_by_interior': _volume(head, mask, matrix),
        'looks_aligned': float(alignment_fault(matrix, overlap, correlation) is None),
    }


def _around_template(head: Head, mm: float) -> np.ndarray:
    template = find_template()
    sizes = geometry.voxel_sizes(template.affine)
    room = int(ROOM_MM / sizes.min())
    away = ndimage.distance_transform_edt(~np.pad(template.mask, room), sampling=sizes)
    affine = template.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, room)
    to_template = np.linalg.inv(affine) @ head.world_to_template @ head.affine
    return geometry.resample(away <= mm, to_template, head.values.shape, order=0) > 0.5


def summarise(found: list[dict[str, float]]) -> dict:
    """Number of heads, least, median and greatest of each measure, and how many the verdict fails."""
    limits = {limit.metric: limit for limit in thresholds_of('')}
    summary: dict = {'heads': len(found)}
    for name in dict.fromkeys(key for one in found for key in one):
        values = np.array([one[name] for one in found if name in one])
        summary[name] = [float(f'{value:.3g}') for value in np.percentile(values, (0, 50, 100))]
        if name in limits:
            beyond = sum(not limits[name].holds(value) for value in values)
            summary[f'{name}_fails'] = f'{beyond} of {values.size}'
    return summary


def _name(scan: Path) -> str:
    return scan.name.partition('.')[0]


def main(argv: list[str] | None = None) -> None:
    """Measure all heads that were prepared."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--every', type=int, default=1, metavar='N', help='take every Nth head')
    parser.add_argument('--aligned-every', type=int, default=10, metavar='N')
    args = parser.parse_args(argv)
    scans = sorted(args.heads.glob('sub-*/**/anat/*_T1w.nii.gz'))
    scans = [scan for scan in scans if (args.prepared / f'{_name(scan)}_affine.txt').exists()]
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number, scan in enumerate(scans[:: args.every]):
        head = Head.read(scan, args.prepared)
        for name, measures in cases(head, aligned=number % args.aligned_every == 0):
            found[name].append(measures)
        print(number + 1, found['honest'][-1], flush=True)
        path = write_result('swallowed_scalp', {name: summarise(some) for name, some in found.items()})
    print(path)


if __name__ == '__main__':
    main()
