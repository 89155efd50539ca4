"""Metrics of a head on the template grid, where heads can be compared by anatomy."""

import numpy as np
from scipy import ndimage

from cpmae_bids.deid.images import intensity, masks
from cpmae_bids.deid.qc import face, relief, surface
from cpmae_bids.deid.space import geometry, regions

SKULL_MM = (4.0, 7.0)  # range of distances from the brain that lie within the head all around the vault
FAR_MM = 28.0  # distance from the brain beyond which there is air above every head
MIN_VOXELS = 500  # voxels of 2 mm in view that it takes to say anything about a part of the head

# Share of the mean face that must be in view to ask whether a part of the face stayed: the forehead alone
# follows the brain
MIN_FACE_IN_VIEW = 0.8
FACE_ROOM_MM = 8.0  # room in front of the mean face that must be in view to look for the relief of a face
_N = 128  # voxels along the template grid: 2 mm


def compare_heads(
    before: np.ndarray,
    after: np.ndarray,
    brain: np.ndarray,
    preserved: np.ndarray,
    in_fov: np.ndarray,
    *,
    vague: bool = False,
) -> dict[str, float]:
    """Metrics of one head, and of how far it is from another, on the template grid at 2 mm, (128, 128, 128).

    Parameters
    ----------
    before, after : ndarray of float32
        Intensities (brain scale 1).
    brain, preserved, in_fov : ndarray of bool
        Brain, what the two have in common, and what both show.
    vague : bool
        Whether the outline of the first head may be off by a voxel: it is then moved by as much to both
        sides, and the surfaces that are most alike count.

    Returns
    -------
    metrics : dict
        Name to number; without those whose part of the head is not in view.
    """
    replaced = in_fov & ~ndimage.binary_dilation(preserved, iterations=2)
    tissue = [replaced & (volume > intensity.SKIN) for volume in (before, after)]
    heads = [masks.head_mask(volume, fill=True) for volume in (before, after)]
    # Away from skin, cut and borders, which differ from the air or the brain and not from other tissue
    within = ndimage.binary_erosion(replaced & heads[1], iterations=3)
    first = [heads[0]]
    if vague:
        first += [ndimage.binary_erosion(heads[0]), ndimage.binary_dilation(heads[0])]
    moved, same = zip(*(surface.compare(one, heads[1], in_fov) for one in first), strict=True)
    metrics = {}
    if within.sum() >= MIN_VOXELS:
        metrics['head_contrast'] = after[within].std()
    if face.in_view(in_fov) > MIN_FACE_IN_VIEW:
        metrics['surface_same_share'] = max(same)
    return {
        **metrics,
        'head_per_brain': tissue[1].sum() / max(brain.sum(), 1),
        'head_volume_ratio': tissue[1].sum() / max(tissue[0].sum(), 1),
        'stray_tissue_share': (tissue[1] & ~heads[1]).sum() / max(tissue[1].sum(), 1),
        'surface_roughness': surface.roughness(heads[1], in_fov),
        'surface_moved_mm': min(moved),
        'detail_correlation': _detail_correlation(before, after, tissue[0] | tissue[1], replaced),
        'head_brightness': np.median(after[tissue[1]]) if tissue[1].any() else np.nan,
        'head_contrast_change': _median_change(before, after, *tissue),
        **_anatomy(after, tissue[1], heads[1], brain, in_fov),
    }


def _anatomy(after, tissue, head, brain, in_fov) -> dict[str, float]:
    """Whether there is tissue where heads have it, and air where they have none, as far as it is in view."""
    size = geometry.GRID_EDGE_MM / _N
    nose = regions.box(regions.NOSE, _N)
    vault = regions.box(regions.VAULT, _N) & in_fov
    near = ndimage.find_objects((brain | vault).astype(np.uint8))[0]  # far from both nothing is asked for
    distance = np.zeros(brain.shape)
    if brain.any():
        distance[near] = ndimage.distance_transform_edt(~brain[near], sampling=size)
    metrics = {}
    if (distance_to_mean := face.distance_to_mean(head, in_fov)) is not None:
        metrics['face_distance_mm'] = distance_to_mean
    if face.in_view(in_fov, FACE_ROOM_MM) > 0.95:
        metrics['face_relief'] = _face_relief(after, in_fov)
    if (nose & in_fov).sum() > 0.3 * nose.sum():
        metrics['nose_share'] = (after[nose & in_fov] > intensity.TISSUE).mean()
    # bone is as dark as air, and one with it by way of nose and sinuses, but not within a slice of the vault
    closed = head.copy()
    for z in np.flatnonzero(vault.any((0, 1))):
        closed[..., z] = ndimage.binary_fill_holes(head[..., z])
    for name, volume, low, high in (
        ('vault_closed_share', closed, *SKULL_MM),
        ('far_tissue_share', tissue, FAR_MM, np.inf),
    ):
        where = vault & (distance > low) & (distance <= high)
        if where.sum() >= MIN_VOXELS:
            metrics[name] = volume[where].mean()
    return metrics


def _face_relief(head: np.ndarray, in_fov: np.ndarray) -> float:
    """Correlation with the relief of an average face, seen from the front of the template's world."""
    window = ndimage.find_objects(in_fov.astype(np.uint8))[0]
    affine = geometry.part_affine(geometry.grid_affine(_N), window)
    return relief.find_face(head[window], affine, yaws=(0.0,)).agreement


def _median_change(before, after, tissue_before, tissue_after) -> float:
    if not tissue_before.any() or not tissue_after.any():
        return np.nan
    return abs(np.median(after[tissue_after]) - np.median(before[tissue_before]))


def _detail_correlation(before, after, where: np.ndarray, replaced: np.ndarray) -> float:
    """Correlation of two heads after the shape that all heads share is taken away (a band of 2 to 12 mm).

    It is 0 if the second is constant, as air may be.
    """
    if where.sum() < 2:
        return np.nan
    bands = []
    for volume in (before, after):
        volume = np.where(replaced, volume, 0)
        bands.append((volume - ndimage.gaussian_filter(volume, 3))[where])
    if bands[0].std() == 0:
        return np.nan
    return np.corrcoef(*bands)[0, 1] if bands[1].std() else 0.0
