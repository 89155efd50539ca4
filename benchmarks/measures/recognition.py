"""Can a face recogniser find the person among the originals?

A head is the mean of the embeddings of its views in which a face is found, and two heads are compared by the
distance of those means. A probe in which no view has a face is compared with nobody: it ranks at random.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

from benchmarks.pairs import DEFAULT, GALLERY, PERTURBED, Pair, work_folder
from benchmarks.recogniser import read_views, views
from benchmarks.statistics import attack, chance_limit, matched_by_chance, share

METHODS = (*DEFAULT, PERTURBED, GALLERY)


def measure(pair: Pair) -> dict[str, float]:
    """``views_with_face``: in how many of five views a face is found."""
    return {'views_with_face': int(views(pair).found.sum())}


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """Success of the attack on each method; ``with_face`` is the share of probes that show one at all.

    ``dealt_p`` is the p of `matched_by_chance`.
    """
    gallery = [(method, scan) for method in ('original', GALLERY) for scan in values.get(method, {})]
    column = {scan: number for number, (_, scan) in enumerate(gallery)}
    known = np.array([read_views(work_folder(out, *head)).template for head in gallery])
    pooled = {}
    for method in values:
        scans = [scan for scan in values[method] if method != GALLERY and scan in column]
        if not scans:
            continue
        probes = np.array([read_views(work_folder(out, method, scan)).template for scan in scans])
        distances, own = cdist(probes, known), np.array([column[scan] for scan in scans])
        pooled[method] = {
            **attack(distances, own),
            'dealt_p': matched_by_chance(distances, own),
            'chance_limit': chance_limit(len(scans), len(gallery)),
            'with_face': list(share(np.isfinite(probes[:, 0]))),
            'probes': len(scans),
            'gallery': len(gallery),
            'gallery_with_face': int(np.isfinite(known[:, 0]).sum()),
        }
    return pooled
