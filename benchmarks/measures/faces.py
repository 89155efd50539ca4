"""Is it still a face: does a detector find it, and are its landmarks where those of people are?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.pairs import DEFAULT, GALLERY, Pair
from benchmarks.recogniser import FRONTAL, views
from benchmarks.statistics import share

METHODS = (*DEFAULT, GALLERY)
RANGE = (1, 99)
"""Percentiles of the originals between which a landmark measure is plausible."""


def measure(pair: Pair) -> dict[str, float | bool | None]:
    """``frontal`` and ``back`` (a false alarm): whether a face is found; and `proportions` of it."""
    seen = views(pair)
    return {'frontal': bool(seen.found[FRONTAL]), 'back': seen.back, **proportions(seen.landmarks[FRONTAL])}


def proportions(landmarks: np.ndarray) -> dict[str, float | None]:
    """What the five landmarks of a frontal view say about a face.

    Parameters
    ----------
    landmarks : ndarray, shape (5, 2)
        As in `recogniser.Views`; None for all measures where they are ``nan``.

    Returns
    -------
    measures : dict of str to float
        ``eye_distance`` between the middles of the eyes, ``eye_width`` (mean of both), ``inner_distance``
        between the inner corners, ``nose_below`` and ``nose_aside`` (of the line between the eyes and its
        middle), all in mm, and ``tilt`` of that line in degrees.
    """
    one, two = landmarks[:2], landmarks[2:4]
    between = one.mean(axis=0) - two.mean(axis=0)
    distance = np.linalg.norm(between)
    along, below = between / distance, np.array([-between[1], between[0]]) / distance
    nose = landmarks[4] - landmarks[:4].mean(axis=0)
    found = {
        'eye_distance': distance,
        'eye_width': np.mean([np.linalg.norm(eye[0] - eye[1]) for eye in (one, two)]),
        'inner_distance': np.linalg.norm(one[1] - two[1]),
        'nose_below': nose @ below,
        'nose_aside': nose @ along,
        'tilt': np.degrees(np.arctan2(between[1], between[0])),
    }
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """By method: share of ``frontal`` faces and of ``plausible`` ones, and both relative to the originals."""
    originals = [value for method in ('original', GALLERY) for value in values.get(method, {}).values()]
    keys = proportions(np.full((5, 2), np.nan))
    limits = {}
    for key in keys:
        known = [value[key] for value in originals if value[key] is not None]
        limits[key] = np.percentile(known, RANGE) if known else (np.nan, np.nan)

    def plausible(value: dict) -> bool:
        return all(
            value[key] is not None and low <= value[key] <= high for key, (low, high) in limits.items()
        )

    pooled = {}
    for method in values:
        heads = list(values[method].values())
        rates = {
            'frontal': share([value['frontal'] for value in heads]),
            'plausible': share([plausible(value) for value in heads]),
            'back': share([value['back'] for value in heads]),
        }
        pooled[method] = {key: list(rate) for key, rate in rates.items()}
    for method, rates in pooled.items():
        for key in ('frontal', 'plausible'):
            rate = pooled.get('original', {}).get(key, [0])[0]
            rates[f'{key}_of_originals'] = [value / rate for value in rates[key]] if rate else None
        pooled[method] = rates
    return pooled
