"""Read a T1w and reject what cannot be de-identified, with one clear line each.

What needs a brain mask to be seen, such as a scan that was defaced before, is in `head_checks`.
"""

from pathlib import Path

import numpy as np

from cpmae_bids.deid.images import background, nifti
from cpmae_bids.deid.images.masks import ROUNDING
from cpmae_bids.deid.space import alignment
from cpmae_bids.exceptions import InputError

# Range of voxel edges: clinical slices are up to 7.5 mm thick, with their gap; a brain cannot be found well
# enough in thicker ones
VOXEL_MM = (0.1, 8.0)

# Rotation between sform and qform (degrees) from which on no head can lie as both say: scans that were moved
# onto a template differ by less
MAX_DISAGREEMENT = 45.0
EXTENT_MM = (100.0, 700.0)  # range of the field of view along each axis; a brain does not fit into less
_SPACE_UNITS = {0, 2}  # NIfTI codes of the spatial unit that are read as mm: unknown, and mm


def load_t1w(path: Path | str) -> nifti.Image:
    """Read a T1w and check that it is a volume of a head-sized field of view with an orientation.

    Noise as bright as tissue in place of air is suppressed; see `background`.

    Raises InputError if the file cannot be read, or is not such a volume.
    """
    scan = nifti.read(path)
    _check_geometry(scan)
    _check_values(scan)
    return background.suppress_background(scan)


def check_header(path: Path | str) -> None:
    """Raise `InputError` if `load_t1w` would refuse a file for what its header says; values are not read."""
    _check_geometry(nifti.read_header(path))


def _check_geometry(scan: nifti.Image) -> None:
    check_orientation(scan)
    _check_extent(scan)


def check_orientation(scan: nifti.Image) -> None:
    """Raise `InputError` unless a header says where an image lies, in mm, and does not contradict itself."""
    header = scan.header
    if header['qform_code'] == 0 and header['sform_code'] == 0:
        raise InputError(f'{scan.path}: no orientation (qform_code and sform_code are 0): convert it again')
    volume = abs(np.linalg.det(scan.affine[:3, :3])) if np.isfinite(scan.affine).all() else 0
    if not volume > 1e-3 * np.prod(scan.voxel_sizes):
        raise InputError(f'{scan.path}: the affine is not invertible: repair qform and sform')
    if _disagreement(scan) > MAX_DISAGREEMENT:
        raise InputError(
            f'{scan.path}: sform and qform disagree on the orientation: repair the header, so that both say '
            'how the head lies'
        )
    if int(header['xyzt_units']) & 7 not in _SPACE_UNITS:
        raise InputError(f'{scan.path}: the spatial unit is not mm: repair xyzt_units and the affine')


def _disagreement(scan: nifti.Image) -> float:
    """Rotation (degrees) between the axes of sform and qform, mirroring aside; 0 where one is not set."""
    if scan.header['qform_code'] == 0 or scan.header['sform_code'] == 0:
        return 0.0
    header = scan.header.copy()
    header['sform_code'] = 0
    try:
        other = nifti.affine_of(header)[:3, :3]
    except Exception:  # no rotation is stored, and only the sform is read
        return 0.0
    with np.errstate(invalid='ignore'):  # of a voxel size of 0
        own, other = (part / np.linalg.norm(part, axis=0) for part in (scan.affine[:3, :3], other))
    matrix = own @ other.T  # a qform holds a rotation
    if not np.isfinite(matrix).all():
        return 180.0
    if np.linalg.det(matrix) < 0:
        matrix = matrix @ np.diag([-1.0, 1, 1])
    return alignment.rotation_and_scales(matrix)[0]


def _check_extent(scan: nifti.Image) -> None:
    sizes = scan.voxel_sizes
    if sizes.min() < VOXEL_MM[0] - ROUNDING or sizes.max() > VOXEL_MM[1] + ROUNDING:
        shown = ' x '.join(f'{s:.3g}' for s in sizes)
        raise InputError(
            f'{scan.path}: voxels of {shown} mm, not {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g}: '
            'slices are too thick to find brain and face in, or the affine is wrong'
        )
    extent = sizes * scan.shape
    if extent.min() < EXTENT_MM[0] - ROUNDING or extent.max() > EXTENT_MM[1] + ROUNDING:
        shown = ' x '.join(f'{e:.0f}' for e in extent)
        raise InputError(f'{scan.path}: a field of view of {shown} mm holds no head: is this a scan of one?')


def _check_values(scan: nifti.Image) -> None:
    low, high = scan.raw.min(), scan.raw.max()  # NaN if there is any
    if low == high:
        raise InputError(f'{scan.path}: constant image: export it again')
    if not np.isfinite([low, high]).all():
        raise InputError(f'{scan.path}: holds NaN or infinite values: replace them and run again')
    largest = max(abs(float(low)), abs(float(high))) * abs(scan.slope) + abs(scan.inter)
    if not largest < np.sqrt(np.finfo(np.float32).max):  # squares are taken in single precision
        raise InputError(f'{scan.path}: values up to {largest:.3g} are not those of a scan: repair scl_slope')
    if not largest > np.finfo(np.float32).tiny:
        raise InputError(f'{scan.path}: values of {largest:.3g} at most: repair scl_slope')
