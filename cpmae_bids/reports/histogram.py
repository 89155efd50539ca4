"""Histograms as SVG. Matplotlib's are ten times as long, and out of reach of the style sheet of the page."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, LEFT, BASE = 460, 96, 8, 74
BINS = 24


def histogram(values: Sequence[float], low: float, high: float, label: str) -> str:
    """Draw the distribution of a metric as an ``<svg>`` element, with what lies beyond its thresholds shaded.

    `values` are finite, one at least; a bar counts scans, a short tick is one of them. Thresholds (`low`,
    `high`) are drawn in red, and are infinite where there is none. `label` is the alternative text.
    """
    drawn = np.asarray(values, dtype=float)
    limits = [limit for limit in (low, high) if math.isfinite(limit)]
    first, last = min([*values, *limits]), max([*values, *limits])
    margin = 0.04 * (last - first) or max(abs(last), 1.0) * 0.5
    first, last = first - margin, last + margin

    def x(value: float) -> float:
        return LEFT + (WIDTH - 2 * LEFT) * (value - first) / (last - first)

    within = np.where(drawn == high, np.nextafter(high, -math.inf), drawn)  # or it is drawn beyond
    counts, edges = np.histogram(within, BINS, (first, last))
    parts = []
    for start, end in ((first, low), (high, last)):
        if math.isfinite(start) and math.isfinite(end):
            parts.append(_box(x(start), 4, x(end) - x(start), BASE - 4, 'beyond'))
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            height = (BASE - 10) * count / counts.max()
            parts.append(_box(x(left), BASE - height, x(right) - x(left) - 1, height, 'bar'))
    parts += [_line(x(value), BASE + 1, BASE + 6, 'tick') for value in values]
    parts += [_line(x(limit), 4, BASE + 6, 'limit') for limit in limits]
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - LEFT}" y1="{BASE}" y2="{BASE}"/>')
    ends = [(first + margin, 'start'), (last - margin, 'end')] if last - first > 2.01 * margin else []
    for value, anchor in ends or [((first + last) / 2, 'middle')]:
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{value:.4g}</text>')
    return (
        f'<svg class="histogram" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" '
        f'height="{max(height, 1):.1f}"/>'
    )


def _line(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
