"""Tables without what may identify a person. Each column is kept, mended or left behind as a whole."""

from __future__ import annotations

import re
from typing import Any

from cpmae_bids.bids.metadata import are_short_dates, is_private_number, is_private_text
from cpmae_bids.bids.participants import (
    SHAREABLE_COLUMNS,
    age_limit,
    levels_of,
    shareable_age,
    shareable_category,
)
from cpmae_bids.bids.table import NOT_THERE

DESCRIPTION_FIELDS = (
    *('Description', 'LongName', 'Levels', 'Units', 'TermURL', 'HED', 'Delimiter', 'Format', 'Minimum'),
    'Maximum',
)
"""What may be said of a column."""

_CATEGORIES = (*SHAREABLE_COLUMNS, 'strain', 'strain_rrid')
_PRIVATE_NAME = re.compile(
    r'name|initials|birth|dob|date|address|street|postal|zip|phone|mail|mrn|ssn|passport|insurance|contact|'
    r'accession|hospital(?!i[sz])|identifier|(^|_)yob(_|$)|(^|[_ ])city$|(^|[_ ])id(_|$)|'
    r'(?<![a-z])(record|patient|file|case)[_ ]?(no|nr|num|number|id)(?![a-z])|(?-i:[a-z]I[Dd](?![a-z]))',
    re.IGNORECASE,
)
# Words begin after what is no letter, or with a capital within: ageAtScan, scan_age, "Age (years)"
_AGE = re.compile(
    r'((?<![A-Za-z])[Aa]ge(?![a-z])|(?<=[a-z])Age(?![a-z])|(?<![A-Za-z])AGE(?![A-Z])|'
    r'(?<![A-Za-z])(?i:age_?(?:at|in|years?|yrs?|months?|weeks?|days?)(?![a-z])))'
    r'(?![_ ]?(?i:group|range|band|bin|cat))'
)
_DAY = re.compile(r'(?<![A-Za-z])(?i:date|dob|birth)|(?<=[a-z])(Date|DOB|Birth)')
# Longer whole numbers are those of records, telephones and days.
_MAX_DIGITS = 8


def of_persons(name: str, cells: list[str], key: str, description: dict[str, Any]) -> list[str] | None:
    """Return a column of a table about persons, sessions or scans as it may be shared.

    Kept are the column of the labels, ages (capped), what `SHAREABLE_COLUMNS` names, numbers, and categories
    whose values the sidecar lists under Levels. Columns named like what identifies people, and text, are not.

    Parameters
    ----------
    name : str
    cells : list of str
    key : str
        Name of the column of the labels.
    description : dict
        What the sidecar says of the column.

    Returns
    -------
    list of str or None
        The cells to share; None if the column may not be shared.
    """
    if name == key:
        return cells
    cells = [cell.strip() or NOT_THERE for cell in cells]
    levels = levels_of(description)
    if _AGE.search(name) and not _PRIVATE_NAME.search(name):
        oldest = age_limit(name, description)
        return [
            cell if cell in levels and not _is_number(cell) else shareable_age(cell, oldest) for cell in cells
        ]
    if name in _CATEGORIES:
        return [shareable_category(name, cell, levels) for cell in cells]
    if _PRIVATE_NAME.search(name) or are_short_dates(cells):
        return None
    shareable = all(
        cell == NOT_THERE or _is_shareable_number(cell) or (cell in levels and not is_private_text(cell))
        for cell in cells
    )
    return cells if shareable else None


def of_recording(name: str, cells: list[str]) -> list[str] | None:
    """Return a column of a table about events, unless it looks like free text, dates or addresses."""
    # Stimuli are not shared, and BIDS wants the files that are named
    if name == 'stim_file' or _DAY.search(name):
        return None
    text = ''.join(cells) if name == 'HED' else None  # long by nature
    if text is not None:
        return None if '@' in text else cells
    private = any(is_private_number(c) if _is_number(c) else is_private_text(c) for c in cells)
    return None if private else cells


def described(columns: list[str], sidecar: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the descriptions of some columns from a sidecar."""
    kept = {
        column: {field: entry[field] for field in DESCRIPTION_FIELDS if field in entry}
        for column in columns
        if isinstance(entry := sidecar.get(column), dict)
    }
    return {column: entry for column, entry in kept.items() if entry}


def _is_shareable_number(cell: str) -> bool:
    return _is_number(cell) and not is_private_number(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return not (cell.isdigit() and len(cell) > _MAX_DIGITS)
