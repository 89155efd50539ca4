"""Measure how well an attacker with all originals identifies that of an output."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

SEED = 1
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class Attack:
    """Success of an attack on a set of outputs."""

    # probes, gallery: outputs that were attacked, and persons that they were looked for among
    probes: int
    gallery: int
    # share of the outputs whose own original came first, and its 95 % interval (Wilson)
    rank1: tuple[float, float, float]
    chance: float  # the same for guesses
    # mean share of the others' originals that came after the own one (0.5 for guesses), and its 95 % interval
    # (bootstrap over the outputs)
    auc: tuple[float, float, float]
    luck: float  # probability that guesses come first as often

    def numbers(self) -> dict[str, Any]:
        """Plain numbers for JSON, rounded."""
        return {
            'outputs': self.probes,
            'persons': self.gallery,
            'rank1': [round(value, 4) for value in self.rank1],
            'chance': round(self.chance, 4),
            'auc': [round(value, 4) for value in self.auc],
        }


def attack(distances: np.ndarray, own: np.ndarray, persons: np.ndarray) -> Attack | None:
    """Rank the originals by their distance to each output; of several scans of a person the nearest counts.

    `distances`, (outputs, originals), are NaN where there is nothing to compare; `own` is the person of each
    output, `persons` that of each original. None if no output, or not two persons, can be compared.
    """
    people = np.unique(persons)
    usual = np.zeros(distances.shape[1])
    if len(distances) > 2:  # an average head is near to everybody: an attacker takes that into account
        usual = np.array([np.nanmedian(c) if np.isfinite(c).any() else 0 for c in distances.T])
    filled = np.where(np.isnan(distances), np.inf, distances - usual)
    nearest = np.stack([filled[:, persons == p].min(axis=1, initial=np.inf) for p in people], axis=1)
    mine = nearest[np.arange(len(own)), np.searchsorted(people, own)]
    usable = np.isfinite(mine)
    people_seen = np.isfinite(nearest[usable]).any(axis=0).sum() if usable.any() else 0
    if people_seen < 2:
        return None
    nearest, mine = nearest[usable], mine[usable][:, None]
    before, tied = (nearest < mine).sum(axis=1), (nearest == mine).sum(axis=1) - 1
    others = people_seen - 1
    hits = int(((before == 0) & (tied == 0)).sum())
    interval = stats.binomtest(hits, len(mine)).proportion_ci(method='wilson')
    behind = 1 - (before + tied / 2) / others
    return Attack(
        probes=len(mine),
        gallery=int(people_seen),
        rank1=(hits / len(mine), float(interval.low), float(interval.high)),
        chance=float(1 / people_seen),
        auc=bootstrap(behind),
        luck=float(stats.binomtest(hits, len(mine), 1 / people_seen, 'greater').pvalue),
    )


def bootstrap(values: np.ndarray) -> tuple[float, float, float]:
    """A mean and its 95 % interval: percentiles over draws with replacement, with a fixed seed."""
    drawn = np.random.default_rng(SEED).choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
