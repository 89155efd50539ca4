"""Can a face recogniser find the person among the originals?

A head is the mean of the embeddings of its views in which a face is found, and two heads are compared by the
distance of those means. A probe in which no view has a face is compared with nobody: it ranks at random.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

from benchmarks.pairs import DEFAULT, GALLERY, PERTURBED, Pair, work_folder
from benchmarks.recogniser import read_views, views
from benchmarks.scans import people_of, scanners_of
from benchmarks.statistics import (
    attack,
    by_column,
    by_person,
    chance_limit,
    living_attack,
    matched_by_chance,
    share,
    within_groups,
)

METHODS = (*DEFAULT, PERTURBED, GALLERY)


def measure(pair: Pair) -> dict[str, float]:
    """``views_with_face``: in how many of five views a face is found."""
    return {'views_with_face': int(views(pair).found.sum())}


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """Success of the attack on each method; ``with_face`` is the share of probes that show one at all.

    ``dealt_p`` is the p of `matched_by_chance`; ``scanner_auc`` and ``scanner_p`` are of `within_groups`.
    ``living_...`` is the attack with other scans of the people
    in the gallery instead of those that the probes were made of; for ``original`` it shows whether the attack
    is alive, with the people of the gallery among the probes.
    """
    return search(values, out, lambda method, scan: read_views(work_folder(out, method, scan)).template)


def search(values: dict[str, dict[str, dict]], out: Path, template: Callable) -> dict[str, dict]:
    """Look for the probes of each method among the originals.

    Parameters
    ----------
    values : dict
        By method and scan.
    out : Path
        Folder of the run.
    template : callable
        ``template(method, scan)`` is the embedding of a head, shape (n,); ``nan`` where it has no face.
    """
    gallery = [(method, scan) for method in ('original', GALLERY) for scan in values.get(method, {})]
    names = [scan for _, scan in gallery]
    people = people_of(out, names)
    scanner = by_column(names, people, scanners_of(out, names))
    known = np.array([template(*head) for head in gallery])
    pooled = {}
    for method in values:
        scans = [scan for scan in values[method] if method != GALLERY and scan in people]
        if not scans:
            continue
        probes = np.array([template(method, scan) for scan in scans])
        to_scans = cdist(probes, known)
        distances, own, _ = by_person(to_scans, scans, names, people, own_scan=True)
        living = (cdist(known, known), names) if method == 'original' else (to_scans, scans)
        pooled[method] = {
            **attack(distances, own),
            **living_attack(*living, names, people),
            'dealt_p': matched_by_chance(distances, own),
            **within_groups(distances, own, scanner),
            'chance_limit': chance_limit(len(scans), distances.shape[1]),
            'with_face': list(share(np.isfinite(probes[:, 0]))),
            'probes': len(scans),
            'gallery': len(gallery),
            'gallery_with_face': int(np.isfinite(known[:, 0]).sum()),
        }
    return pooled
