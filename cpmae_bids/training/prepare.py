"""From a BIDS dataset of whole-head T1w to the prepared file that the other training commands read."""

import hashlib
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec
from tqdm import tqdm

from cpmae_bids.bids.participants import KEY, read_participants
from cpmae_bids.deid.images import intensity
from cpmae_bids.deid.space import conforming, geometry
from cpmae_bids.runtime.pool import workers
from cpmae_bids.training.data import Head, write_prepared

# Cube intensities below this are air and noise, and are set to zero: the models learn heads, not noise
AIR = 0.06


def find_heads(bids_dir: Path) -> list[Path]:
    """Return the T1w files of a BIDS dataset; those of ``train`` if participants have a ``split``.

    Raises InputError if participants.tsv is there and cannot be read, or has two rows for one of them.
    """
    held_out = []
    paths = sorted(bids_dir.glob('sub-*/**/anat/*_T1w.nii*'))
    table = bids_dir / 'participants.tsv'
    if table.exists():
        rows = read_participants(table, {path.name.split('_')[0] for path in paths})
        held_out = rows.only(lambda row: row.get('split', 'train') != 'train').column(KEY)
    return [path for path in paths if path.name.split('_')[0] not in held_out]


def is_validation(name: str, share: float) -> bool:
    """Whether a scan is left out for validation: by a hash of its name, so that it never changes sides."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 < share


def conform_scan(path: Path, work_dir: Path, n: int) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Skull-strip, register and conform one scan; `work_dir` keeps brain mask and affine for later calls.

    Returns its name, the whole head as stored in a prepared file (uint8, shape (n, n, n + n / 8)), brain mask
    and field of view (bool, of the same shape).
    """
    name = path.name.split('.')[0]
    mask_path, affine_path = work_dir / f'{name}_brain.nii.gz', work_dir / f'{name}_affine.txt'
    if not mask_path.exists():
        from cpmae_bids.steps.skullstrip import skullstrip

        skullstrip(path, mask_path, work_dir / f'{name}_kept.nii.gz')
    if not affine_path.exists():
        from cpmae_bids.steps.register import register

        register(path, mask_path, affine_path)
    image = nib.load(path)
    values, affine = image.get_fdata(dtype=np.float32), np.loadtxt(affine_path)
    mask = np.asarray(nib.load(mask_path).dataobj) > 0
    place = (mask, image.affine, affine, n)
    _, scale = conforming.conform_brain(values, *place)
    # under which the lowest slices of the template grid are those just below it
    lower = from_matvec(np.eye(3), [0, 0, geometry.GRID_EDGE_MM / 8]) @ affine
    # cubic: linear interpolation takes a quarter of the finest contrast
    parts = [
        geometry.to_template(values, image.affine, to, n, mode='nearest', order=3) for to in (lower, affine)
    ]
    seen = [geometry.field_of_view(mask.shape, image.affine, to, n) for to in (lower, affine)]
    brain = [np.zeros_like(seen[0]), geometry.to_template(mask, image.affine, affine, n) >= 0.5]
    volume, fov, brain = (
        np.concatenate([low[:, :, : n // 8], high], 2) for low, high in (parts, seen, brain)
    )
    volume = np.where(fov, intensity.normalize(volume, scale), 0)
    volume[volume < AIR] = 0
    return name, intensity.to_levels(volume), brain, fov


def prepare(
    bids_dir: Path,
    out: Path,
    work_dir: Path,
    *,
    n: int = 128,
    validation: float = 0.08,
    max_voxel_mm: float | None = None,
    processes: int = 1,
) -> list[Head]:
    """Write the prepared file of a BIDS dataset of whole-head (not defaced) T1w, and return its heads.

    `work_dir` keeps masks and affines, from which a second call resumes. The template grid has `n` voxels
    along an edge: 128 (2 mm) or 256 (1 mm, for super-resolution). The share `validation` of the scans is held
    out; those with voxels coarser than `max_voxel_mm` are left out.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    paths = find_heads(bids_dir)
    if max_voxel_mm:
        paths = [p for p in paths if max(nib.load(p).header.get_zooms()[:3]) <= max_voxel_mm]
    heads = []
    with workers(processes) as each:
        found = each(partial(conform_scan, work_dir=work_dir, n=n), paths)
        for name, image, brain, fov in tqdm(found, 'conform', len(paths), unit='scan'):
            split = 'validation' if is_validation(name, validation) else 'train'
            heads.append(Head(name, split, image, brain, fov))
    write_prepared(out, heads, {'dataset': bids_dir.name, 'n': n, 'validation': validation})
    return heads
