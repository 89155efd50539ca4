"""From a BIDS dataset of whole-head T1w to the prepared file that the other training commands read."""

from __future__ import annotations

import csv
import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from cpmae_bids.training.data import WARP_STEP, Head, decode_intensity, encode_intensity, write_prepared

AIR = 0.06
"""Cube intensities below this are air and noise, and are set to zero: the models learn heads, not noise."""


def find_heads(bids_dir: Path, split_column: str | None = 'split') -> list[Path]:
    """T1w files of a BIDS dataset; only those of participants whose `split` is ``train`` where there is one.

    Parameters
    ----------
    bids_dir : Path
    split_column : str or None
        Column of ``participants.tsv`` that names the split; None, or no such column, takes everybody.

    Returns
    -------
    paths : list of Path
    """
    held_out = set()
    table = bids_dir / 'participants.tsv'
    if split_column and table.exists():
        with table.open(newline='', encoding='utf-8') as file:
            for row in csv.DictReader(file, delimiter='\t'):
                if row.get(split_column, 'train') != 'train':
                    held_out.add(row['participant_id'])
    paths = sorted(bids_dir.glob('sub-*/**/anat/*_T1w.nii*'))
    return [path for path in paths if path.name.split('_')[0] not in held_out]


def is_validation(name: str, share: float) -> bool:
    """Whether a scan is left out for validation: by a hash of its name, so that it never changes sides."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 < share


def conform_scan(
    path: Path, work_dir: Path, n: int, *, order: int = 1
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Skull-strip, register and conform one scan; results are kept in `work_dir` and used again.

    Parameters
    ----------
    path : Path
        A T1w image.
    work_dir : Path
        Where brain mask and affine of each scan are kept.
    n : int
        Voxels along an edge of the cube.
    order : int
        Interpolation order: 1, as the models see scans, or 3, which keeps their sharpness.

    Returns
    -------
    name : str
    image : ndarray of uint8, shape (n, n, n)
        Whole head, as stored in a prepared file.
    brain, fov : ndarray of bool, shape (n, n, n)
    """
    import nibabel as nib

    from cpmae_bids.deid import conforming, geometry, intensity

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
    brain, scale = conforming.conform_brain(values, *place)
    scan = conforming.conform_head(values, *place, scale)
    volume = np.where(brain > 0, brain, scan.head)
    if order > 1:
        sharp = geometry.to_cube(values, image.affine, affine, n, mode='nearest', order=order)
        volume = np.where(scan.in_fov, intensity.normalize(sharp, scale), 0)
    volume[volume < AIR] = 0
    return name, encode_intensity(volume), scan.in_brain, scan.in_fov


def _warp(job: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    from cpmae_bids.training.warps import warp_to_mean

    return np.clip(np.round(warp_to_mean(*job) / WARP_STEP), -127, 127).astype(np.int8)


def prepare(
    bids_dir: Path,
    out: Path,
    work_dir: Path,
    *,
    n: int = 128,
    validation: float = 0.08,
    warps: bool = True,
    max_voxel_mm: float | None = None,
    order: int = 1,
    processes: int = 1,
) -> list[Head]:
    """Write the prepared file of a BIDS dataset.

    Parameters
    ----------
    bids_dir : Path
        BIDS dataset of whole-head (not defaced) T1w.
    out : Path
        The prepared file, safetensors.
    work_dir : Path
        Masks, affines and warps are kept here; a second call goes on from them.
    n : int
        Voxels along an edge of the cube: 128 (2 mm) or 256 (1 mm, for the finest decoder).
    validation : float
        Share of scans left out for validation.
    warps : bool
        Find the deformation of every head to the mean head.
    max_voxel_mm : float, optional
        Leave out scans with coarser voxels.
    order : int
        Interpolation order, see `conform_scan`.
    processes : int
        Worker processes.

    Returns
    -------
    heads : list of Head
    """
    import nibabel as nib
    from tqdm import tqdm

    work_dir.mkdir(parents=True, exist_ok=True)
    paths = find_heads(bids_dir)
    if max_voxel_mm:
        paths = [p for p in paths if max(nib.load(p).header.get_zooms()[:3]) <= max_voxel_mm]
    with ProcessPoolExecutor(processes) as pool:
        jobs = [pool.submit(conform_scan, path, work_dir, n, order=order) for path in paths]
        heads = []
        for job in tqdm(jobs, desc='conform', unit='scan'):
            name, image, brain, fov = job.result()
            split = 'validation' if is_validation(name, validation) else 'train'
            heads.append(Head(name, split, image, brain, fov, None))
        if warps:
            heads = _with_warps(heads, work_dir, pool)
    write_prepared(out, heads, {'dataset': bids_dir.name, 'n': n, 'validation': validation, 'order': order})
    return heads


def _with_warps(heads: list[Head], work_dir: Path, pool: ProcessPoolExecutor) -> list[Head]:
    from tqdm import tqdm

    from cpmae_bids.training.warps import half, mean_head

    small = [half(decode_intensity(head.image)) for head in heads]
    fovs = [half(head.fov) for head in heads]
    mean = mean_head(small, fovs)
    jobs = {}
    for head, volume, fov in zip(heads, small, fovs, strict=True):
        if not (work_dir / f'{head.name}_warp.npy').exists():
            filled = volume * fov + mean * (1 - fov)  # nothing to match where a scan did not look
            jobs[head.name] = pool.submit(_warp, (filled, mean))
    for name, job in tqdm(jobs.items(), desc='warp', unit='scan'):
        np.save(work_dir / f'{name}_warp.npy', job.result())
    return [replace(head, warp=np.load(work_dir / f'{head.name}_warp.npy')) for head in heads]
