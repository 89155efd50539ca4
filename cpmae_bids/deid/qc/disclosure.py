"""Which measures of the verdict may be published as numbers.

A number that compares the output with the original head tells an attacker who has candidates for that head
which one it is: it is the same number for the right one alone, however it is rounded. Of such a measure only
whether it was within its limits is published.
"""

from __future__ import annotations

PUBLIC = frozenset({
    # What was kept, and the header: both are in the output
    'header_fields_changed',
    'header_fields_leaked',
    'kept_voxels_changed',
    'brain_voxels_not_kept',
    'deface_mask_errors',
    'voxels_out_of_range',
    'replaced_share',
    # The brain, its masks and its alignment
    'brain_ml',
    'kept_per_brain',
    'kept_far_ml',
    'template_overlap',
    'template_correlation',
    'volume_by_interior',
    'rotation_deg',
    'stretch_min',
    'stretch_max',
    'masks_not_carried',
    # The head of the output
    'not_finite_voxels',
    'head_per_brain',
    'nose_share',
    'face_distance_mm',
    'face_relief',
    'head_brightness',
    'head_contrast',
    'stray_tissue_share',
    'far_tissue_share',
    'vault_closed_share',
    'surface_roughness',
})  # fmt: skip
"""Measures that the original's head has no part in; all others are private, those of tomorrow too. So are
``t1w_sharpness`` and ``t1w_peak``, which look at the original up to 4 mm beyond the brain."""


def is_public(measure: str) -> bool:
    """Whether the number of a measure may be published."""
    return measure in PUBLIC
