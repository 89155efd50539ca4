"""Find the scans that differ most from the others, and the measure in which they do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cpmae_bids.bids.patterns import split_name
from cpmae_bids.deid.qc.thresholds import Threshold, common_thresholds

MIN_SCANS = 5  # scans that it takes to say that one of them differs
# A spread below this share of the way from the median to the farther limit is taken to be as large
MATERIAL = 0.01
UNUSUAL = 3.5  # robust z-score from which on a value is an outlier (Iglewicz and Hoaglin, 1993)


@dataclass(frozen=True)
class Outlier:
    """The most unusual measure of a scan."""

    scan: str
    measure: str
    value: float
    median: float
    z: float

    @property
    def is_unusual(self) -> bool:
        return abs(self.z) >= UNUSUAL


def find_outliers(records: Iterable[dict[str, Any]]) -> list[Outlier]:
    """Return each scan's most unusual metric, the most unusual scan first; none below `MIN_SCANS` scans."""
    contrasts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        if record.get('measures'):
            fill = record.get('fill') or ''
            contrast = split_name(record['scan'])[1] if fill else '', fill
            contrasts.setdefault(contrast, []).append(record)
    outliers: dict[str, Outlier] = {}
    for (_, fill), measured in contrasts.items():
        _compare(measured, common_thresholds([fill]).values(), outliers)
    return sorted(outliers.values(), key=lambda outlier: -abs(outlier.z))


def _compare(
    measured: list[dict[str, Any]], limits: Iterable[Threshold], outliers: dict[str, Outlier]
) -> None:
    """Note each scan's most unusual measure among scans of one contrast."""
    for limit in limits:
        name = limit.metric
        having = [(r['scan'], float(v)) for r in measured if (v := r['measures'].get(name)) is not None]
        values = np.array([value for _, value in having])
        if len(values) < MIN_SCANS:
            continue
        away = np.abs(np.median(values) - [limit.low, limit.high])
        to_limit = away[np.isfinite(away)].max(initial=0)
        for (scan, value), z in zip(having, robust_z(values, MATERIAL * to_limit), strict=True):
            if scan not in outliers or abs(z) > abs(outliers[scan].z):
                outliers[scan] = Outlier(scan, name, value, float(np.median(values)), float(z))


def robust_z(values: np.ndarray, least: float = 0) -> np.ndarray:
    """Distance from the median in robust standard deviations of at least `least`.

    The spread is the scaled median absolute deviation; if more than half of the values are equal, the mean
    absolute deviation; if all are, z is 0.
    """
    away = values - np.median(values)
    spread = max(1.4826 * np.median(np.abs(away)) or 1.2533 * np.mean(np.abs(away)), least)
    return away / spread if spread else np.zeros_like(away)
