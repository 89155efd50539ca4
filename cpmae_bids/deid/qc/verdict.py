"""Measure a refaced scan as it was written, and decide whether it may be published.

Every check is a row of `LIMITS`: a measure and the range that it must lie in. A measure that is missing or
not a number fails its check, except where the row says that it does not apply to every scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import background, intensity, masks, nifti, noise
from cpmae_bids.deid.qc import face, head_checks, margin, relief
from cpmae_bids.deid.qc.disclosure import is_public
from cpmae_bids.deid.space import alignment, geometry, surface
from cpmae_bids.deid.synthesis import seam
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime import threads

VAULT_BOX = ((-128, 128), (-140, 116), (15, 104))
"""Range of x, y, z in the template's world (mm) above brows and ears: a brain has but scalp around it."""

SKULL_MM = (4.0, 7.0)
"""Range of distances from the brain that lie within the head all around the vault."""

FAR_MM = 28.0
"""Distance from the brain beyond which there is air above every head."""

MIN_VOXELS = 500
"""Voxels of 2 mm in view that it takes to say anything about a part of the head."""

MIN_FACE_IN_VIEW = 0.8
"""Share of the mean face that must be in view to ask whether a part of the face stayed: the forehead alone
follows the brain."""

REGION_MM = 16.0
"""Edge of the blocks in which stored values are compared: an ear, or half a nose, fills several."""

MIN_REGION_SHARE = 0.2
"""Share of a block that must be tissue to say anything about it."""

FACE_ROOM_MM = 8.0
"""Room in front of the mean face that must be in view to look for the relief of a face."""

MAX_ROUNDED = 0.001
"""Share of the kept voxels that may change with the rounding of an affine map in a text file."""

BRAIN_ROOM_MM = 12.0
"""Distance from the brain of the template within which brains and their rim lie, once aligned."""

_COARSE = 64  # cube in which masks are compared with the template's: 4 mm
_N = 128  # cube in which heads are compared: 2 mm


@dataclass(frozen=True)
class Limit:
    """Range of a measure, inclusive; what it means if the measure lies outside; whether it may be missing."""

    measure: str
    low: float
    high: float
    meaning: str
    optional: bool = False

    def holds(self, value: float | None) -> bool:
        """Whether a value lies within; what is missing or NaN does not."""
        return value is not None and self.low <= value <= self.high


_NONE = (-np.inf, 0)

LIMITS = (
    # The brain is what it was
    Limit('header_fields_changed', *_NONE, 'header differs from the input'),
    Limit('header_fields_leaked', *_NONE, 'header carries fields that must be empty'),
    Limit('kept_voxels_changed', *_NONE, 'voxels inside the kept mask changed'),
    Limit('brain_voxels_not_kept', *_NONE, 'brain voxels outside the kept mask'),
    Limit('deface_mask_errors', *_NONE, 'mask of what was replaced is not the complement of the kept mask'),
    # The masks and the alignment are those of a brain
    Limit('brain_ml', *head_checks.BRAIN_ML, 'implausible brain volume'),
    Limit('kept_per_brain', 1, 1.6, 'kept mask is much larger than the brain'),
    Limit('template_overlap', alignment.MIN_DICE, 1, 'brain does not overlap the template'),
    Limit('template_correlation', alignment.MIN_CORRELATION, 1, 'brain does not look like the template'),
    Limit('kept_far_ml', 0, 1, 'kept mask reaches far beyond where brains lie'),
    Limit('volume_by_interior', 0, 1.25, 'brain mask is larger than the brain within'),
    Limit('kept_near_air_ml', 0, 5, 'kept mask reaches into the scalp'),
    Limit('rotation_deg', 0, alignment.MAX_ROTATION, 'implausible rotation to the template'),
    Limit('stretch_min', *alignment.SCALES, 'implausible scaling to the template'),
    Limit('stretch_max', *alignment.SCALES, 'implausible scaling to the template'),
    # The original head is gone
    Limit('unchanged_tissue_share', 0, 0.15, 'too much of the head is as it was'),
    Limit('unchanged_region_share', 0, 0.3, 'a part of the head is as it was'),
    # Up to 0.4 between a person and the output, 0.6 where the scan is an average of many: details that all
    # heads share; 0.98 if the codes of the original were decoded
    Limit('detail_correlation', -1, 0.75, 'details of the head are those of the original'),
    Limit('surface_moved_mm', 0.7, np.inf, 'surface of the face did not move'),
    Limit(
        'surface_same_share',
        0,
        0.4,
        'a part of the face lies where it lay, which another --seed may mend',
        optional=True,
    ),
    Limit('code_agreement', 0, 0.9, 'generated codes are those of the original', optional=True),
    # There is a plausible head in its place
    Limit('not_finite_voxels', *_NONE, 'NaN or infinite values'),
    Limit('voxels_out_of_range', *_NONE, 'values outside the range of the input'),
    Limit('head_per_brain', head_checks.MIN_HEAD_SHARE, np.inf, 'no head around the brain'),
    Limit('head_volume_ratio', 0.4, 2.5, 'head of another size than the original'),
    Limit('nose_share', head_checks.MIN_NOSE_SHARE, 1, 'no face where a face belongs', optional=True),
    Limit('face_distance_mm', 0, face.MAX_DISTANCE_MM, 'face lies where no face lies', optional=True),
    Limit('face_relief', relief.MIN_AGREEMENT, 1, 'no brows, eyes and nose on the face', optional=True),
    Limit('head_brightness', 0.3, 0.95, 'tissue is darker or brighter than in any head'),
    Limit('head_contrast', 0.1, 0.85, 'tissue has less or more contrast than in any head', optional=True),
    Limit('stray_tissue_share', 0, 0.03, 'loose tissue in the air'),
    Limit('far_tissue_share', 0, 0.02, 'tissue where there is air above every head', optional=True),
    Limit('vault_closed_share', 0.8, 1, 'no scalp around the brain', optional=True),
    Limit('surface_roughness', 0, 7.8, 'surface of the head is not smooth'),
    Limit('seam_ratio', 0, 1.5, 'visible seam around the kept mask'),
    Limit('air_busy_ratio', 0.3, np.inf, 'air is more constant than in the input'),
    Limit('air_p95_change', -0.05, 0.1, 'noise of the air differs from the input'),
)

_OF_A_SHARED_HEAD = ('detail_correlation', 'surface_moved_mm', 'surface_same_share', 'code_agreement')
"""Measures of how like the original a generated head is: what one scan tells holds for all with that head."""

_OF_T1W = ('template_correlation', 'code_agreement', 'head_brightness', 'head_contrast')
_OF_HEADS = (
    *('surface_moved_mm', 'surface_same_share', 'head_per_brain', 'head_volume_ratio'),
    *('nose_share', 'face_distance_mm', 'face_relief', 'stray_tissue_share', 'far_tissue_share'),
    *('vault_closed_share', 'surface_roughness', 'seam_ratio', 'head_contrast_change'),
)

OTHER_LIMITS = (
    *(limit for limit in LIMITS if limit.measure not in _OF_T1W),
    Limit('t1w_sharpness', alignment.MIN_SHARPNESS, np.inf, 'brain does not lie where that of the T1w lies'),
    Limit('t1w_peak', 1, np.inf, 'brain lies beside that of the T1w'),
    Limit('masks_not_carried', 0, MAX_ROUNDED, 'masks are not those of the T1w'),
    Limit('head_contrast_change', 0, 0.35, 'tissue is not as bright as in the original'),
)
"""Of other contrasts with a generated head: what is known of T1w intensities does not hold for them."""

AIR_LIMITS = (
    *(limit for limit in OTHER_LIMITS if limit.measure not in _OF_HEADS),
    Limit('head_per_brain', 0, 0.02, 'tissue is left around the brain'),
)
"""Of other contrasts in noise."""


_LIMITS_OF = {'': LIMITS, 'head': OTHER_LIMITS, 'air': AIR_LIMITS}


def limits_of(fill: str) -> tuple[Limit, ...]:
    """The checks for a T1w ('', as nothing was filled in), or a contrast filled with 'head' or 'air'."""
    return _LIMITS_OF[fill]


def limits_shared(fills: Iterable[str]) -> dict[str, Limit]:
    """By measure, the limits that hold for scans of all these kinds alike; none where one is unknown."""
    kinds = [{limit.measure: limit for limit in _LIMITS_OF.get(fill, ())} for fill in {*fills}]
    first = kinds[0] if kinds else {}
    return {name: limit for name, limit in first.items() if all(kind.get(name) == limit for kind in kinds)}


def rejects_head(verdict: dict) -> bool:
    """Whether a verdict with numbers says that the generated head is like the original one.

    What could not be measured says nothing of the other scans with that head.
    """
    measures = verdict.get('measures') or {}
    return any(
        limit.measure in _OF_A_SHARED_HEAD
        and (value := measures.get(limit.measure)) is not None
        and not np.isnan(value)
        and not limit.holds(value)
        for limit in _LIMITS_OF.get(verdict.get('fill') or '', ())
    )


@dataclass(frozen=True)
class T1w:
    """The T1w scan by which the brain of another contrast was found.

    Attributes
    ----------
    values : ndarray of float32, shape (A, B, C)
    brain, kept : ndarray of bool, shape (A, B, C)
    affine : ndarray, shape (4, 4)
        Its voxels to world (RAS mm).
    from_scan : ndarray, shape (4, 4)
        World of the other scan to its world.
    """

    values: np.ndarray
    brain: np.ndarray
    kept: np.ndarray
    affine: np.ndarray
    from_scan: np.ndarray

    def carried(self, mask: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        """A mask of the T1w on the grid of the other scan, by the nearest voxel; bool, shape `shape`."""
        to_voxels = np.linalg.inv(self.affine) @ self.from_scan @ affine
        return geometry.resample(mask, to_voxels, shape, order=0) > 0.5


def measure(
    original: nifti.Scan,
    refaced: nifti.Scan,
    brain: np.ndarray,
    kept: np.ndarray,
    deface_mask: np.ndarray,
    world_to_template: np.ndarray,
    scale: float,
    template: tuple[np.ndarray, np.ndarray, np.ndarray],
    t1w: T1w | None = None,
    original_codes: list[np.ndarray] | None = None,
    generated_codes: list[np.ndarray] | None = None,
) -> dict[str, float]:
    """Measure a refaced scan against its original.

    Parameters
    ----------
    original, refaced : nifti.Scan
        Both as read from disk.
    brain, kept, deface_mask : ndarray of bool, shape (X, Y, Z)
        The brain, what was to be kept, and what was replaced according to the output.
    world_to_template : ndarray, shape (4, 4)
    scale : float
        Intensity of the scan that is 1 in the cube.
    template : tuple of ndarray of float32 and bool, shape (A, B, C), and ndarray, shape (4, 4)
        Intensities and mask of the template's brain, and its voxel indices to world (RAS mm).
    t1w : T1w, optional
        For a scan of another contrast.
    original_codes, generated_codes : list of ndarray of int, optional
        Codes of the original and of the generated head, a volume per level.

    Returns
    -------
    measures : dict
        Name to number; see `LIMITS` for what must hold. A refaced scan on another grid has
        ``header_fields_changed`` alone.
    """
    measures = {'header_fields_changed': float(header_fields_changed(original, refaced))}
    if refaced.shape != original.shape or refaced.raw.dtype != original.raw.dtype:
        return measures
    measures['header_fields_leaked'] = float(header_fields_leaked(refaced))
    measures.update(_kept(original, refaced, brain, kept, deface_mask))
    before, after = original.values(), np.nan_to_num(refaced.values(), posinf=0, neginf=0)
    for found in threads.together(
        lambda: _heads(before, after, brain, kept, original, world_to_template, scale),
        lambda: _voxels(original, refaced, before, after, kept, scale),
        lambda: _air(before, after, kept, original.voxel_sizes, scale),
        lambda: _alignment(before, brain, original.affine, world_to_template, template),
        lambda: {'kept_far_ml': kept_far_ml(kept, original.affine, world_to_template, *template[1:])},
        lambda: _margins(before, brain, kept, original.affine, world_to_template, scale, template, t1w),
        lambda: _by_t1w(original, before, brain, kept, t1w) if t1w is not None else {},
    ):
        measures.update(found)
    if original_codes and generated_codes:
        measures.update(code_agreement(original_codes, generated_codes))
    return {name: float(value) for name, value in measures.items()}


def judge(measures: dict[str, float], limits: tuple[Limit, ...] = LIMITS) -> tuple[str, list[str]]:
    """Decide by the limits.

    Parameters
    ----------
    measures : dict
    limits : tuple of Limit
        See `limits_of`.

    Returns
    -------
    status : {'pass', 'fail'}
    reasons : list of str
        One line for each check that failed, with its limit, and its value if that may be published.
    """
    reasons = []
    for limit in limits:
        value = measures.get(limit.measure)
        if value is None and limit.optional:
            continue
        if value is None or np.isnan(value):
            reasons.append(f'{limit.meaning} ({limit.measure} could not be measured)')
            continue
        shown = f'{value:.4g} ' if is_public(limit.measure) else ''
        if value < limit.low:
            reasons.append(f'{limit.meaning} ({limit.measure} {shown}< {limit.low:g})')
        elif value > limit.high:
            reasons.append(f'{limit.meaning} ({limit.measure} {shown}> {limit.high:g})')
    return ('fail' if reasons else 'pass'), reasons


def header_fields_changed(original: nifti.Scan, refaced: nifti.Scan) -> int:
    """Number of header fields that should have travelled but differ; byte order counts as one."""
    if type(original.header) is not type(refaced.header):
        return len(nifti.KEPT_FIELDS)
    changed = int(original.raw.dtype != refaced.raw.dtype)
    for field, a in nifti.kept_fields(original.header).items():
        b = np.asarray(refaced.header[field])
        # Compared as little-endian bytes, so that a NaN slope equals itself
        changed += (
            a.astype(a.dtype.newbyteorder('<')).tobytes() != b.astype(b.dtype.newbyteorder('<')).tobytes()
        )
    return int(changed)


def header_fields_leaked(refaced: nifti.Scan) -> int:
    """Number of header fields, extensions included, that should be empty but are not."""
    header = refaced.header
    empty = type(header)(endianness=header.endianness, check=False)
    leaked = int(header['vox_offset']) != len(header.binaryblock) + 4
    for field in header.keys():  # noqa: SIM118 - a header is no dict
        if field not in (*nifti.KEPT_FIELDS, 'sizeof_hdr', 'magic', 'vox_offset'):
            leaked += header[field].tobytes() != empty[field].tobytes()
    return int(leaked)


def _kept(original, refaced, brain, kept, deface_mask) -> dict[str, float]:
    voxel_ml = float(np.prod(original.voxel_sizes)) / 1000
    brain_ml = float(brain.sum()) * voxel_ml
    return {
        'kept_voxels_changed': _bytes_differ(original.raw[kept], refaced.raw[kept]).sum(),
        'brain_voxels_not_kept': (brain & ~kept).sum(),
        'deface_mask_errors': (deface_mask == kept).sum(),
        'brain_ml': brain_ml,
        'kept_per_brain': kept.sum() * voxel_ml / brain_ml if brain_ml else np.nan,
    }


def _bytes_differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    kind = f'u{a.dtype.itemsize}'
    return a.view(kind) != b.view(kind)


def _alignment(values, brain, affine, world_to_template, template) -> dict[str, float]:
    angle, stretches = alignment.rotation_and_scales(world_to_template)
    return {
        'template_overlap': alignment.template_overlap(brain, affine, world_to_template, *template[1:]),
        'template_correlation': alignment.intensity_correlation(
            values, brain, affine, world_to_template, *template
        ),
        'rotation_deg': angle,
        'stretch_min': stretches.min(),
        'stretch_max': stretches.max(),
    }


def kept_far_ml(
    kept: np.ndarray,
    affine: np.ndarray,
    world_to_template: np.ndarray,
    template_mask: np.ndarray,
    template_affine: np.ndarray,
) -> float:
    """How much is kept that lies far from any brain: a nose, say, that a brain mask has grown into.

    Parameters
    ----------
    kept : ndarray of bool, shape (X, Y, Z)
    affine, world_to_template : ndarray, shape (4, 4)
        Voxels to world, world to template world.
    template_mask : ndarray of bool, shape (A, B, C)
        Brain of the template.
    template_affine : ndarray, shape (4, 4)

    Returns
    -------
    volume : float
        Millilitres of the template's world that lie more than `BRAIN_ROOM_MM` beyond its brain.
    """
    size = geometry.CUBE_EDGE / _COARSE
    expected = geometry.to_cube(template_mask, template_affine, np.eye(4), _COARSE) >= 0.5
    far = ndimage.distance_transform_edt(~expected, sampling=size) > BRAIN_ROOM_MM
    return float(geometry.to_cube(kept, affine, world_to_template, _COARSE)[far].sum() * size**3 / 1000)


def _margins(values, brain, kept, affine, world_to_template, scale, template, t1w) -> dict[str, float]:
    """Whether the masks end within the skull; of another contrast, those of its T1w."""
    if t1w is not None:
        values, brain, kept, affine = t1w.values, t1w.brain, t1w.kept, t1w.affine
        world_to_template = world_to_template @ np.linalg.inv(t1w.from_scan)
        scale = intensity.brain_scale(values[brain])
    return {
        'kept_near_air_ml': margin.Outside.of(values, affine, scale).near_ml(kept, affine),
        'volume_by_interior': alignment.volume_by_interior(
            values, brain, affine, world_to_template, *template
        ),
    }


def _by_t1w(original: nifti.Scan, values, brain, kept, t1w: T1w) -> dict[str, float]:
    sharpness, peak = alignment.shared_information(
        values, original.affine, t1w.from_scan, t1w.values, t1w.brain, t1w.affine
    )
    carried = (t1w.carried(mask, original.affine, original.shape) for mask in (t1w.brain, t1w.kept))
    different = sum((mask != expected).sum() for mask, expected in zip((brain, kept), carried, strict=True))
    return {
        't1w_sharpness': sharpness,
        't1w_peak': peak,
        'masks_not_carried': different / max(kept.sum(), 1),
    }


def _voxels(original, refaced, before, after, kept, scale: float) -> dict[str, float]:
    """Measures on the native grid, voxel by voxel."""
    sizes = original.voxel_sizes
    width = masks.feather_width(sizes)
    distance = masks.distance_outside(kept, sizes, masks.seam_width(sizes))
    replaced = distance >= width
    tissue = replaced & ((before > surface.LEVEL * scale) | (after > surface.LEVEL * scale))
    low, high = original.raw.min(), original.raw.max()
    # What is brighter than the scan can store is the same everywhere
    same = tissue & ~_bytes_differ(original.raw, refaced.raw) & (original.raw < high)
    return {
        'not_finite_voxels': (~np.isfinite(refaced.raw)).sum(),
        'voxels_out_of_range': ((refaced.raw < low) | (refaced.raw > high)).sum(),
        'replaced_share': replaced.mean(),
        'unchanged_tissue_share': same.sum() / tissue.sum() if tissue.any() else np.nan,
        'unchanged_region_share': _largest_share(same, tissue, sizes),
        'seam_ratio': seam.ratio(original.raw, refaced.raw, np.isfinite(distance)),
    }


def _largest_share(part: np.ndarray, whole: np.ndarray, sizes: np.ndarray) -> float:
    """Largest share of one mask in another, over blocks with enough of the latter; NaN if there is none."""
    edge = np.maximum(1, np.round(REGION_MM / sizes)).astype(int)
    counts = []
    for mask in (part, whole):
        for axis, size in enumerate(edge):
            starts = np.arange(0, mask.shape[axis], size)
            mask = np.add.reduceat(mask, starts, axis=axis, dtype=np.int32)
        counts.append(mask)
    enough = counts[1] >= MIN_REGION_SHARE * np.prod(edge)
    return float((counts[0][enough] / counts[1][enough]).max()) if enough.any() else np.nan


def _heads(before, after, brain, kept, scan: nifti.Scan, world_to_template, scale) -> dict[str, float]:
    """Measures in the cube, where heads can be compared by anatomy."""

    def cube(volume):
        return geometry.to_cube(volume, scan.affine, world_to_template, _N)

    def head(volume):
        return noise.above_floor(cube(volume), noise.floor(volume, scan.voxel_sizes, scale)) / scale

    return compare_heads(
        head(before),
        head(after),
        cube(brain) >= 0.5,
        cube(kept) > 0.01,
        geometry.field_of_view(scan.shape, scan.affine, world_to_template, _N),
        vague=isinstance(scan, background.QuietScan),
    )


def compare_heads(
    before: np.ndarray,
    after: np.ndarray,
    brain: np.ndarray,
    kept: np.ndarray,
    in_fov: np.ndarray,
    *,
    vague: bool = False,
) -> dict[str, float]:
    """Measures of one head, and of how far it is from another, in the cube at 2 mm.

    Parameters
    ----------
    before, after : ndarray of float32, shape (128, 128, 128)
        Intensities (brain scale 1).
    brain, kept : ndarray of bool, shape (128, 128, 128)
        Brain, and what the two have in common.
    in_fov : ndarray of bool, shape (128, 128, 128)
        What both show.
    vague : bool
        Whether the outline of the first head may be off by a voxel: it is then moved by as much
        to both sides, and the surfaces that are most alike count.

    Returns
    -------
    measures : dict
        Those of `LIMITS` that are about heads.
    """
    replaced = in_fov & ~ndimage.binary_dilation(kept, iterations=2)
    tissue = [replaced & (volume > surface.LEVEL) for volume in (before, after)]
    heads = [surface.head_mask(volume) for volume in (before, after)]
    # Away from skin, cut and borders, which differ from the air or the brain and not from other tissue
    within = ndimage.binary_erosion(replaced & heads[1], iterations=3)
    first = [heads[0]]
    if vague:
        first += [ndimage.binary_erosion(heads[0]), ndimage.binary_dilation(heads[0])]
    measures = {}
    if within.sum() >= MIN_VOXELS:
        measures['head_contrast'] = after[within].std()
    if face.in_view(in_fov) > MIN_FACE_IN_VIEW:
        measures['surface_same_share'] = max(surface.surface_same(one, heads[1], in_fov) for one in first)
    return {
        **measures,
        'head_per_brain': tissue[1].sum() / max(brain.sum(), 1),
        'head_volume_ratio': tissue[1].sum() / max(tissue[0].sum(), 1),
        'stray_tissue_share': (tissue[1] & ~heads[1]).sum() / max(tissue[1].sum(), 1),
        'surface_roughness': surface.roughness(heads[1], in_fov),
        'surface_moved_mm': min(surface.surface_moved(one, heads[1], in_fov) for one in first),
        'detail_correlation': _detail_correlation(before, after, tissue[0] | tissue[1], replaced),
        'head_brightness': np.median(after[tissue[1]]) if tissue[1].any() else np.nan,
        'head_contrast_change': _median_change(before, after, *tissue),
        **_anatomy(after, tissue[1], heads[1], brain, in_fov),
    }


def _anatomy(after, tissue, head, brain, in_fov) -> dict[str, float]:
    """Whether there is tissue where heads have it, and air where they have none, as far as it is in view."""
    size = geometry.CUBE_EDGE / _N
    nose = surface.box(head_checks.NOSE_BOX, _N)
    vault = surface.box(VAULT_BOX, _N) & in_fov
    distance = ndimage.distance_transform_edt(~brain, sampling=size) if brain.any() else np.zeros(brain.shape)
    measures = {}
    if (distance_to_mean := face.distance_to_mean(head, in_fov)) is not None:
        measures['face_distance_mm'] = distance_to_mean
    if face.in_view(in_fov, FACE_ROOM_MM) > 0.95:
        measures['face_relief'] = _face_relief(after, in_fov)
    if (nose & in_fov).sum() > 0.3 * nose.sum():
        measures['nose_share'] = (after[nose & in_fov] > head_checks.TISSUE).mean()
    for name, volume, low, high in (
        ('vault_closed_share', head, *SKULL_MM),
        ('far_tissue_share', tissue, FAR_MM, np.inf),
    ):
        where = vault & (distance > low) & (distance <= high)
        if where.sum() >= MIN_VOXELS:
            measures[name] = volume[where].mean()
    return measures


def _face_relief(cube: np.ndarray, in_fov: np.ndarray) -> float:
    """Correlation with the relief of an average face, seen from the front of the template's world."""
    window = ndimage.find_objects(in_fov.astype(np.uint8))[0]
    affine = geometry.cube_affine(_N)
    affine[:3, 3] += affine[:3, :3] @ [axis.start for axis in window]
    return relief.find_face(cube[window], affine, yaws=(0.0,)).agreement


def _median_change(before, after, tissue_before, tissue_after) -> float:
    if not tissue_before.any() or not tissue_after.any():
        return np.nan
    return abs(np.median(after[tissue_after]) - np.median(before[tissue_before]))


def _detail_correlation(before, after, where: np.ndarray, replaced: np.ndarray) -> float:
    """Correlation of two heads after the shape that all heads share is taken away (a band of 2 to 12 mm)."""
    if where.sum() < 2:
        return np.nan
    bands = []
    for volume in (before, after):
        volume = np.where(replaced, volume, 0)
        bands.append((volume - ndimage.gaussian_filter(volume, 3))[where])
    if bands[0].std() == 0 or bands[1].std() == 0:
        return np.nan
    return np.corrcoef(*bands)[0, 1]


def _air(before, after, kept, sizes, scale: float) -> dict[str, float]:
    try:
        old, new = (noise.far_air(values, kept, sizes, scale) for values in (before, after))
    except InputError:
        return {}  # no air to measure: both checks fail for want of a number
    return {
        # Both constant, or noise so rare that its share is itself noise, counts as equal
        'air_busy_ratio': (new.busy_share + 0.01) / (old.busy_share + 0.01),
        'air_p95_change': (new.quantiles[95] - old.quantiles[95]) / scale,
    }


def code_agreement(original: list[np.ndarray], generated: list[np.ndarray]) -> dict[str, float]:
    """Share of equal codes at live sites, beside what chance would give.

    A site is live where neither volume holds the original's most frequent code of that level, the air: heads
    agree on most of the air. Chance is the agreement of independent draws from the two frequencies of codes
    at the live sites.

    Parameters
    ----------
    original, generated : list of ndarray of int
        A volume per level, coarse to fine; equal shapes at each level.

    Returns
    -------
    measures : dict
        ``code_agreement_<level>``, ``code_chance_<level>``, and ``code_agreement``, the largest of them.
    """
    measures = {}
    for level, (a, b) in enumerate(zip(original, generated, strict=True)):
        codes, counts = np.unique(a, return_counts=True)
        air = codes[counts.argmax()]
        live = (a != air) & (b != air)
        if not live.any():
            continue
        a, b = a[live], b[live]
        size = int(max(a.max(), b.max()) - min(a.min(), b.min())) + 1
        low = min(a.min(), b.min())
        frequencies = [np.bincount((x - low).astype(int), minlength=size) / x.size for x in (a, b)]
        measures[f'code_agreement_{level}'] = (a == b).mean()
        measures[f'code_chance_{level}'] = frequencies[0] @ frequencies[1]
    if measures:
        measures['code_agreement'] = max(v for k, v in measures.items() if k.startswith('code_agreement_'))
    return measures
