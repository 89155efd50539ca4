"""Can geometry find the person: is the skin in the frame of the brain nearer to that of the original head?

The attacker knows the brain, and compares depth maps of the face, the ears and the outline of the scalp
with those of every original. `BRAIN_ALONE` is an attacker who sees no head at all: he predicts it from the
brain mask of the probe by ridge regression on the heads of the gallery, and looks for what he predicts.
``beyond`` is an attacker who has both: what is left of a head, and of each original, after the prediction
from its brain. Where the generated head owes nothing to the original but what the brain tells, he is
reduced to guessing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.pairs import DEFAULT, GALLERY, PERTURBED, Pair, work_folder
from benchmarks.scans import people_of, scanners_of
from benchmarks.statistics import (
    SEED,
    attack,
    bootstrap,
    by_column,
    by_person,
    living_attack,
    matched_by_chance,
    nearer_to_own,
    within_groups,
)
from benchmarks.surfaces import maps, mean_distances, read_maps

METHODS = (*DEFAULT, PERTURBED, GALLERY)
REGIONS = ('face', 'ears', 'outline')
BRAIN_ALONE = 'brain alone'
TO_LEARN_FROM = 30
"""Heads that the regression needs at least."""


def measure(pair: Pair) -> dict[str, float]:
    """Share of each region's rays that the field of view lets see."""
    found = maps(pair)
    return {f'{region}_seen': float(np.isfinite(found[region]).mean()) for region in REGIONS}


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """Success of the attack by region, and the paired test of the distance to the own original.

    ``<region>_p`` is the p of `nearer_to_own`, ``<region>_dealt_p`` that of `matched_by_chance`;
    ``<region>_moved`` the mean distance to the own original and
    ``<region>_others`` that to the others', in mm. ``<region>_beyond_auc`` and ``<region>_beyond_p`` (of
    `matched_by_chance`) are those of the attacker who takes off what the brain tells.
    """
    heads = {
        method: {scan: read_maps(work_folder(out, method, scan)) for scan in scans}
        for method, scans in values.items()
    }
    gallery = {**heads.get('original', {}), **heads.get(GALLERY, {})}
    names = list(gallery)
    people = people_of(out, names)
    scanner = by_column(names, people, scanners_of(out, names))
    probes = {method: {s: m for s, m in heads[method].items() if s in people} for method in heads}
    probes.pop(GALLERY, None)
    predicted = predict(heads.get('original', {}), heads.get(GALLERY, {}))
    expected = {**predicted, **predict_each_other(heads.get(GALLERY, {}))} if predicted else {}
    if predicted:
        probes[BRAIN_ALONE] = predicted

    pooled: dict[str, dict] = {method: {} for method in probes if probes[method]}
    for region in REGIONS:
        known = np.array([head[region] for head in gallery.values()])
        for method in pooled:
            scans = list(probes[method])
            to_scans = mean_distances(np.array([head[region] for head in probes[method].values()]), known)
            found, own, _ = by_person(to_scans, scans, names, people, own_scan=True)
            living = (to_scans, scans)
            if method == 'original':  # shows whether the attack is alive: the gallery's people count as well
                living = (mean_distances(known, known), names)
            mine = found[np.arange(len(own)), own]
            others = found.copy()
            others[np.arange(len(own)), own] = np.nan
            pooled[method] |= {
                **{f'{region}_{key}': value for key, value in attack(found, own).items()},
                **{f'{region}_{key}': value for key, value in living_attack(*living, names, people).items()},
                **(_beyond(region, probes[method], gallery, expected, people) if method in heads else {}),
                **{f'{region}_{key}': value for key, value in within_groups(found, own, scanner).items()},
                f'{region}_p': nearer_to_own(found, own),
                f'{region}_dealt_p': matched_by_chance(found, own),
                f'{region}_moved': list(bootstrap(mine[np.isfinite(mine)])),
                f'{region}_others': float(np.nanmean(others)),
            }
    for method in pooled:
        pooled[method] |= {'probes': len(probes[method]), 'gallery': len(gallery)}
    return pooled


def _beyond(
    region: str,
    probes: dict[str, dict],
    gallery: dict[str, dict],
    expected: dict[str, dict],
    people: dict[str, str],
) -> dict[str, list[float] | float]:
    """Success of the attack on what the brain does not tell; nothing without predictions."""
    if any(scan not in expected for scan in gallery):
        return {}

    def rest(heads: dict[str, dict]) -> np.ndarray:
        return np.array([head[region] - expected[scan][region] for scan, head in heads.items()])

    to_scans = mean_distances(rest(probes), rest(gallery))
    found, own, _ = by_person(to_scans, list(probes), list(gallery), people, own_scan=True)
    return {
        f'{region}_beyond_auc': attack(found, own)['auc'],
        f'{region}_beyond_p': matched_by_chance(found, own),
    }


def predict_each_other(heads: dict[str, dict], folds: int = 5) -> dict[str, dict]:
    """Heads of a gallery as they are expected from their brains by a regression that has not seen them."""
    names = list(heads)
    fold = np.random.default_rng(SEED).permutation(len(names)) % folds
    found: dict[str, dict] = {}
    for number in range(folds):
        unseen = {name: heads[name] for name, part in zip(names, fold, strict=True) if part == number}
        found |= predict(unseen, {name: head for name, head in heads.items() if name not in unseen})
    return found


def predict(probes: dict[str, dict], known: dict[str, dict]) -> dict[str, dict]:
    """Heads that a ridge regression expects around the brains of the probes; its strength is cross-validated.

    Parameters
    ----------
    probes, known : dict
        Maps of the heads by scan; what is learnt is learnt from `known` alone.

    Returns
    -------
    predicted : dict
        Maps of the probes; empty if there is too little to learn from.
    """
    if len(known) < TO_LEARN_FROM or not probes:
        return {}
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(heads: dict[str, dict]) -> np.ndarray:
        return np.array([[*np.nan_to_num(head['brain']), *head['scale']] for head in heads.values()])

    predicted: dict[str, dict] = {scan: {} for scan in probes}
    for region in REGIONS:
        target = np.array([head[region] for head in known.values()])
        mean = np.nanmean(np.where(np.isfinite(target).any(axis=0), target, 0), axis=0)
        target = np.where(np.isfinite(target), target, mean)
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 6, 13)))
        for scan, row in zip(
            probes, model.fit(features(known), target).predict(features(probes)), strict=True
        ):
            predicted[scan][region] = row
    return predicted
