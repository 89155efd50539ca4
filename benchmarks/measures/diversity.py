"""Is it diverse, and nobody's: how heads differ from each other, and from the heads of the gallery.

The gallery stands for the heads that the models were trained on, which it is for the heads of this project.
What real heads that were never trained on give is the row of the originals.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.pairs import GALLERY, OWN, PEERS, Pair, work_folder
from benchmarks.statistics import bootstrap, share
from benchmarks.surfaces import maps, mean_distances, read_maps

METHODS = ('original', *OWN, *PEERS, GALLERY)
REGION = 'face'


def measure(pair: Pair) -> dict[str, float | None]:
    """Mean and standard deviation (mm) of the depth of the face."""
    depth = maps(pair)[REGION]
    if not np.isfinite(depth).any():
        return {'depth_mean': None, 'depth_sd': None}
    return {'depth_mean': float(np.nanmean(depth)), 'depth_sd': float(np.nanstd(depth))}


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """Spread within each method, and distance to the nearest head of the gallery.

    ``between`` is the mean distance (mm) between two heads of the method. ``variance`` is the variance of
    their depths, mean over rays, as a share of that of the originals. ``nearest`` is the distance (mm) to the
    nearest head of the gallery, ``nearest_ratio`` the same over the 5th percentile of the distances between
    any two heads of the gallery, and ``original_enough`` the share of heads that are not nearer to it than
    the 5th percentile of the distances of its own heads to their nearest.
    """
    depths = {
        method: np.array([read_maps(work_folder(out, method, scan))[REGION] for scan in scans])
        for method, scans in values.items()
        if scans
    }
    gallery = depths.pop(GALLERY, np.zeros((0, 1)))
    pooled: dict[str, dict] = {}
    for method, heads in depths.items():
        among = mean_distances(heads, heads)
        pooled[method] = {'between': float(np.nanmean(among[np.triu_indices(len(heads), 1)]))}
        same = [scan in values['original'] for scan in values[method]]
        real = depths['original'][[scan in values[method] for scan in values['original']]]
        pooled[method]['variance'] = list(_variance_ratio(heads[same], real))
    if len(gallery) >= 20:
        among = mean_distances(gallery, gallery)
        any_two = np.nanpercentile(among[np.triu_indices(len(gallery), 1)], 5)
        np.fill_diagonal(among, np.nan)
        to_nearest = np.nanpercentile(np.nanmin(among, axis=1), 5)
        for method, heads in depths.items():
            nearest = np.nanmin(mean_distances(heads, gallery), axis=1)
            pooled[method] |= {
                'nearest': list(bootstrap(nearest)),
                'nearest_ratio': list(bootstrap(nearest / any_two)),
                'original_enough': list(share(nearest >= to_nearest)),
            }
    return pooled


def _variance_ratio(heads: np.ndarray, real: np.ndarray) -> tuple[float, float, float]:
    """Variance of depths over that of the same scans' originals, rays that both show in most scans."""
    if len(heads) < 3:
        return (np.nan, np.nan, np.nan)
    both = np.isfinite(heads) & np.isfinite(real)
    rays = both.mean(axis=0) > 0.5
    pairs = np.where(both, np.stack([heads, real]), np.nan)[..., rays]

    def ratio(stacked: np.ndarray, axis: int) -> float:
        with np.errstate(invalid='ignore', divide='ignore'):
            variance = np.nanvar(stacked, axis=axis)  # (2, rays)
        return float(np.nanmean(variance[0]) / np.nanmean(variance[1]))

    return bootstrap(np.moveaxis(pairs, 1, 0), ratio)
