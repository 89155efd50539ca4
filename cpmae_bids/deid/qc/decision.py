"""From metrics to pass or fail, by the table of thresholds."""

import math

from cpmae_bids.deid.qc.thresholds import Threshold, thresholds_of


def decide(metrics: dict[str, float], thresholds: tuple[Threshold, ...]) -> tuple[str, list[str]]:
    """Decide by the thresholds: 'pass' or 'fail', and the reasons.

    A metric that is NaN fails, and one that is missing unless its threshold is optional. Each that failed has
    a line: what it means, how it failed, and the remedy.
    """
    reasons = []
    for row in thresholds:
        value = metrics.get(row.metric)
        if (found := violation(row, value)) and not (value is None and row.optional):
            reasons.append(f'{row.meaning} ({found}): {row.remedy}')
    return ('fail' if reasons else 'pass'), reasons


def violation(row: Threshold, value: float | None) -> str | None:
    """How a metric fails its threshold, with its number if that may be published; None if it does not."""
    if row.holds(value):
        return None
    if value is None or math.isnan(value):
        return f'{row.metric} could not be measured'
    shown = f'{value:.4g} ' if row.public else ''
    return f'{row.metric} {shown}' + (f'< {row.low:g}' if value < row.low else f'> {row.high:g}')


def rejects_head(verdict: dict) -> bool:
    """Whether a verdict with numbers rejects the head as like the original; missing metrics do not."""
    metrics = verdict.get('measures') or {}
    likeness = [row for row in thresholds_of(verdict.get('fill') or '') if row.compares_heads]
    found = [(row, value) for row in likeness if (value := metrics.get(row.metric)) is not None]
    return any(not math.isnan(value) and not row.holds(value) for row, value in found)
