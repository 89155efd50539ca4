"""Metrics of the output file, header and voxel by voxel on the native grid."""

import numpy as np

from cpmae_bids.deid.images import intensity, masks, nifti
from cpmae_bids.deid.synthesis import seam

# Edge of the blocks in which stored values are compared: an ear, or half a nose, fills several
REGION_MM = 16.0
MIN_REGION_SHARE = 0.2  # share of a block that must be tissue to say anything about it


def header_fields_changed(original: nifti.Image, refaced: nifti.Image) -> int:
    """Number of header fields that should be copied but differ; byte order counts as one."""
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


def header_fields_leaked(refaced: nifti.Image) -> int:
    """Number of header fields, extensions included, that should be empty but are not."""
    header = refaced.header
    empty = type(header)(endianness=header.endianness, check=False)
    leaked = int(header['vox_offset']) != len(header.binaryblock) + 4
    for field in header.keys():  # noqa: SIM118 - a header is no dict
        if field not in (*nifti.KEPT_FIELDS, 'sizeof_hdr', 'magic', 'vox_offset'):
            leaked += header[field].tobytes() != empty[field].tobytes()
    return int(leaked)


def preserved_region(
    original: nifti.Image,
    refaced: nifti.Image,
    brain: np.ndarray,
    preserved: np.ndarray,
    deface_mask: np.ndarray,
) -> dict[str, float]:
    """Whether brain and preserved region are what they were, and how large they are."""
    voxel_ml = float(np.prod(original.voxel_sizes)) / 1000
    brain_ml = float(brain.sum()) * voxel_ml
    return {
        'kept_voxels_changed': _bytes_differ(original.raw[preserved], refaced.raw[preserved]).sum(),
        'brain_voxels_not_kept': (brain & ~preserved).sum(),
        'deface_mask_errors': (deface_mask == preserved).sum(),
        'brain_ml': brain_ml,
        'kept_per_brain': preserved.sum() * voxel_ml / brain_ml if brain_ml else np.nan,
    }


def _bytes_differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    kind = f'u{a.dtype.itemsize}'
    return a.view(kind) != b.view(kind)


def replaced_region(
    original: nifti.Image,
    refaced: nifti.Image,
    before: np.ndarray,
    after: np.ndarray,
    preserved: np.ndarray,
    scale: float,
) -> dict[str, float]:
    """Whether the rest of the scan is new, within range, and without a seam."""
    sizes = original.voxel_sizes
    width = masks.feather_width(sizes)
    distance = masks.distance_outside(preserved, sizes, masks.seam_width(sizes))
    replaced = distance >= width
    tissue = replaced & ((before > intensity.SKIN * scale) | (after > intensity.SKIN * scale))
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
