"""The thresholds of the verdict: a row per metric with all that a decision needs to know.

A threshold changes only with the distribution that it is derived from (`benchmarks.verdict_limits`) and a
test that breaks it. `metrics` computes the metrics, `decision` applies the table.

A number that compares the output with the original head identifies that head among candidates, however it is
rounded. Metrics are private, published as pass or fail only, unless their row, or `PUBLIC_UNJUDGED`, says
otherwise. ``t1w_sharpness`` and ``t1w_peak`` involve the original up to 4 mm beyond the brain.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

# Kinds of output: a T1w, and another contrast filled with the generated head or with noise
T1W, HEAD, AIR = '', 'head', 'air'
REPORT = 'run again with --overwrite, and report it if it stays'
SCAN = 'check the scan for artefacts, lesions, its orientation and contrast'
MASK = 'check the brain mask: it holds more than the brain'
SEED = 'try another --seed with --overwrite'
UNFILTERED = 'give the scan as it was before it was masked or filtered'
PUBLIC, PRIVATE = True, False
ALL, HEADS, ONLY_T1W, OTHERS = (T1W, HEAD, AIR), (T1W, HEAD), (T1W,), (HEAD, AIR)


@dataclass(frozen=True)
class Threshold:
    """A row of the table."""

    metric: str  # its name in verdicts, sidecars and tables
    # low, high: range in which the metric must lie, inclusive
    low: float
    high: float
    public: bool  # whether the number may be published: the original head has no part in it
    outputs: tuple[str, ...]  # kinds of output (`T1W`, `HEAD`, `AIR`) that the row applies to
    # remedy, meaning: what to do if the metric lies outside, and what it means then
    remedy: str
    meaning: str
    # whether the metric may be missing, as it is where what it describes is not in the field of view
    optional: bool = False
    # whether it says how like the original the generated head is: what one scan tells holds for all scans
    # with that head
    compares_heads: bool = False

    def holds(self, value: float | None) -> bool:
        """Whether a value lies within the range; what is missing or NaN does not."""
        return value is not None and self.low <= value <= self.high


_OPTIONAL, _LIKENESS = {'optional': True}, {'compares_heads': True}

# fmt: off
THRESHOLDS = (
    # The brain is what it was
    Threshold('header_fields_changed', -inf, 0, PUBLIC, ALL, REPORT, 'header differs from the input'),
    Threshold('header_fields_leaked', -inf, 0, PUBLIC, ALL, REPORT,
              'header carries fields that must be empty'),
    Threshold('kept_voxels_changed', -inf, 0, PUBLIC, ALL, REPORT,
              'voxels inside the preserved region changed'),
    Threshold('brain_voxels_not_kept', -inf, 0, PUBLIC, ALL, REPORT,
              'brain voxels outside the preserved region'),
    Threshold('deface_mask_errors', -inf, 0, PUBLIC, ALL, REPORT, 'defacemask is not the rest of the scan'),
    # The masks and the alignment are those of a brain
    # Infants to the largest adults
    Threshold('brain_ml', 500, 2300, PUBLIC, ALL, SCAN, 'implausible brain volume'),
    Threshold('kept_per_brain', 1, 1.6, PUBLIC, ALL, MASK, 'preserved region is much larger than the brain'),
    # Dice; aligned healthy and atrophied brains reach 0.9
    Threshold('template_overlap', 0.85, 1, PUBLIC, ALL, SCAN, 'brain does not overlap the template'),
    # 0.61 and more in whole heads. A brain on its side can be stretched into the shape of the template, with
    # a Dice up to 0.91, but tissue then meets other tissue: at most 0.46 (benchmarks.turned_headers)
    Threshold('template_correlation', 0.55, 1, PUBLIC, ONLY_T1W, SCAN,
              'brain does not look like the template'),
    Threshold('kept_far_ml', 0, 1, PUBLIC, ALL, MASK, 'preserved region reaches far beyond where brains lie'),
    Threshold('volume_by_interior', 0, 1.25, PUBLIC, ALL, MASK, 'brain mask is larger than the brain within'),
    Threshold('kept_near_air_ml', 0, 5, PRIVATE, ALL, MASK, 'preserved region reaches into the scalp'),
    # A head in a coil does not turn further
    Threshold('rotation_deg', 0, 60, PUBLIC, ALL, SCAN, 'implausible rotation to the template'),
    # Small children to large adults
    Threshold('stretch_min', 0.7, 1.6, PUBLIC, ALL, SCAN, 'implausible scaling to the template'),
    Threshold('stretch_max', 0.7, 1.6, PUBLIC, ALL, SCAN, 'implausible scaling to the template'),
    # The original head is gone
    Threshold('unchanged_tissue_share', 0, 0.15, PRIVATE, ALL, SEED, 'too much of the head is as it was'),
    Threshold('unchanged_region_share', 0, 0.3, PRIVATE, ALL, SEED, 'a part of the head is as it was'),
    # Up to 0.4 between a person and the output, 0.6 where the scan is an average of many: details that all
    # heads share; 0.98 if the codes of the original were decoded
    Threshold('detail_correlation', -1, 0.75, PRIVATE, ALL, SEED,
              'details of the head are those of the original', **_LIKENESS),
    Threshold('surface_moved_mm', 0.7, inf, PRIVATE, HEADS, SEED,
              'surface of the face did not move', **_LIKENESS),
    Threshold('surface_same_share', 0, 0.4, PRIVATE, HEADS, SEED,
              'a part of the face lies where it lay', **_LIKENESS, **_OPTIONAL),
    Threshold('code_agreement', 0, 0.9, PRIVATE, ONLY_T1W, SEED,
              'generated codes are those of the original', **_LIKENESS, **_OPTIONAL),
    # There is a plausible head in its place
    Threshold('not_finite_voxels', -inf, 0, PUBLIC, ALL, REPORT, 'NaN or infinite values'),
    Threshold('voxels_out_of_range', -inf, 0, PUBLIC, ALL, REPORT, 'values outside the range of the input'),
    # 0.6 for the tightest field of view
    Threshold('head_per_brain', 0.2, inf, PUBLIC, HEADS, SEED, 'no head around the brain'),
    Threshold('head_volume_ratio', 0.4, 2.5, PRIVATE, HEADS, SEED, 'head of another size than the original'),
    # 0.48 and more in whole heads, up to 0.18 after pydeface
    Threshold('nose_share', 0.3, 1, PUBLIC, HEADS, SEED, 'no face where a face belongs', **_OPTIONAL),
    # 1.3 to 11.3 in real heads (benchmarks/README.md)
    Threshold('face_distance_mm', 0, 14, PUBLIC, HEADS, SEED, 'face lies where no face lies', **_OPTIONAL),
    # docs/privacy.md has the distributions
    Threshold('face_relief', 0.74, 1, PUBLIC, HEADS, SEED,
              'no brows, eyes and nose on the face', **_OPTIONAL),
    Threshold('head_brightness', 0.3, 0.95, PUBLIC, ONLY_T1W, SEED,
              'tissue is darker or brighter than in any head'),
    # 0.82 in a scan without normalisation of its coil, 0.17 in the flattest output, 0.12 in noisy grey
    Threshold('head_contrast', 0.13, 1.1, PUBLIC, ONLY_T1W, SEED,
              'tissue has less or more contrast than in any head', **_OPTIONAL),
    Threshold('stray_tissue_share', 0, 0.03, PUBLIC, HEADS, SEED, 'loose tissue in the air'),
    Threshold('far_tissue_share', 0, 0.02, PUBLIC, HEADS, SEED,
              'tissue where there is air above every head', **_OPTIONAL),
    Threshold('vault_closed_share', 0.9, 1, PUBLIC, HEADS, SEED, 'no scalp around the brain', **_OPTIONAL),
    # up to 7.6 in real heads, 13 in one that is combed
    Threshold('surface_roughness', 0, 9, PUBLIC, HEADS, SEED, 'surface of the head is not smooth'),
    Threshold('seam_ratio', 0, 1.5, PRIVATE, HEADS, SEED, 'visible seam around the preserved region'),
    Threshold('air_busy_ratio', 0.3, inf, PRIVATE, ALL, UNFILTERED, 'air is more constant than in the input'),
    Threshold('air_p95_change', -0.05, 0.1, PRIVATE, ALL, UNFILTERED,
              'noise of the air differs from the input'),
    # Other contrasts follow their T1w
    Threshold('t1w_sharpness', 1.2, inf, PRIVATE, OTHERS, SCAN,
              'brain does not lie where that of the T1w lies'),
    Threshold('t1w_peak', 1, inf, PRIVATE, OTHERS, SCAN, 'brain lies beside that of the T1w'),
    # Some voxels change with the rounding of an affine map in a text file
    Threshold('masks_not_carried', 0, 0.001, PUBLIC, OTHERS, REPORT, 'masks are not those of the T1w'),
    Threshold('head_contrast_change', 0, 0.35, PRIVATE, (HEAD,), SEED,
              'tissue is not as bright as in the original'),
    Threshold('head_per_brain', 0, 0.02, PUBLIC, (AIR,), SEED, 'tissue is left around the brain'),
)
# fmt: on

PUBLIC_UNJUDGED = frozenset({'replaced_share'})  # metrics without thresholds whose numbers may be published
_PUBLIC = PUBLIC_UNJUDGED | {row.metric for row in THRESHOLDS if row.public}


def thresholds_of(output: str) -> tuple[Threshold, ...]:
    """The rows that apply to a kind of output: '' (T1w), 'head' or 'air'; none of an unknown one."""
    return tuple(row for row in THRESHOLDS if output in row.outputs)


def common_thresholds(outputs: Iterable[str]) -> dict[str, Threshold]:
    """By metric, the rows that apply to all these kinds of output alike."""
    kinds = [{row.metric: row for row in thresholds_of(output)} for output in {*outputs}]
    first = kinds[0] if kinds else {}
    return {name: row for name, row in first.items() if all(kind.get(name) == row for kind in kinds)}


def threshold(metric: str, output: str = T1W) -> Threshold:
    """The row of a metric for a kind of output."""
    return next(row for row in thresholds_of(output) if row.metric == metric)


def is_public(metric: str) -> bool:
    """Whether the number of a metric may be published."""
    return metric in _PUBLIC
