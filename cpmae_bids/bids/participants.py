"""participants.tsv of the output: few columns, and only participants who have an image in it."""

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cpmae_bids.bids.columns import SHAREABLE_COLUMNS, column_of_persons, descriptions_of
from cpmae_bids.bids.jsontext import read_json, to_json
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.tsv import Table, warn_once
from cpmae_bids.exceptions import InputError

KEY = 'participant_id'  # column with the labels of participants


def write_participants(bids_dir: Path, output_dir: Path, subjects: Collection[str]) -> list[str]:
    """Copy what may be shared of participants.tsv and its sidecar, for subjects with an image.

    If the input has no readable participants.tsv, or it lists none of them, what an earlier run wrote is
    removed. Returns which files could not be read, and why.
    """
    folder, table, sidecar = OutputFolder(output_dir), 'participants.tsv', 'participants.json'
    source, found, unread = bids_dir / table, Table([], []), []
    try:
        if os.path.lexists(source):
            found = read_participants(source, {f'sub-{label}' for label in subjects})
    except InputError as err:
        unread.append(str(err))
    if not found.rows:
        folder.remove(table)
        folder.remove(sidecar)
        return unread

    described: dict[str, Any] = {}
    try:
        if os.path.lexists(bids_dir / sidecar):
            described = read_json(bids_dir / sidecar)
        if not isinstance(described, dict):
            raise ValueError('not a JSON object')
    except (OSError, ValueError) as err:
        described = {}
        unread.append(f'{sidecar}: cannot be read ({err}); fix or remove it')
    found = found.select(SHAREABLE_COLUMNS)
    found, _ = found.mapped(lambda name, cells: column_of_persons(name, cells, KEY, described.get(name)))
    folder.write(table, found.text())
    if content := descriptions_of(found.columns, described):
        folder.write(sidecar, to_json(content))
    else:
        folder.remove(sidecar)
    return unread


def read_participants(path: Path, wanted: Collection[str]) -> Table:
    """Read the rows of some participants (labels with ``sub-``); warn of those that participants.tsv lacks.

    Raises InputError if the table cannot be read, or names no participants, or one with different rows.
    """
    table = Table.load(path).labelled(KEY, 'sub-')
    if KEY not in table.columns:
        raise InputError(f'{path}: has no column {KEY}; add it')
    table = table.only(lambda row: row[KEY] in wanted)
    if path.name != 'participants.tsv':
        return table
    table = Table(table.columns, [list(row) for row in dict.fromkeys(map(tuple, table.rows))])
    if twice := [label for label, count in Counter(table.column(KEY)).items() if count > 1]:
        raise InputError(f'{path}: has different rows for {twice[0]}; mend it')
    if missing := sorted(set(wanted) - set(table.column(KEY))):
        more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
        warn_once(f'{path}: has no row for {", ".join(missing[:3])}{more}')
    return table
