"""Remove what may identify a person from the columns of tables: a column is kept, changed or left out."""

import math
import re
from collections import Counter
from collections.abc import Collection
from typing import Any

from cpmae_bids.bids.private_text import (
    are_short_dates,
    are_years,
    is_number,
    is_private_number,
    is_private_text,
    may_count_days,
    names_somebody,
)
from cpmae_bids.bids.tsv import NOT_THERE, Table
from cpmae_bids.runtime.packaged import packaged_json

# None of these identifies anybody by itself, nor does any free text hide in them.
SHAREABLE_COLUMNS = ('participant_id', 'species', 'age', 'sex', 'handedness', 'group')
# Older people are few: BIDS, like HIPAA, wants their ages capped. A birthday follows from an exact age and
# the date of a scan, so ages are rounded.
MAX_AGE = 89
_INFANT_YEARS = 2
_OLDEST = 130
_AGE_WITH_UNIT = re.compile(r'P?([0-9]{1,4})([YMWD])')
_HANDEDNESS_SCORE = re.compile(r'[+-]?(100|\d\d?)(\.\d+)?')
# One word, such as HC or MCI-AD_2
_LABEL = re.compile(r'[A-Za-z][A-Za-z0-9_.+/-]{0,23}|\d{1,3}|RRID:[A-Za-z]+_?[A-Za-z]*:?\d+')
_WORD = re.compile(r'[A-Za-z][a-z]{3}')
# Units of ages other than years, and how many of them make a year
_UNITS = {r'months?|mos?': 12, r'weeks?|wks?': 52, r'days?|d': 365}

# What may be said of a column
DESCRIPTION_FIELDS = (
    *('Description', 'LongName', 'Levels', 'Units', 'TermURL', 'HED', 'Delimiter', 'Format', 'Minimum'),
    'Maximum',
)

_UNIT_OF_DATES = re.compile(r'^\W*(n/?a|none|unknown)?\W*$|day|date|time|serial|excel|since', re.IGNORECASE)
_OF_A_LEVEL = {'Description', 'TermURL'}
_URL = re.compile(r'https?://[^\s@]+')
_CATEGORIES = (*SHAREABLE_COLUMNS, 'strain', 'strain_rrid')
_PRIVATE_NAME = re.compile(
    r'name|initials|birth|dob|date|address|street|postal|post_?code|zip|phone|mail|mrn|ssn|passport|insurance|contact|'
    r'accession|hospital(?!i[sz])|identifier|(^|_)yob(_|$)|(^|[_ ])city$|(^|[_ ])id(_|$)|'
    r'geburt|naissance|nacimiento|nascita|jahrgang|physician|doctor|operator|technician|experimenter|'
    r'latitude|longitude|comments?$|notes?$|remarks?$|'
    r'(?<![a-z])(born|tel|fax|plz|nhs|bsn|cpr|gps|lat|lon|lng)(?![a-z])|'
    r'(?<![a-z])(record|pat|patient|subj|subject|file|case|fall)[_ ]?(no|nr|num|number|nummer|id)(?![a-z])|'
    r'(?<![a-z])(r|pt?|u|gu)id(?![a-z])|(?<![a-z])(epoch|julian|datenum|timestamp)(?![a-z])|'
    r'(?<![a-z])(scan|visit|exam|session)[_ ]?(day|dt)(?![a-z])|(?-i:[a-z]I[Dd](?![a-z]))',
    re.IGNORECASE,
)
# Words begin after what is no letter, or with a capital within: ageAtScan, scan_age, "Age (years)"
_AGE = re.compile(
    r'(?<![A-Za-z])[Aa]ges?(?![a-z])|(?<=[a-z])Age(?![a-z])|(?<![A-Za-z])AGE(?![A-Z])|'
    r'(?<![A-Za-z])(?i:age_?(?:at|in|years?|yrs?|months?|weeks?|days?)(?![a-z]))|'
    r'(?i:scanage|lebensalter|^(?:yrs?|years)$)|(?<![A-Za-z])(?i:(?:alter|edad)(?![a-z])|(?:years?|yrs?|months?|weeks?|days?)_old)'
)
_ABOUT_A_SESSION = re.compile(
    r'(?<![A-Za-z])(?i:date|dob|birth|comments?$|notes?$|remarks?$|operator|experimenter|technician)|'
    r'(?<=[a-z])(Date|DOB|Birth)'
)
# What programs of experiments ask for at their start, and write into each row
_OF_A_PERSON = re.compile(
    r'^(participant|patient|subj(ect)?|proband|volunteer)([ _.-]?(id|no|nr|num|number|code|label))?$|'
    r'(first|last|full|given|family|maiden|participant|patient|subject|proband|user|host)[ _.-]?name|'
    r'(sur|vor|nach)name|'
    r'(?<![a-z])(initials|mrn|born|geburt\w*|e[-_]?mail|tester|physician)(?![a-z])',
    re.IGNORECASE,
)


def column_of_persons(name: str, cells: list[str], key: str, description: Any) -> list[str] | None:
    """Return the cells of a column about persons, sessions or scans as they may be shared, or None.

    Kept are the column of the labels (`key`), ages (capped), what `SHAREABLE_COLUMNS` names, numbers, and
    categories whose values the sidecar (`description`) lists under Levels.
    """
    if name == key:
        return cells
    cells = [cell.strip() or NOT_THERE for cell in cells]
    description = description if isinstance(description, dict) else {}
    levels = description.get('Levels')
    levels = set(map(str, levels)) if isinstance(levels, dict | list) else set()
    if _AGE.search(name) and not _PRIVATE_NAME.search(name):
        oldest = age_limit(name, description)
        return [
            cell if _is_level(cell, levels) and not is_number(cell) else shareable_age(cell, oldest)
            for cell in cells
        ]
    if name in _CATEGORIES:
        counts = Counter(cells)
        return [shareable_category(name, cell, levels, counts[cell]) for cell in cells]
    if _has_private_name(name) or are_short_dates(cells) or are_years(cells) or _are_days(cells, description):
        return None
    shareable = all(
        cell == NOT_THERE or (is_number(cell) and not is_private_number(cell)) or _is_level(cell, levels)
        for cell in cells
    )
    return cells if shareable else None


def column_of_events(name: str, cells: list[str]) -> list[str] | None:
    """Return a column of a table about events, unless it names a person or looks like text or dates."""
    # Stimuli are not shared, and BIDS wants the files that are named
    if name == 'stim_file' or names_somebody(name):
        return None
    if _ABOUT_A_SESSION.search(name) or _OF_A_PERSON.search(name):
        return None
    if name == 'HED':  # long by nature
        return None if any(map(names_somebody, cells)) else cells
    private = any(is_private_number(c) if is_number(c) else is_private_text(c) for c in cells)
    return None if private else cells


def left_behind(names: Collection[str], table: Table | None = None, sidecar: Any = None) -> str:
    """Say which columns were dropped, in a list that is shared.

    With the table and its sidecar, that of numbers without a unit that may be dates is told, too.
    """
    told = ('one whose name is private' if names_somebody(name) else name for name in names)
    text = f'columns left out: {", ".join(told)}'
    days = [
        name
        for name in names
        if table and not _has_private_name(name) and _are_days(table.column(name), sidecar.get(name))
    ]
    if not days:
        return text
    return f'{text} ({", ".join(days)}: may count days; if not, give Units in the JSON file of the table)'


def _has_private_name(column: str) -> bool:
    return _PRIVATE_NAME.search(column) is not None or names_somebody(column)


def _are_days(cells: list[str], description: Any) -> bool:
    """Whether the numbers of a column may be dates, and its sidecar names no other unit."""
    units = description.get('Units') if isinstance(description, dict) else None
    named = isinstance(units, str) and units.strip() and not _UNIT_OF_DATES.search(units)
    return not named and may_count_days([cell.strip() for cell in cells])


def descriptions_of(columns: list[str], sidecar: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the descriptions of some columns from a sidecar, without what looks like dates or addresses.

    Levels of participants are left out: they say of each who that is.
    """
    kept = {column: described(sidecar.get(column), DESCRIPTION_FIELDS) for column in columns}
    kept.get('participant_id', {}).pop('Levels', None)
    return {column: entry for column, entry in kept.items() if entry}


def described(entry: Any, fields: Collection[str]) -> dict[str, Any]:
    """Return some fields of a description, as far as they hold what a description is made of."""
    entry = entry if isinstance(entry, dict) else {}
    return {field: entry[field] for field in fields if field in entry and _is_description(entry[field])}


def _is_description(value: Any) -> bool:
    """Whether a value is a text, a number, a list of these, or a dict of these and of levels."""
    if not isinstance(value, dict):
        return all(map(_is_text, value)) if isinstance(value, list) else _is_text(value)
    texts = [*value]
    for level in value.values():
        of_level = isinstance(level, dict) and level.keys() <= _OF_A_LEVEL
        texts += level.values() if of_level else [level]
    return all(map(_is_text, texts))


def _is_text(value: Any) -> bool:
    if isinstance(value, str):
        return not names_somebody(value) or _URL.fullmatch(value) is not None
    return value is None or isinstance(value, int | float)


def _is_level(cell: str, levels: Collection[str]) -> bool:
    return cell in levels and not is_private_text(cell)


def age_limit(name: str, description: dict[str, Any]) -> int:
    """Return the greatest age to share, in the unit of the column: years unless name or sidecar differ."""
    unit = str(description.get('Units', '')).strip()
    if re.search(r'year|(^|[^a-z])yrs?($|[^a-z])', unit, re.IGNORECASE):
        return MAX_AGE
    for names, in_a_year in _UNITS.items():
        if unit:
            found = re.search(rf'(^|[^a-z])({names})($|[^a-z])', unit, re.IGNORECASE)
        else:
            found = re.search(
                rf'age[_ ([]*(in)?[_ ]*({names})[)\]]?$|(?<![a-z])({names})_old', name, re.IGNORECASE
            )
        if found:
            return MAX_AGE * in_a_year
    return MAX_AGE


def shareable_category(column: str, value: str, levels: Collection[str], count: int) -> str:
    """Return a value of a column about persons if many share it, else ``n/a``.

    `levels` are values that the sidecar lists for the column. `count` is how many persons have this one: a
    word that is no abbreviation, such as a name, needs two.
    """
    value = ' '.join(value.split())
    if not value or not value.isprintable() or is_private_text(value):
        return NOT_THERE
    if value in levels or value.lower() in packaged_json('sharing')['values'].get(column, ()):
        return value
    if column == 'handedness' and _HANDEDNESS_SCORE.fullmatch(value):
        return value
    is_label = column not in packaged_json('sharing')['values'] and _LABEL.fullmatch(value) is not None
    is_label = is_label and (count > 1 or not _WORD.search(value))
    words = re.split(r'[ ,/&+-]+', value.lower())
    is_words = column == 'group' and {*words} <= {*packaged_json('sharing')['group_words']}
    return value if is_label or is_words else NOT_THERE


def shareable_age(value: str, limit: int) -> str:
    """Round an age to years, or to months below the age of two, and cap it at `limit` (`age_limit`).

    Ages as in DICOM (``034Y``) and ISO 8601 (``P34Y``) are read. What is no number, or too high for an age,
    may be a date and becomes ``n/a``.
    """
    in_a_year = limit / MAX_AGE
    number, unit = value.removesuffix('+'), in_a_year
    if dicom := _AGE_WITH_UNIT.fullmatch(value):
        number, unit = dicom[1], {'Y': 1, 'M': 12, 'W': 52, 'D': 365}[dicom[2]]
    if not is_number(number) or is_private_text(number):
        return NOT_THERE
    age = float(number) / unit * in_a_year
    if not 0 <= age <= limit * _OLDEST / MAX_AGE:
        return NOT_THERE
    if age > limit:
        return str(limit)
    step = 1 if age >= _INFANT_YEARS * in_a_year else 1 / 12
    rounded = math.floor(age / in_a_year / step + 0.5) * step * in_a_year
    return f'{rounded:.2f}'.rstrip('0').rstrip('.') if in_a_year == 1 else str(round(rounded))
