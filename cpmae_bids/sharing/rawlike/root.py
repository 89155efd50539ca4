"""Write the root of the raw-like dataset: its description, texts and tables of participants."""

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cpmae_bids.bids.columns import column_of_persons, described, descriptions_of, left_behind
from cpmae_bids.bids.derivatives import (
    BIDS_VERSION,
    GENERATOR,
    doi_of,
    generated_by,
    is_public,
    read_description,
)
from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.metadata import METHOD
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.participants import KEY, read_participants
from cpmae_bids.bids.raw_like import DATASET, FOLDER
from cpmae_bids.bids.selection import list_subjects
from cpmae_bids.bids.sidecars import read_json_object
from cpmae_bids.bids.tsv import NOT_THERE, Table, read_text
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime.packaged import packaged_json
from cpmae_bids.sharing.inventory import DatasetFile, write_list
from cpmae_bids.sharing.rawlike.commit import commit, holds
from cpmae_bids.sharing.rawlike.dates import dated_labels
from cpmae_bids.sharing.rawlike.manifest import read_manifest, units
from cpmae_bids.sharing.rawlike.unit import Unit

_README = f"""{{name}}

De-identified by {METHOD}.
What of the original dataset is not here is listed in {FOLDER}/left_out.tsv.
"""
_CODE_README = f"""Written by {GENERATOR}.

left_out.tsv  files of the original dataset that are not here, and why
*.json        files that were written, with hashes, and the verdicts on de-identified images
"""
_MAX_TEXT = 1 << 20
_SESSION = re.compile(r'ses-[0-9A-Za-z+]+')
# A page describes a measure, and names nobody.
_FIELDS_OF_MAKERS = ('Name', 'Version', 'Description', 'CodeURL')
_FIELDS_OF_MEASURES = ('Description', 'TermURL')


def describe(bids_dir: Path) -> dict[str, Any]:
    """Return the content of dataset_description.json: the input's public fields, and what was done."""
    source = read_description(bids_dir)
    description: dict[str, Any] = {'Name': 'T1w scans', 'BIDSVersion': BIDS_VERSION}
    fields = packaged_json('sharing')['description_fields']
    description |= {key: source[key] for key in fields if _is_text(source.get(key))}
    description['DatasetType'] = 'raw'
    makers = source.get('GeneratedBy')
    named = [
        {key: maker[key] for key in _FIELDS_OF_MAKERS if _is_text(maker.get(key))}
        for maker in (makers if isinstance(makers, list) else [])
        if isinstance(maker, dict) and maker.get('Name') not in (None, GENERATOR)
    ]
    description['GeneratedBy'] = [generated_by(), *named]
    if doi := doi_of(source):
        description['SourceDatasets'] = [{'DOI': doi}]
    return description


def _is_text(value: Any) -> bool:
    """Whether a value is a text, or a list of texts, as all public fields are, and holds no path."""
    return all(map(is_public, value if isinstance(value, list) else [value]))


def write_description(bids_dir: Path, dataset: Path) -> None:
    """Write dataset_description.json, from which on the folder is a dataset of this tool."""
    content = to_json(describe(bids_dir))
    path = dataset / 'dataset_description.json'
    if not holds(path, content.encode()):
        OutputFolder(dataset).write(path, content)


def write_root(
    bids_dir: Path, dataset: Path, entries: Collection[DatasetFile]
) -> tuple[list[DatasetFile], int]:
    """Write the files beside the subjects (`entries`), and the list of what is left out of the whole dataset.

    Returns what of the files was left out, and how many of those should have been written.
    """
    subjects: list[str] | None = None
    # A run over other subjects may add one at the same time, and every table must name all of them.
    while subjects != (subjects := list_subjects(dataset)):
        left_out, failures = _write_once(bids_dir, dataset, entries, {f'sub-{label}' for label in subjects})
    rows = [row for unit in units(dataset) for row in read_manifest(dataset, unit)['left_out']]
    write_list(dataset, f'{FOLDER}/left_out.tsv', rows)
    return left_out, failures


def _write_once(
    bids_dir: Path, dataset: Path, entries: Collection[DatasetFile], subjects: Collection[str]
) -> tuple[list[DatasetFile], int]:
    texts: dict[str, bytes] = {f'{FOLDER}/README': _CODE_README.encode()}
    left_out, failures = [entry for entry in entries if entry.role == 'out'], 0
    for entry in entries:
        if entry.role != 'text' or entry.path.endswith('.json'):  # which goes with its table
            continue
        try:
            left = _place(bids_dir, entry.path, texts, subjects)
        except InputError as err:
            failures += 1
            reason = str(err).replace(str(bids_dir), '<input>')
            left_out.append(DatasetFile(entry.path, 'out', f'cannot be read: {reason}'))
            continue
        if left:
            left_out.append(DatasetFile(entry.path, 'out', left))
    if not any(path.startswith('README') for path in texts):
        texts['README'] = _README.format(name=describe(bids_dir)['Name']).encode()
    commit(dataset, Unit(DATASET, texts=texts, left_out=left_out))
    return left_out, failures


def _place(bids_dir: Path, path: str, texts: dict[str, bytes], subjects: Collection[str]) -> str:
    """Add one file to the texts; say which rows and columns were dropped."""
    source = bids_dir / path
    if path.endswith('.tsv'):
        return _place_table(bids_dir, path, texts, subjects)
    text = read_text(source)
    if len(text) > _MAX_TEXT:
        raise InputError(f'{path}: too large for a text')
    texts[path] = text.encode()
    return ''


def _place_table(bids_dir: Path, path: str, texts: dict[str, bytes], subjects: Collection[str]) -> str:
    source = bids_dir / path
    table = read_participants(source, subjects)
    people = {f'sub-{label}' for label in list_subjects(bids_dir)}
    labels = Table.load(source).labelled(KEY, 'sub-').column(KEY)
    strangers = [label for label in labels if label not in people]
    told = [f'rows of participants who are not in the input ({len(strangers)} of them)'] if strangers else []
    if not table.rows:
        return '; '.join(told)
    sidecar_path = source.with_suffix('.json')
    sidecar = read_json_object(sidecar_path) if sidecar_path.is_file() else {}

    def each(name: str, cells: list[str]) -> list[str] | None:
        if name == 'session_id':
            return _labels_of_sessions(cells, bids_dir)
        return column_of_persons(name, cells, KEY, sidecar.get(name))

    shared, left = table.labelled('session_id', 'ses-').mapped(each)
    texts[path] = shared.text().encode()
    content: dict[str, Any] = descriptions_of(shared.columns, sidecar)
    if tool := described(sidecar.get('MeasurementToolMetadata'), _FIELDS_OF_MEASURES):
        content['MeasurementToolMetadata'] = tool
    if content:
        texts[path.removesuffix('.tsv') + '.json'] = to_json(content).encode()
    told += [left_behind(left, table, sidecar)] if left else []
    return '; '.join(told)


def _labels_of_sessions(cells: list[str], bids_dir: Path) -> list[str]:
    """Keep labels that folders have as well, or several rows; else they may be a date, or name somebody."""
    known, counts = {folder.name for folder in bids_dir.glob('sub-*/ses-*')}, Counter(cells)
    return [
        cell if cell in known or (counts[cell] > 1 and _SESSION.fullmatch(cell) and not dated_labels([cell]))
        else NOT_THERE
        for cell in cells
    ]  # fmt: skip
