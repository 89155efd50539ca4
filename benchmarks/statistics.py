"""Ranks of an attacker's guesses, and intervals of what is measured on few scans."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

SEED = 20261124
DRAWS = 2000
"""Of the bootstrap."""
DEALS = 9999
"""Of the permutation test."""

Interval = tuple[float, float, float]
"""Value, lower and upper limit (95 %)."""


def ranks(distances: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Where a probe's own head stands among all heads of the gallery, nearest first.

    Parameters
    ----------
    distances : ndarray, shape (probes, gallery)
        ``nan`` where there is nothing to compare: such a head comes after all others, in random order.
    own : ndarray of int, shape (probes,)
        Column of each probe's own head.

    Returns
    -------
    ranks : ndarray, shape (probes, 2)
        First and last rank (from 1) that the own head may take: they differ by the number of ties, and are
        1 and the size of the gallery for a probe that can be compared with nothing.
    """
    filled = np.where(np.isnan(distances), np.inf, distances)
    mine = filled[np.arange(len(own)), own][:, None]
    return np.stack([1 + (filled < mine).sum(axis=1), (filled <= mine).sum(axis=1)], axis=1)


def hits(found: np.ndarray, k: int) -> np.ndarray:
    """Probability that each probe's own head is among the `k` nearest, ties being in random order.

    Parameters
    ----------
    found : ndarray, shape (probes, 2)
        From `ranks`.
    k : int

    Returns
    -------
    probability : ndarray, shape (probes,)
    """
    first, last = found.T
    return np.clip((k - first + 1) / (last - first + 1), 0, 1)


def separation(found: np.ndarray, gallery: int) -> np.ndarray:
    """Share of the other heads that each probe is farther from than from its own; 0.5 is chance.

    The mean over probes is the area under the ROC curve of same against different heads, each probe being
    compared with itself only: no threshold has to hold for several people.

    Parameters
    ----------
    found : ndarray, shape (probes, 2)
        From `ranks`.
    gallery : int
        Heads in the gallery.

    Returns
    -------
    share : ndarray, shape (probes,)
    """
    return 1 - (found.mean(axis=1) - 1) / (gallery - 1)


def attack(distances: np.ndarray, own: np.ndarray) -> dict[str, list[float]]:
    """Success of an attacker who ranks a gallery by distance.

    Parameters
    ----------
    distances : ndarray, shape (probes, gallery)
    own : ndarray of int, shape (probes,)

    Returns
    -------
    success : dict of str to [value, low, high]
        ``rank1``, ``rank5`` (shares) and ``auc``.
    """
    found, gallery = ranks(distances, own), distances.shape[1]
    return {
        'rank1': list(share(hits(found, 1))),
        'rank5': list(share(hits(found, 5))),
        'auc': list(bootstrap(separation(found, gallery))),
    }


def by_person(
    distances: np.ndarray, probes: list[str], gallery: list[str], people: dict[str, str], *, own_scan: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances to people rather than to scans: of the scans of a person the nearest counts.

    Parameters
    ----------
    distances : ndarray, shape (probes, gallery)
    probes, gallery : list of str
        Scans.
    people : dict of str to str
        Person by scan.
    own_scan : bool
        Whether the gallery holds the very scan that a probe was made of. Without it an attacker has other
        scans of the person, as in life; probes of people who were scanned once are left out.

    Returns
    -------
    distances : ndarray, shape (known probes, people)
        ``nan`` where no scan of the person can be compared.
    own : ndarray of int, shape (known probes,)
        Column of the person of each probe.
    known : ndarray of int
        Which of the probes these are.
    """
    names = list(dict.fromkeys(people[scan] for scan in gallery))
    columns = [np.array([people[scan] == name for scan in gallery]) for name in names]
    rows, own, known = [], [], []
    for number, scan in enumerate(probes):
        row = distances[number].astype(float)
        mine = columns[names.index(people[scan])]
        if not own_scan:
            mine = mine & np.array([other != scan for other in gallery])
        if not mine.any():
            continue
        groups = [
            mine if people[scan] == name else column for name, column in zip(names, columns, strict=True)
        ]
        nearest = [np.fmin.reduce(row[group]) for group in groups]
        rows.append(nearest)
        own.append(names.index(people[scan]))
        known.append(number)
    return np.array(rows).reshape(-1, len(names)), np.array(own, int), np.array(known, int)


def by_column(gallery: list[str], people: dict[str, str], labels: dict[str, str]) -> np.ndarray:
    """Label of each column of `by_person`: that of the first scan of the person."""
    first = {people[scan]: labels[scan] for scan in reversed(gallery)}
    return np.array([first[name] for name in dict.fromkeys(people[scan] for scan in gallery)])


def living_attack(
    distances: np.ndarray, probes: list[str], gallery: list[str], people: dict[str, str]
) -> dict[str, list[float] | int]:
    """Success of an attacker who has other scans of the people: see `by_person`.

    Returns
    -------
    success : dict
        ``living_probes``, and ``living_rank1``, ``living_rank5`` and ``living_auc`` if there are any.
    """
    found, own, known = by_person(distances, probes, gallery, people, own_scan=False)
    if not len(known):
        return {'living_probes': 0}
    return {
        'living_probes': len(known),
        **{f'living_{key}': value for key, value in attack(found, own).items()},
    }


def wilson(count: float, total: int) -> Interval:
    """A share and its 95 % interval (Wilson, 1927); NaN of nothing. SciPy's takes no counts in parts."""
    if total == 0:
        return np.nan, np.nan, np.nan
    z, p = stats.norm.ppf(0.975), count / total
    middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    return p, max(0.0, float(middle - half)), min(1.0, float(middle + half))


def share(values: np.ndarray) -> Interval:
    """Mean of truth values or probabilities, with Wilson's interval."""
    values = np.asarray(values, dtype=float)
    return wilson(float(values.sum()), len(values))


def bootstrap(values: np.ndarray, statistic: Callable = np.mean) -> Interval:
    """A statistic over scans and its 95 % interval (percentiles over draws of scans, with a fixed seed).

    Parameters
    ----------
    values : ndarray, shape (scans, ...)
    statistic : callable
        Of such an array; takes ``axis=0``.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        return (np.nan, np.nan, np.nan)
    draws = np.random.default_rng(SEED).integers(len(values), size=(DRAWS, len(values)))
    drawn = [statistic(values[draw], axis=0) for draw in draws]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return (float(statistic(values, axis=0)), float(low), float(high))


def chance_limit(probes: int, gallery: int) -> float:
    """Largest rank-1 share that guessing reaches within its 95 % interval (binomial)."""
    return float(stats.binom.ppf(0.975, probes, 1 / gallery) / probes) if probes else np.nan


def nearer_to_own(distances: np.ndarray, own: np.ndarray) -> float:
    """Whether probes are nearer to their own head than to others: one-sided p of Wilcoxon's paired test.

    Parameters
    ----------
    distances : ndarray, shape (probes, gallery)
    own : ndarray of int, shape (probes,)

    Returns
    -------
    p : float
        Of the distance to the own head against the mean distance to the others; ``nan`` below six probes.
    """
    others = np.ma.masked_invalid(distances.astype(float))
    mine = others[np.arange(len(own)), own].filled(np.nan)
    others[np.arange(len(own)), own] = np.ma.masked
    difference = mine - others.mean(axis=1).filled(np.nan)
    difference = difference[np.isfinite(difference)]
    if len(difference) < 6:
        return np.nan
    return float(stats.wilcoxon(difference, alternative='less').pvalue)


def within_groups(distances: np.ndarray, own: np.ndarray, groups: np.ndarray) -> dict[str, Interval | float]:
    """Success of an attacker who compares with heads of the same scanner alone.

    Scanner and field of view are kept: between scanners they find the group, not the person.

    Parameters
    ----------
    distances, own
        As for `matched_by_chance`.
    groups : ndarray of str, shape (gallery,)

    Returns
    -------
    success : dict
        ``scanner_auc``, over probes with two others to be told from, and ``scanner_p``:
        `matched_by_chance` within groups.
    """
    separated = []
    for group in np.unique(groups[own]):
        columns = np.flatnonzero(groups == group)
        probes = np.flatnonzero(groups[own] == group)
        if len(columns) > 2:
            found = ranks(distances[np.ix_(probes, columns)], np.searchsorted(columns, own[probes]))
            separated += separation(found, len(columns)).tolist()
    return {
        'scanner_auc': bootstrap(np.array(separated)),
        'scanner_p': matched_by_chance(distances, own, groups),
    }


def matched_by_chance(distances: np.ndarray, own: np.ndarray, groups: np.ndarray | None = None) -> float:
    """How often probes that are dealt to the people at random are as near to them: p of a permutation test.

    Unlike that of `nearer_to_own`, it stays fair where some heads are unlike all others: the distances to
    those stretch the mean but leave most people below it, so that Wilcoxon's test finds even one and the same
    head for everybody nearer to its owner. What a probe or an original adds to all its distances cancels.

    Parameters
    ----------
    distances : ndarray, shape (probes, gallery)
    own : ndarray of int, shape (probes,)
        Several probes of a person are averaged: they are dealt together.
    groups : ndarray, shape (gallery,), optional
        Probes are dealt within groups.

    Returns
    -------
    p : float
        One-sided; ``nan`` below six people. Those are left out, one by one, who cannot be compared with most
        others: a probe without a face, or a field of view that shares nothing with another.
    """
    people = np.unique(own)
    square = np.array([distances[own == person][:, people].mean(axis=0) for person in people])
    labels = np.zeros(len(people)) if groups is None else groups[people]
    while (unknown := ~np.isfinite(square)).any():
        square = np.delete(square, worst := (unknown.sum(axis=0) + unknown.sum(axis=1)).argmax(), axis=0)
        square, labels = np.delete(square, worst, axis=1), np.delete(labels, worst)
    if len(square) < 6:
        return np.nan
    random, found, dealt = np.random.default_rng(SEED), np.trace(square), np.zeros(DEALS)
    for rows in (np.flatnonzero(labels == label) for label in np.unique(labels)):
        dealt += [square[rows, random.permutation(rows)].sum() for _ in range(DEALS)]
    return float((1 + np.sum(dealt <= found + 1e-9)) / (1 + DEALS))
