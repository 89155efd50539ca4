"""participants.tsv of the output: few columns, and only participants who have an image in it."""

import csv
import io
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cpmae_bids.bids.jsontext import read_json, to_json
from cpmae_bids.bids.metadata import is_private_text
from cpmae_bids.bids.output_folder import OutputFolder

# None of these identifies anybody by itself, nor does any free text hide in them.
SHAREABLE_COLUMNS = ('participant_id', 'species', 'age', 'sex', 'handedness', 'group')
_SHAREABLE_DESCRIPTIONS = ('Description', 'LongName', 'Levels', 'Units', 'TermURL')
# Older people are few: BIDS, like HIPAA, wants their ages capped.
MAX_AGE = 89
# Units of ages other than years, and how many of them make a year
_UNITS = {r'months?|mos?': 12, r'weeks?|wks?': 52, r'days?|d': 365}


def write_participants(bids_dir: Path, output_dir: Path, subjects: Collection[str]) -> None:
    """Carry participants.tsv and its sidecar over, as far as they can be shared.

    Parameters
    ----------
    bids_dir, output_dir : Path
    subjects : collection of str
        Labels, without ``sub-``, of the participants who have an image in the output.

    Notes
    -----
    Nothing is written if the input has no participants.tsv that can be read, or lists none of the
    subjects; what an earlier run wrote is then removed.
    """
    folder, table, sidecar = OutputFolder(output_dir), 'participants.tsv', 'participants.json'
    rows = _read_rows(bids_dir / 'participants.tsv')
    wanted = {f'sub-{label}' for label in subjects}
    rows = [row for row in rows if row.get('participant_id') in wanted]
    if not rows:
        folder.remove(table)
        folder.remove(sidecar)
        return

    columns = [column for column in SHAREABLE_COLUMNS if column in rows[0]]
    descriptions = _read_descriptions(bids_dir / 'participants.json')
    oldest = age_limit('age', descriptions.get('age', {}))
    cells = [[_cell(column, row[column], oldest) for column in columns] for row in rows]
    # By hand: BIDS knows no quotes in tables, and the csv module writes no quotation mark without them
    folder.write(table, ''.join('\t'.join(line) + '\n' for line in (columns, *cells)))

    described = {column: descriptions[column] for column in columns if descriptions.get(column)}
    if described:
        folder.write(sidecar, to_json(described))
    else:
        folder.remove(sidecar)


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table; an unreadable one counts as empty, since it is a bonus and no condition of the run."""
    if not path.is_file():
        return []
    try:
        text = path.read_text('utf-8-sig')
    except (OSError, ValueError):
        return []
    reader = csv.DictReader(io.StringIO(text), delimiter='\t', quoting=csv.QUOTE_NONE, restval='n/a')
    try:
        return list(reader)
    except csv.Error:
        return []


def _read_descriptions(path: Path) -> dict[str, dict[str, Any]]:
    """Read the shareable parts of participants.json."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
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


def _cell(column: str, value: str | None, oldest: int) -> str:
    """Return one value as it may be shared."""
    value = ' '.join((value or '').split())
    if not value or not value.isprintable() or (column != 'participant_id' and is_private_text(value)):
        return 'n/a'
    if column == 'age':
        return shareable_age(value, oldest)
    return value


def shareable_age(value: str, limit: int) -> str:
    """Cap an age; what is no number is not passed on, for it might be a date."""
    try:
        age = float(value.removesuffix('+'))
    except ValueError:
        return 'n/a'
    if not math.isfinite(age):
        return 'n/a'
    return str(limit) if age > limit else value.removesuffix('+')
