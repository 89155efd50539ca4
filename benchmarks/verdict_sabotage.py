"""Break an output of the tool in one way after another: which checks of the verdict notice?

    python -m benchmarks.verdict_sabotage T1W WORK [--only NAME ...]

T1W is a scan and WORK what ``cpmae-bids-file T1W OUT -w WORK`` left. Each sabotage names the checks that it
was made for; the exit code is 1 if one of them does not fire, or if one fires on the honest output. Numbers
go to ``results/verdict_sabotage.json``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.scans import RESULTS, command_line, write_result
from cpmae_bids.deid.images import masks, nifti, noise, volumes
from cpmae_bids.deid.qc import metrics, scan_checks
from cpmae_bids.deid.qc.decision import decide
from cpmae_bids.deid.qc.thresholds import thresholds_of
from cpmae_bids.deid.space import geometry, regions
from cpmae_bids.deid.synthesis import air as air_model
from cpmae_bids.deid.synthesis import blending
from cpmae_bids.steps.conform import read_affine
from cpmae_bids.steps.register import align, brain_on_grid
from cpmae_bids.steps.skullstrip import GUARD_MM
from cpmae_bids.templates import Template, find_template


@dataclass
class Output:
    """A scan with all that the steps made of it; the parts can be replaced by bad ones.

    Attributes
    ----------
    scan : nifti.Image
        The original.
    brain, kept : ndarray of bool, shape (X, Y, Z)
    world_to_template : ndarray, shape (4, 4)
    scale : float
    head : ndarray, shape (n, n, n)
        The generated head.
    codes : dict
        ``original_codes`` and ``generated_codes``.
    raw : ndarray, shape (X, Y, Z)
        Stored values of the refaced scan.
    """

    scan: nifti.Image
    brain: np.ndarray
    kept: np.ndarray
    world_to_template: np.ndarray
    scale: float
    head: np.ndarray
    codes: dict[str, list[np.ndarray]]
    raw: np.ndarray

    @classmethod
    def read(cls, t1w: Path, work: Path) -> Output:
        """Read what ``cpmae-bids-file -w`` left."""
        (folder,) = work.glob('cpmae-bids-*')
        scan = scan_checks.load_t1w(t1w)
        with np.load(folder / 'brain.npz') as arrays:
            scale = float(arrays['scale'])
        return cls(
            scan,
            nifti.read_mask(folder / 'brain_mask.nii.gz', scan),
            nifti.read_mask(folder / 'kept_mask.nii.gz', scan),
            read_affine(folder / 'affine.txt'),
            scale,
            volumes.read(folder / 'generated.npz', 'head'),
            {
                'original_codes': volumes.read_codes(folder / 'original_codes.npz'),
                'generated_codes': volumes.read_codes(folder / 'head_codes.npz'),
            },
            nifti.read(next(folder.glob('refaced.*'))).raw,
        )

    @cached_property
    def air(self) -> tuple[air_model.AirStatistics, float]:
        values = self.scan.values()
        air = air_model.estimate(values, self.kept, self.scan.voxel_sizes, self.scale)
        return air, noise.in_brain(values, self.kept)

    @cached_property
    def template(self) -> Template:
        return find_template()

    def position(self) -> list[np.ndarray]:
        """x, y and z of each voxel in the template's world (mm)."""
        matrix = self.world_to_template @ self.scan.affine
        i, j, k = np.ogrid[tuple(slice(n) for n in self.scan.shape)]
        return [row[0] * i + row[1] * j + row[2] * k + row[3] for row in matrix[:3]]

    def away(self) -> np.ndarray:
        """Voxels beyond the feather."""
        width = masks.feather_width(self.scan.voxel_sizes)
        return np.isinf(masks.distance_outside(self.kept, self.scan.voxel_sizes, width))

    def box(self, x, y, z) -> np.ndarray:
        """Voxels beyond the feather within ranges of the template's world (mm)."""
        inside = self.away()
        for position, (low, high) in zip(self.position(), (x, y, z), strict=True):
            inside &= (position >= low) & (position <= high)
        return inside

    def with_head(self, head: np.ndarray, move: np.ndarray | None = None) -> np.ndarray:
        """Stored values with another head, or with the same one moved in the template's world."""
        to_template = self.world_to_template if move is None else np.linalg.inv(move) @ self.world_to_template
        return blending.blend(self.scan, self.kept, self.around(head, to_template))

    def around(self, head: np.ndarray, world_to_template: np.ndarray) -> np.ndarray:
        """A head on the grid of the scan, in its air."""
        affine = self.scan.affine
        placed = blending.place(head, self.scale, affine, world_to_template, self.scan.shape)
        return blending.add_air(placed, self.scale, affine, *self.air, 1)

    def judge(self, raw: np.ndarray | None = None, scan: nifti.Image | None = None, **changes):
        """Measures, and the checks that fire, of the file as written; `changes` as of `metrics.measure`."""
        written_like = changes.pop('written_like', scan or self.scan)
        template = self.template
        with tempfile.TemporaryDirectory() as folder:
            nifti.write(Path(folder, 'out.nii'), self.raw if raw is None else raw, written_like)
            measures = metrics.measure(
                **{
                    'original': scan or self.scan,
                    'refaced': nifti.read(Path(folder, 'out.nii')),
                    'brain': self.brain,
                    'preserved': self.kept,
                    'deface_mask': ~self.kept,
                    'world_to_template': self.world_to_template,
                    'scale': self.scale,
                    'template': template,
                    **self.codes,
                    **changes,
                }
            )
        _, reasons = decide(measures, thresholds_of(''))
        fired = {row.metric for row in thresholds_of('') if f'({row.metric} ' in ' '.join(reasons)}
        return measures, fired


FACE = regions.FACE


def patch(out: Output, where: np.ndarray, change: int = 0) -> dict:
    """The original put back in a place, its stored values moved by +-change."""
    raw, original = out.raw.copy(), out.scan.raw[where].astype(np.float64)
    if change:
        original += np.random.default_rng(0).choice([-change, change], original.shape)
    raw[where] = np.clip(original, out.scan.raw.min(), out.scan.raw.max())
    return {'raw': raw}


def face_put_back(out):
    return patch(out, out.box(*FACE))


def half_face_put_back(out):
    return patch(out, out.box((0, 75), *FACE[1:]))


def half_face_put_back_with_noise(out):
    return patch(out, out.box((0, 75), *FACE[1:]), max(1, round(0.01 * out.scale / out.scan.slope)))


def ear_put_back(out):
    return patch(out, out.box((60, 128), (-60, 10), (-70, -10)))


def neck_put_back(out):
    return patch(out, out.box((-200, 200), (-200, 20), (-200, -45)))


def head_given_back(out):
    cube = geometry.to_template(out.scan.values(), out.scan.affine, out.world_to_template, 128) / out.scale
    return {'raw': out.with_head(cube.astype(np.float16))}


def codes_given_back(out):
    return {'generated_codes': out.codes['original_codes']}


def brain_voxel_changed(out):
    raw = out.raw.copy()
    raw[tuple(np.argwhere(out.brain)[1000])] += 1
    return {'raw': raw}


def mirrored(out):
    return {'raw': np.ascontiguousarray(out.raw[::-1])}


def shifted_by_a_voxel(out):
    return {'raw': np.roll(out.raw, 1, axis=0)}


def kept_mask_off(out):
    kept = np.roll(out.kept, round(5 / out.scan.voxel_sizes[1]), axis=1)
    return {'preserved': kept, 'deface_mask': ~kept}


def scalp_swallowed(mm: float):
    """The brain mask dilated, and all that follows from it: kept mask, alignment, head."""

    def sabotage(out):
        sizes = out.scan.voxel_sizes
        brain = masks.dilate(out.brain, mm, sizes)
        kept = masks.dilate(brain, GUARD_MM, sizes)
        moving = brain_on_grid(out.scan.values(), brain, out.scan.affine)
        matrix = align(*moving, out.template.brain, out.template.affine)
        return {
            'raw': blending.blend(out.scan, kept, out.around(out.head, matrix)),
            'brain': brain,
            'preserved': kept,
            'deface_mask': ~kept,
            'world_to_template': matrix,
        }

    return sabotage


def header_changed(out):
    moved = nifti.read(out.scan.path)
    moved.header['qoffset_y'] += 1
    moved.header['srow_y'][3] += 1
    return {'written_like': moved}


def not_a_number(out):
    values = nifti.read(out.scan.path)
    values.header.set_data_dtype(np.float32)
    scan = type(values)(**{**vars(values), 'raw': values.raw.astype(np.float32)})
    raw = out.raw.astype(np.float32)
    raw[tuple(np.argwhere(out.away())[5])] = np.nan
    return {'raw': raw, 'scan': scan}


def too_bright(out):
    raw = out.raw.copy()
    raw[tuple(np.argwhere(out.away())[5])] = np.iinfo(raw.dtype).max if raw.dtype.kind in 'iu' else 1e9
    quiet = out.scan.raw.copy()
    quiet[quiet == quiet.max()] = quiet.max() - 1
    scan = type(out.scan)(**{**vars(out.scan), 'raw': quiet})
    return {'raw': raw, 'scan': scan, 'brain': out.brain, 'preserved': out.kept}


def moved(x=0.0, y=0.0, z=0.0, scale=1.0):
    def sabotage(out):
        move = np.diag([scale, scale, scale, 1.0])
        center = np.array([0, -18, 8.0])
        move[:3, 3] = center - scale * center + (x, y, z)
        return {'raw': out.with_head(out.head, move)}

    return sabotage


def no_head(out):
    return {'raw': out.with_head(np.zeros_like(out.head))}


def _coordinates(shape: tuple[int, int, int]) -> list[np.ndarray]:
    """World coordinates (mm) of a head on the template grid, whose last axis begins below it."""
    affine = geometry.grid_affine(shape[0])
    below = (0, 0, shape[2] - shape[0])
    return [
        affine[axis, axis] * (grid - below[axis]) + affine[axis, 3]
        for axis, grid in enumerate(np.ogrid[tuple(slice(size) for size in shape)])
    ]


def face_cut_off(out):
    """Everything in front of a plane from the brow to the throat is gone."""
    _, y, z = _coordinates(out.head.shape)
    return {'raw': out.with_head(np.where(y - 0.4 * z > 75, 0, out.head))}


def face_ironed(out):
    """A plane in place of brows, eyes and nose, where the face is on average."""
    head = np.asarray(out.head, np.float32)
    x, y, z = _coordinates(out.head.shape)
    face = ((np.abs(x) < 60) & (z > -105) & (z < 10))[:, 0]
    inside = masks.head_mask(head, fill=True)
    skin = np.where(inside, y, -999).max(axis=1)
    i, k = np.nonzero(face & (skin > 20))
    slope, offset = np.polyfit(z[0, 0, k], skin[i, k], 1)
    wall = slope * z + offset
    face = face[:, None]
    head = np.where(face & (y <= wall) & (y > wall - 25) & ~(inside & (head > 0.35)), 0.6, head)
    return {'raw': out.with_head(np.where(face & (y > wall), 0, head))}


def nose_cut_off(out):
    x, y, z = _coordinates(out.head.shape)
    where = (np.abs(x) < 16) & (y > 58) & (z > -86) & (z < -28)
    return {'raw': out.with_head(np.where(where, 0, out.head))}


def skull_opened(out):
    _, _, z = _coordinates(out.head.shape)
    return {'raw': out.with_head(np.where(z > 30, 0, out.head))}


def combed(out):
    """Every second slab of 8 mm is missing behind the face."""
    x, y, _ = _coordinates(out.head.shape)
    return {'raw': out.with_head(np.where((np.floor(x / 8) % 2 == 0) & (y < 20), 0, out.head))}


def scattered(out):
    """Lumps in the air beside the forehead."""
    x, y, z = _coordinates(out.head.shape)
    lump = (np.abs(x) - 66) ** 2 + (y - 90) ** 2 + (z - 50) ** 2 < 22**2
    return {'raw': out.with_head(np.where(lump, 0.8, out.head))}


def horned(out):
    x, y, z = _coordinates(out.head.shape)
    where = (x > 30) & (x < 98) & (y > 50) & (y < 108) & (z > 20) & (z < 100)
    return {'raw': out.with_head(np.where(where, 0.8, out.head))}


def intensities(factor: float):
    def sabotage(out):
        return {'raw': out.with_head(factor * np.asarray(out.head, np.float32))}

    return sabotage


def filled_with_grey(out):
    """The outline of a head, and nothing in it."""
    inside = masks.head_mask(np.asarray(out.head, np.float32), fill=True)  # bone and sinuses, too
    return {'raw': out.with_head(np.where(inside, 0.5, 0).astype(np.float32))}


def seam(step: float):
    """A rim of 3 mm around the kept mask that is brighter by a share of the scale."""

    def sabotage(out):
        distance = masks.distance_outside(out.kept, out.scan.voxel_sizes, 3.0)
        rim = (distance > 0) & np.isfinite(distance)
        raw = out.raw.astype(np.float64)
        raw[rim] += step * out.scale / out.scan.slope
        return {'raw': np.clip(raw, out.scan.raw.min(), out.scan.raw.max()).astype(out.raw.dtype)}

    return sabotage


def _air(out) -> np.ndarray:
    """Voxels that hold air in the output, at some distance from tissue."""
    sizes = out.scan.voxel_sizes
    smooth = ndimage.gaussian_filter(
        (out.raw * out.scan.slope + out.scan.inter).astype(np.float32), 2 / sizes
    )
    return out.away() & (smooth < 0.06 * out.scale)


def air_zeroed(out):
    return {'raw': np.where(_air(out), out.scan.raw.min(), out.raw)}


def air_constant(out):
    where = _air(out)
    level = np.rint(np.mean(out.raw[where])) if out.raw.dtype.kind in 'iu' else np.mean(out.raw[where])
    return {'raw': np.where(where, np.asarray(level, out.raw.dtype), out.raw)}


def air_loud(out):
    rng = np.random.default_rng(0)
    noise_ = np.abs(rng.normal(0, 0.1 * out.scale / out.scan.slope, out.raw.shape))
    raw = np.where(_air(out), noise_, out.raw)
    return {'raw': np.clip(raw, out.scan.raw.min(), out.scan.raw.max()).astype(out.raw.dtype)}


SABOTAGES = {
    'a brain voxel changed': (brain_voxel_changed, {'kept_voxels_changed'}),
    'left and right mirrored': (mirrored, {'kept_voxels_changed'}),
    'shifted by a voxel': (shifted_by_a_voxel, {'kept_voxels_changed'}),
    'kept mask off by 5 mm': (kept_mask_off, {'brain_voxels_not_kept'}),
    'scalp within a brain mask dilated by 10 mm': (
        scalp_swallowed(10),
        {'kept_near_air_ml', 'volume_by_interior'},
    ),
    'scalp within a brain mask dilated by 12 mm': (
        scalp_swallowed(12),
        {'kept_near_air_ml', 'volume_by_interior'},
    ),
    'header moved by 1 mm': (header_changed, {'header_fields_changed'}),
    'a voxel is NaN': (not_a_number, {'not_finite_voxels'}),
    'a voxel brighter than the input': (too_bright, {'voxels_out_of_range'}),
    'the face put back': (
        face_put_back,
        {'unchanged_region_share', 'surface_moved_mm', 'surface_same_share'},
    ),
    'half of the face put back': (half_face_put_back, {'unchanged_region_share', 'surface_same_share'}),
    'the same with noise': (half_face_put_back_with_noise, {'surface_same_share'}),
    'one ear put back': (ear_put_back, {'unchanged_region_share'}),
    'neck and nape put back': (neck_put_back, {'unchanged_tissue_share', 'unchanged_region_share'}),
    'the model gives the original back': (
        head_given_back,
        {'detail_correlation', 'surface_moved_mm', 'surface_same_share'},
    ),
    'the codes are those of the original': (codes_given_back, {'code_agreement'}),
    'no head': (no_head, {'head_per_brain', 'nose_share', 'vault_closed_share', 'face_distance_mm'}),
    'face cut off by a plane': (face_cut_off, {'nose_share', 'face_relief'}),
    'nose cut off': (nose_cut_off, {'nose_share'}),
    'face without relief': (face_ironed, {'face_relief'}),
    'head 20 mm in front of its brain': (moved(y=20), {'face_distance_mm'}),
    'head 20 mm behind its brain': (moved(y=-20), {'face_distance_mm'}),
    'head 15 mm to the side': (moved(x=15), {'vault_closed_share'}),
    'head 15 mm below its brain': (moved(z=-15), {'vault_closed_share'}),
    'head of 1.25 of its size': (moved(scale=1.25), {'far_tissue_share', 'face_distance_mm'}),
    'head of 0.8 of its size': (moved(scale=0.8), {'vault_closed_share'}),
    'skull open at the top': (skull_opened, {'vault_closed_share'}),
    'a horn': (horned, {'far_tissue_share'}),
    'lumps in the air': (scattered, {'stray_tissue_share'}),
    'head in slabs': (combed, {'surface_roughness'}),
    'head of 0.4 of its brightness': (intensities(0.4), {'head_brightness'}),
    'head of 2.2 of its brightness': (intensities(2.2), {'head_brightness'}),
    'head filled with one grey': (filled_with_grey, {'head_contrast'}),
    'seam': (seam(2.0), {'seam_ratio'}),
    'air of zeros': (air_zeroed, {'air_busy_ratio'}),
    'air of one value': (air_constant, {'air_busy_ratio'}),
    'air three times as loud': (air_loud, {'air_p95_change'}),
}
"""Name: what is done to an output, and the checks that must fire."""


def run(out: Output, names=tuple(SABOTAGES)) -> Iterator[tuple[str, dict]]:
    """Break an output in all ways.

    Yields
    ------
    name : str
        Of the sabotage; ``honest`` comes first.
    result : dict
        ``wanted`` and ``fired``, the names of checks, and ``values`` of the wanted ones.
    """
    yield 'honest', _result(out.judge(), set())
    for name in names:
        sabotage, wanted = SABOTAGES[name]
        yield name, _result(out.judge(**sabotage(out)), wanted)


def _result(judged: tuple[dict, set], wanted: set[str]) -> dict:
    measures, fired = judged
    values = {name: measures[name] for name in sorted(wanted) if name in measures}
    return {
        'wanted': sorted(wanted),
        'fired': sorted(fired),
        'values': {name: float(f'{value:.3g}') for name, value in values.items() if np.isfinite(value)},
    }


def main(argv: list[str] | None = None) -> int:
    """Print what fires, and write the numbers; those of sabotages that are not asked for stay."""
    parser = command_line(__doc__)
    parser.add_argument('t1w', type=Path)
    parser.add_argument('work', type=Path)
    parser.add_argument('--only', nargs='+', choices=SABOTAGES, default=list(SABOTAGES), metavar='NAME')
    args = parser.parse_args(argv)
    written, wrong = RESULTS / 'verdict_sabotage.json', False
    before = json.loads(written.read_text('utf-8'))['sabotages'] if written.exists() else {}
    for name, found in run(Output.read(args.t1w, args.work), args.only):
        before[name] = found
        missed = set(found['wanted']) - set(found['fired'])
        wrong |= bool(missed) or (name == 'honest' and bool(found['fired']))
        print(
            f'{"MISSED " if missed else ""}{name}: {", ".join(found["fired"]) or "-"}',
            found['values'],
            flush=True,
        )
        in_order = {name: before[name] for name in ('honest', *SABOTAGES) if name in before}
        write_result('verdict_sabotage', {'sabotages': in_order})
    print(written)
    return int(wrong)


if __name__ == '__main__':
    raise SystemExit(main())
