"""participants.tsv of the output: few columns, and only participants who have an image in it."""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cpmae_bids.bids.jsontext import read_json, to_json
from cpmae_bids.bids.metadata import is_private_text
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.table import Table, warn_once
from cpmae_bids.exceptions import InputError

KEY = 'participant_id'
"""Column with the labels of participants."""

# None of these identifies anybody by itself, nor does any free text hide in them.
SHAREABLE_COLUMNS = ('participant_id', 'species', 'age', 'sex', 'handedness', 'group')
_SHAREABLE_DESCRIPTIONS = ('Description', 'LongName', 'Levels', 'Units', 'TermURL')
# Older people are few: BIDS, like HIPAA, wants their ages capped.
MAX_AGE = 89
_INFANT_YEARS = 2
# A birthday follows from an exact age and the date of a scan, so ages are rounded.
_VALUES = {
    'sex': {*('f', 'm', 'o', 'u', 'female', 'male', 'other', 'unknown', 'intersex', 'woman', 'man', 'girl')}
    | {*('boy', 'w', 'd', 'na', 'n/a', '0', '1', '2')},
    'handedness': {*('l', 'r', 'a', 'u', 'left', 'right', 'ambidextrous', 'both', 'mixed', 'unknown', 'lh')}
    | {*('rh', 'left-handed', 'right-handed', 'n/a')},
    'species': {*('human', 'homo sapiens', 'mouse', 'mus musculus', 'rat', 'rattus norvegicus', 'macaque')}
    | {*('macaca mulatta', 'macaca fascicularis', 'callithrix jacchus', 'marmoset', 'pan troglodytes')}
    | {*('chimpanzee', 'canis lupus familiaris', 'dog', 'sus scrofa', 'pig', 'n/a')},
}
_HANDEDNESS_SCORE = re.compile(r'[+-]?(100|\d\d?)(\.\d+)?')
# One word, such as HC or MCI-AD_2; several words only of these
_LABEL = re.compile(r'[A-Za-z][A-Za-z0-9_.+/-]{0,23}|\d{1,3}|RRID:[A-Za-z]+_?[A-Za-z]*:?\d+')
_GROUP_WORDS = {
    *('healthy', 'normal', 'control', 'controls', 'patient', 'patients', 'group', 'cohort', 'sibling'),
    *('siblings', 'relative', 'relatives', 'at', 'high', 'low', 'risk', 'first', 'early', 'late', 'mild'),
    *('severe', 'active', 'placebo', 'treatment', 'sham', 'waitlist', 'old', 'older', 'young', 'younger'),
    *('adult', 'adults', 'child', 'children', 'adolescent', 'adolescents', 'typically', 'developing'),
}
# Units of ages other than years, and how many of them make a year
_UNITS = {r'months?|mos?': 12, r'weeks?|wks?': 52, r'days?|d': 365}


def write_participants(bids_dir: Path, output_dir: Path, subjects: Collection[str]) -> list[str]:
    """Carry participants.tsv and its sidecar over, as far as they can be shared.

    Parameters
    ----------
    bids_dir, output_dir : Path
    subjects : collection of str
        Labels, without ``sub-``, of the participants who have an image in the output.

    Returns
    -------
    list of str
        Files that could not be read, and why.

    Notes
    -----
    Nothing is written if the input has no participants.tsv that can be read, or lists none of the
    subjects; what an earlier run wrote is then removed.
    """
    folder, table, sidecar = OutputFolder(output_dir), 'participants.tsv', 'participants.json'
    source, found, unread = bids_dir / table, Table([], []), []
    try:
        if _is_there(source):
            found = read_participants(source, {f'sub-{label}' for label in subjects})
    except InputError as err:
        unread.append(str(err))
    if not found.rows:
        folder.remove(table)
        folder.remove(sidecar)
        return unread

    columns = [column for column in SHAREABLE_COLUMNS if column in found.columns]
    descriptions: dict[str, dict[str, Any]] = {}
    try:
        descriptions = _read_descriptions(bids_dir / sidecar)
    except (OSError, ValueError) as err:
        unread.append(f'{sidecar}: cannot be read ({err}); mend or remove it')
    oldest = age_limit('age', descriptions.get('age', {}))
    levels = {column: levels_of(descriptions.get(column, {})) for column in columns}
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    cells = [[_cell(column, row[column], oldest, levels[column]) for column in columns] for row in rows]
    # By hand: BIDS knows no quotes in tables, and the csv module writes no quotation mark without them
    folder.write(table, ''.join('\t'.join(line) + '\n' for line in (columns, *cells)))

    described = {column: descriptions[column] for column in columns if descriptions.get(column)}
    if described:
        folder.write(sidecar, to_json(described))
    else:
        folder.remove(sidecar)
    return unread


def read_participants(path: Path, wanted: Collection[str]) -> Table:
    """Read the rows of some participants; of participants.tsv, tell which of these have none.

    Parameters
    ----------
    path : Path
    wanted : collection of str
        With ``sub-``; labels in the table may lack it.

    Raises
    ------
    InputError
        If the table cannot be read, or names no participants.
    """
    table = Table.load(path).labelled(KEY, 'sub-')
    if KEY not in table.columns:
        raise InputError(f'{path}: has no column {KEY}; mend it')
    table = table.only(lambda row: row[KEY] in wanted)
    missing = sorted(set(wanted) - set(table.column(KEY))) if path.name == 'participants.tsv' else []
    if missing:
        more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
        warn_once(f'{path}: has no row for {", ".join(missing[:3])}{more}')
    return table


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _read_descriptions(path: Path) -> dict[str, dict[str, Any]]:
    """Read the shareable parts of participants.json."""
    if not _is_there(path):
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError('not a JSON object')
    return {
        column: {key: value for key, value in entry.items() if key in _SHAREABLE_DESCRIPTIONS}
        for column, entry in content.items()
        if column in SHAREABLE_COLUMNS and isinstance(entry, dict)
    }


def age_limit(name: str, description: dict[str, Any]) -> int:
    """Return the greatest age that may be shared, in the unit that a column of ages has.

    Parameters
    ----------
    name : str
        Of the column, such as ``age`` or ``age_months``.
    description : dict
        What the sidecar says of the column. Ages are years unless it or the name says otherwise.
    """
    unit = str(description.get('Units', '')).strip()
    if re.search(r'year|(^|[^a-z])yrs?($|[^a-z])', unit, re.IGNORECASE):
        return MAX_AGE
    for names, in_a_year in _UNITS.items():
        if unit:
            found = re.search(rf'(^|[^a-z])({names})($|[^a-z])', unit, re.IGNORECASE)
        else:
            found = re.search(rf'age[_ ([]*(in)?[_ ]*({names})[)\]]?$', name, re.IGNORECASE)
        if found:
            return MAX_AGE * in_a_year
    return MAX_AGE


def _cell(column: str, value: str | None, oldest: int, levels: Collection[str]) -> str:
    """Return one value as it may be shared."""
    value = ' '.join((value or '').split())
    if column == 'participant_id':
        return value
    if column == 'age' and value.isprintable() and not is_private_text(value):
        return shareable_age(value, oldest)
    return shareable_category(column, value, levels) if column != 'age' else 'n/a'


def levels_of(description: dict[str, Any]) -> set[str]:
    """Return the values that a sidecar lists for a column."""
    levels = description.get('Levels')
    return set(map(str, levels)) if isinstance(levels, dict | list) else set()


def shareable_category(column: str, value: str, levels: Collection[str] = ()) -> str:
    """Return a value of a column about persons if it is one that many share, else ``n/a``.

    Parameters
    ----------
    column : str
        Of `SHAREABLE_COLUMNS`, or a strain.
    value : str
    levels : collection of str
        Values that the sidecar lists for the column.
    """
    value = ' '.join(value.split())
    if not value or not value.isprintable() or is_private_text(value):
        return 'n/a'
    if value in levels or value.lower() in _VALUES.get(column, ()):
        return value
    if column == 'handedness' and _HANDEDNESS_SCORE.fullmatch(value):
        return value
    is_label = column not in _VALUES and _LABEL.fullmatch(value) is not None
    is_words = column == 'group' and {*re.findall(r'[a-z]+', value.lower())} <= _GROUP_WORDS
    return value if is_label or is_words else 'n/a'


def shareable_age(value: str, limit: int) -> str:
    """Cap an age and round it: to years, or to months below the age of two.

    What is no number is not passed on, for it might be a date.

    Parameters
    ----------
    limit : int
        The greatest age that may be shared, see `age_limit`: says what the unit is.
    """
    try:
        age = float(value.removesuffix('+'))
    except ValueError:
        return 'n/a'
    if not math.isfinite(age):
        return 'n/a'
    if age > limit:
        return str(limit)
    in_a_year = limit / MAX_AGE
    step = 1 if age >= _INFANT_YEARS * in_a_year else 1 / 12
    rounded = math.floor(age / in_a_year / step + 0.5) * step * in_a_year
    return f'{rounded:.2f}'.rstrip('0').rstrip('.') if in_a_year == 1 else str(round(rounded))
