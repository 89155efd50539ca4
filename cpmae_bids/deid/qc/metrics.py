"""Measure a refaced scan as it was written. `thresholds` says what each metric must be.

Metrics of the file are in `file_metrics`, those of heads in `head_metrics`; here are those of masks,
alignment, air and codes.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import background, intensity, nifti, noise
from cpmae_bids.deid.qc import file_metrics, margin
from cpmae_bids.deid.qc.head_metrics import compare_heads
from cpmae_bids.deid.space import alignment, geometry
from cpmae_bids.deid.space.alignment import Template
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime import threads

# Distance from the brain of the template within which brains and their rim lie, once aligned
BRAIN_ROOM_MM = 12.0
_COARSE = 64  # template grid on which masks are compared with the template's: 4 mm
_N = 128  # template grid on which heads are compared: 2 mm


@dataclass(frozen=True)
class T1w:
    """The T1w scan by which the brain of another contrast was found."""

    values: np.ndarray  # float32, shape (A, B, C)
    # brain, preserved: bool, shape (A, B, C)
    brain: np.ndarray
    preserved: np.ndarray
    affine: np.ndarray  # shape (4, 4): its voxels to world (RAS mm)
    from_scan: np.ndarray  # shape (4, 4): world of the other scan to its world

    def carried(self, mask: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        """A mask of the T1w on the grid of the other scan, by the nearest voxel; bool, shape `shape`."""
        to_voxels = np.linalg.inv(self.affine) @ self.from_scan @ affine
        return geometry.resample(mask, to_voxels, shape, order=0) > 0.5


def measure(
    original: nifti.Image,
    refaced: nifti.Image,
    brain: np.ndarray,
    preserved: np.ndarray,
    deface_mask: np.ndarray,
    world_to_template: np.ndarray,
    scale: float,
    template: Template,
    t1w: T1w | None = None,
    original_codes: list[np.ndarray] | None = None,
    generated_codes: list[np.ndarray] | None = None,
) -> dict[str, float]:
    """Measure a refaced scan against its original, both as read from disk.

    Parameters
    ----------
    brain, preserved, deface_mask : ndarray of bool, shape (X, Y, Z)
        The brain, what was to be preserved, and what was replaced according to the output.
    world_to_template : ndarray, shape (4, 4)
    scale : float
        Intensity of the scan that is 1 on the template grid.
    t1w : T1w, optional
        For a scan of another contrast.
    original_codes, generated_codes : list of ndarray of int, optional
        Codes of the original and of the generated head, a volume per level.

    Returns
    -------
    metrics : dict
        Name to number. A refaced scan on another grid has ``header_fields_changed`` alone.
    """
    metrics = {'header_fields_changed': float(file_metrics.header_fields_changed(original, refaced))}
    if refaced.shape != original.shape or refaced.raw.dtype != original.raw.dtype:
        return metrics
    metrics['header_fields_leaked'] = float(file_metrics.header_fields_leaked(refaced))
    metrics.update(file_metrics.preserved_region(original, refaced, brain, preserved, deface_mask))
    before, after = original.values(), np.nan_to_num(refaced.values(), posinf=0, neginf=0)
    for found in threads.together(
        lambda: _heads(before, after, brain, preserved, original, world_to_template, scale),
        lambda: file_metrics.replaced_region(original, refaced, before, after, preserved, scale),
        lambda: _air(before, after, preserved, original.voxel_sizes, scale),
        lambda: _alignment(before, brain, original.affine, world_to_template, template),
        lambda: {'kept_far_ml': kept_far_ml(preserved, original.affine, world_to_template, template)},
        lambda: _margins(before, brain, preserved, original.affine, world_to_template, scale, template, t1w),
        lambda: _by_t1w(original, before, brain, preserved, t1w) if t1w is not None else {},
    ):
        metrics.update(found)
    if original_codes and generated_codes:
        metrics.update(code_agreement(original_codes, generated_codes))
    return {name: float(value) for name, value in metrics.items()}


def _heads(before, after, brain, preserved, scan: nifti.Image, world_to_template, scale) -> dict[str, float]:
    """Metrics on the template grid, where heads can be compared by anatomy."""

    def on_grid(volume):
        return geometry.to_template(volume, scan.affine, world_to_template, _N)

    def head(volume):
        return noise.above_floor(on_grid(volume), noise.floor(volume, scan.voxel_sizes, scale)) / scale

    return compare_heads(
        head(before),
        head(after),
        on_grid(brain) >= 0.5,
        on_grid(preserved) > 0.01,
        geometry.field_of_view(scan.shape, scan.affine, world_to_template, _N),
        vague=isinstance(scan, background.DenoisedScan),
    )


def _alignment(values, brain, affine, world_to_template, template) -> dict[str, float]:
    angle, stretches = alignment.rotation_and_scales(world_to_template)
    return {
        'template_overlap': alignment.template_overlap(brain, affine, world_to_template, template),
        'template_correlation': alignment.intensity_correlation(
            values, brain, affine, world_to_template, template
        ),
        'rotation_deg': angle,
        'stretch_min': stretches.min(),
        'stretch_max': stretches.max(),
    }


def kept_far_ml(
    preserved: np.ndarray, affine: np.ndarray, world_to_template: np.ndarray, template: Template
) -> float:
    """How much is preserved that lies far from any brain: a nose, say, that a brain mask has grown into.

    In millilitres of the template's world that lie more than `BRAIN_ROOM_MM` beyond its brain.
    """
    size = geometry.GRID_EDGE_MM / _COARSE
    expected = geometry.to_template(template.mask, template.affine, np.eye(4), _COARSE) >= 0.5
    far = ndimage.distance_transform_edt(~expected, sampling=size) > BRAIN_ROOM_MM
    return float(
        geometry.to_template(preserved, affine, world_to_template, _COARSE)[far].sum() * size**3 / 1000
    )


def _margins(values, brain, preserved, affine, world_to_template, scale, template, t1w) -> dict[str, float]:
    """Whether the masks end within the skull; of another contrast, those of its T1w."""
    if t1w is not None:
        values, brain, preserved, affine = t1w.values, t1w.brain, t1w.preserved, t1w.affine
        world_to_template = world_to_template @ np.linalg.inv(t1w.from_scan)
        scale = intensity.brain_scale(values[brain])
    return {
        'kept_near_air_ml': margin.Outside.of(values, affine, scale, brain).near_ml(preserved, affine),
        'volume_by_interior': alignment.volume_by_interior(
            values, brain, affine, world_to_template, template
        ),
    }


def _by_t1w(original: nifti.Image, values, brain, preserved, t1w: T1w) -> dict[str, float]:
    sharpness, peak = alignment.shared_information(
        values, original.affine, t1w.from_scan, t1w.values, t1w.brain, t1w.affine
    )
    different = sum(
        (mask != t1w.carried(expected, original.affine, original.shape)).sum()
        for mask, expected in ((brain, t1w.brain), (preserved, t1w.preserved))
    )
    return {
        't1w_sharpness': sharpness,
        't1w_peak': peak,
        'masks_not_carried': different / max(preserved.sum(), 1),
    }


def _air(before, after, preserved, sizes, scale: float) -> dict[str, float]:
    try:
        old, new = (noise.far_air(values, preserved, sizes, scale) for values in (before, after))
    except InputError:
        return {}  # no air to measure: both checks fail without a number
    return {
        # Both constant, or noise so rare that its share is itself noise, counts as equal
        'air_busy_ratio': (new.busy_share + 0.01) / (old.busy_share + 0.01),
        'air_p95_change': (new.quantiles[95] - old.quantiles[95]) / scale,
    }


def code_agreement(original: list[np.ndarray], generated: list[np.ndarray]) -> dict[str, float]:
    """Share of equal codes at live sites, beside what chance would give.

    A site is live where neither volume holds the original's most frequent code of that level, the air: heads
    agree on most of the air. Chance is the agreement of independent draws from the two frequencies of codes
    at the live sites. Both lists have a volume per level, coarse to fine. The result has
    ``code_agreement_<level>``, ``code_chance_<level>``, and ``code_agreement``, the largest of them.
    """
    metrics = {}
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
        metrics[f'code_agreement_{level}'] = (a == b).mean()
        metrics[f'code_chance_{level}'] = frequencies[0] @ frequencies[1]
    if metrics:
        metrics['code_agreement'] = max(v for k, v in metrics.items() if k.startswith('code_agreement_'))
    return metrics
