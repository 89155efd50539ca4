"""Dates of acquisitions, moved so that nothing of the true ones is left but the time between them."""

import hashlib
import re
from collections.abc import Iterable
from datetime import date, timedelta

_ACQ_TIME = re.compile(r'(\d{4}-\d\d-\d\d)((?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?)')
# BIDS asks that shifted dates lie in 1925 or before, where nobody takes them for true ones.
_FIRST, _DAYS = date(1900, 1, 1), 20 * 365


def shift_of(seed: int, subject: str, acq_times: Iterable[str]) -> timedelta | None:
    """Return by how much the dates of a subject are shifted.

    The earliest date becomes a day that is drawn from the seed. The seed is public and so is the drawn day,
    but neither depends on the true date: they cannot be traced back.

    Parameters
    ----------
    seed : int
        Of the dataset.
    subject : str
        Label, without ``sub-``.
    acq_times : iterable of str
        All dates of the subject, as in BIDS tables. What is no date is passed over.

    Returns
    -------
    timedelta or None
        None without any date.
    """
    dates = [day for text in acq_times if (day := _date(text)) is not None]
    if not dates:
        return None
    digest = hashlib.sha256(f'dates:{seed}:{subject}'.encode()).digest()
    drawn = _FIRST + timedelta(days=int.from_bytes(digest[:4], 'big') % _DAYS)
    return drawn - min(dates)


def shifted(text: str, shift: timedelta | None) -> str:
    """Return a date and time with its date shifted; ``n/a`` for what is none, or would leave the calendar."""
    day, parts = _date(text), _ACQ_TIME.fullmatch(text.strip())
    if day is None or shift is None or parts is None:
        return 'n/a'
    try:
        return (day + shift).isoformat() + parts.group(2)
    except OverflowError:
        return 'n/a'


def _date(text: str) -> date | None:
    match = _ACQ_TIME.fullmatch(text.strip())
    try:
        return date.fromisoformat(match.group(1)) if match else None
    except ValueError:
        return None
