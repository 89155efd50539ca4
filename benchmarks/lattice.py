"""Does the lattice of the codes show in generated heads? Steps at its planes, against the planes beside them.

    python -m benchmarks.lattice WORK [WORK ...]

WORK is what ``cpmae-bids-file T1W OUT -w WORK`` left, or a folder of such folders. A head is looked at as it
lies in the cube, where the network for detail has its sites, and deformed to the mean head, where the codes
have theirs. The original heads in the same cube say what chance gives. A pattern of single voxels is not
looked for. Numbers go to ``results/lattice.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks import generate
from benchmarks.scans import write_result
from cpmae_bids.deid import codes, cubes, geometry

PERIODS_MM = (2, 4, 8, 16, 32)
"""Edges of the voxels of the decoder, of the sites of the network for detail, and of those of the codes."""

VOXEL_MM = 2
"""Voxels of the decoder; those of 1 mm come from doubling."""

LIMIT = 1.1
"""Excess from which on a lattice counts as visible; ``results/lattice.json`` has what real heads give
(``original``)."""

LEVEL = 0.15
"""Intensity (brain scale 1) of tissue."""

BESIDE = 2
"""Planes to either side of one that it is compared with, but for others of the lattice."""


def plane_energy(volume: np.ndarray, axis: int) -> np.ndarray:
    """Mean absolute step in the tissue from each plane to the next one.

    Parameters
    ----------
    volume : ndarray, shape (n, n, n)
        Air 0.
    axis : int

    Returns
    -------
    energy : ndarray, shape (n - 1,)
        NaN where there is hardly any tissue. Item i is about the planes i and i + 1.
    """
    volume = np.moveaxis(np.asarray(volume, np.float32), axis, 0)
    tissue = (volume[1:] > LEVEL) & (volume[:-1] > LEVEL)
    steps = np.where(tissue, np.abs(np.diff(volume, axis=0)), 0)
    count = tissue.sum(axis=(1, 2))
    few = count < 0.01 * volume[0].size
    return np.where(few, np.nan, steps.sum(axis=(1, 2)) / np.maximum(count, 1))


def lattice_excess(volume: np.ndarray, period: int) -> float:
    """Steps at the planes of a lattice over those at the planes beside, mean of all planes and axes.

    Parameters
    ----------
    volume : ndarray, shape (n, n, n)
        Head in the cube, brain scale 1, air 0.
    period : int
        Edge of a site in voxels, 2 or more. A site begins at voxel 0.

    Returns
    -------
    excess : float
        1 without a lattice.
    """
    ratios = []
    for axis in range(3):
        energy = plane_energy(volume, axis)
        borders = np.arange(period - 1, len(energy), period)
        for border in borders:
            beside = [border + d for d in range(-BESIDE, BESIDE + 1) if d and (border + d + 1) % period]
            beside = energy[[i for i in beside if 0 <= i < len(energy)]]
            ratios.append(energy[border] / np.mean(beside))
    return float(np.nanmean(ratios))


def measure(volume: np.ndarray) -> dict[str, float]:
    """Excess at each of `PERIODS_MM`, as far as the cube resolves it.

    Sites are looked at in voxels of 2 mm: in a volume that was doubled, every other plane is a border of
    voxels of the decoder, which has steps of its own.
    """
    fine = len(volume) > geometry.CUBE_EDGE // VOXEL_MM
    halved = generate.halved(volume) if fine else volume
    found = {mm: lattice_excess(halved, mm // VOXEL_MM) for mm in PERIODS_MM if mm > VOXEL_MM}
    if fine:
        found[VOXEL_MM] = lattice_excess(volume, VOXEL_MM)
    return {str(mm): round(found[mm], 4) for mm in sorted(found)}


def look(folder: Path, model) -> dict[str, dict[str, float]]:
    """The excesses of a generated head in both frames, and of the original."""
    import torch

    volume = cubes.read(folder / 'generated.npz', 'head').astype(np.float32)
    shape = torch.from_numpy(codes.read(folder / 'head_codes.npz')[0]).long()[None]
    with torch.no_grad():
        straight = model.align(torch.from_numpy(volume)[None, None], shape)[0, 0].numpy()
    with np.load(folder / 'head.npz') as arrays:
        original = arrays['head'].astype(np.float32)
    return {
        'voxels': volume.shape[0],
        'generated': measure(volume),
        'generated_mean_frame': measure(straight),
        'original': measure(original),
    }


def main(argv: list[str] | None = None) -> None:
    """Write the numbers."""
    from cpmae_bids.models.weights import load_model, resolve_weights

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work', type=Path, nargs='+')
    args = parser.parse_args(argv)
    found = resolve_weights(None)
    model = load_model(found, 'head', 'cpu')
    folders = sorted({path.parent for work in args.work for path in work.rglob('generated.npz')})
    if not folders:
        parser.error('no generated head in these folders')
    heads = [look(folder, model) for folder in folders]
    summary = {}
    for kind in ('generated', 'generated_mean_frame', 'original'):
        for mm in (str(mm) for mm in PERIODS_MM):
            if values := [head[kind][mm] for head in heads if mm in head[kind]]:
                mean, largest = float(np.mean(values)), float(np.max(values))
                summary.setdefault(kind, {})[mm] = {'mean': round(mean, 3), 'largest': round(largest, 3)}
    print(summary)
    content = {'model_hash': found.model_hash, 'limit': LIMIT, 'summary': summary, 'heads': heads}
    print(write_result('lattice', content))


if __name__ == '__main__':
    main()
