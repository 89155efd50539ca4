"""Find dates in labels, and shift acquisition dates: only the time between them remains."""

import hashlib
import re
from collections.abc import Iterable
from datetime import date, timedelta

from cpmae_bids.bids.private_text import MONTH

_ACQ_TIME = re.compile(r'(\d{4}-\d\d-\d\d)((?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?)')
_LABEL = re.compile(r'(?:^|[/_])([a-z]+)-([0-9A-Za-z+]+)')
_LONG_NUMBER = re.compile(r'(?<!\d)\d{8}')
_SHORT_NUMBER = re.compile(r'(?<!\d)\d{6}(?!\d)')
_YEAR = r'(?:19|20)\d\d(?!\d)'
_WITH_NAME = re.compile(
    rf'\d{MONTH}\d|(?<![a-z]){MONTH}(?:\d{{1,2}})?{_YEAR}|(?<!\d){_YEAR}(?:{MONTH}|[wq]\d)', re.IGNORECASE
)
_UNIX_TIME = re.compile(r'(?<!\d)1\d{9}(?:\d{3})?(?!\d)')
# BIDS asks that shifted dates lie in 1925 or before, where they cannot pass for true ones.
_FIRST, _DAYS = date(1900, 1, 1), 20 * 365
# Years of scans. Others stand for a date that is missing (1900-01-01, 1970-01-01, 9999-12-31): whoever
# guesses which, learns the shift.
_YEARS = range(1980, 2100)
_LAST = date(1920 + len(_YEARS), 1, 1)


def dated_labels(paths: Iterable[str]) -> dict[str, str]:
    """Return the labels in paths of a dataset that are dates, each with its first path."""
    found: dict[str, str] = {}
    for path in paths:
        for key, label in _LABEL.findall(path):
            if _has_date(label) or (key == 'ses' and _has_short_date(label)):
                found.setdefault(f'{key}-{label}', path)
    return found


def _has_date(label: str) -> bool:
    for n in _LONG_NUMBER.findall(label):
        orders = [(n[:4], n[4:6], n[6:]), (n[4:], n[2:4], n[:2]), (n[4:], n[:2], n[2:4])]
        if any(_is_day(*order) for order in orders):
            return True
    return _WITH_NAME.search(label) is not None


def _has_short_date(label: str) -> bool:
    """Whether there is one of six digits (year, month and day in any order, year and month) or in seconds."""
    for n in _SHORT_NUMBER.findall(label):
        a, b, c = n[:2], n[2:4], n[4:]
        orders = [(f'20{a}', b, c), (f'20{c}', b, a), (f'20{c}', a, b), (n[:4], c, '01'), (n[2:], a, '01')]
        if any(_is_day(*order) for order in orders):
            return True
    return _UNIX_TIME.search(label) is not None


def _is_day(year: str, month: str, day: str) -> bool:
    try:
        return 1950 <= date(int(year), int(month), int(day)).year < 2100
    except ValueError:
        return False


def shift_of(seed: int, subject: str, acq_times: Iterable[str]) -> timedelta | None:
    """Return by how much the dates of a subject are shifted; None without any date.

    The earliest date becomes a day that is drawn from the dataset's seed. Both are public, but independent of
    the true date, which cannot be traced back.
    Years without MRI count only if there are no others.
    """
    dates = [day for text in acq_times if (day := _date(text)) is not None]
    dates = [day for day in dates if day.year in _YEARS] or dates
    if not dates:
        return None
    digest = hashlib.sha256(f'dates:{seed}:{subject}'.encode()).digest()
    drawn = _FIRST + timedelta(days=int.from_bytes(digest[:4], 'big') % _DAYS)
    return drawn - min(dates)


def shifted(text: str, shift: timedelta | None) -> str:
    """Return a date and time with its date shifted; ``n/a`` for what is none, or far from all scans."""
    day, parts = _date(text), _ACQ_TIME.fullmatch(text.strip())
    if day is None or shift is None or parts is None:
        return 'n/a'
    try:
        moved = day + shift
    except OverflowError:
        return 'n/a'
    return moved.isoformat() + parts.group(2) if _FIRST <= moved < _LAST else 'n/a'


def _date(text: str) -> date | None:
    match = _ACQ_TIME.fullmatch(text.strip())
    try:
        return date.fromisoformat(match.group(1)) if match else None
    except ValueError:
        return None
