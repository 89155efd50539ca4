"""Which scanner made a scan, and how old the person is: a mean over all hides a weakness of one group."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np

UNKNOWN = 'not known'
MAKERS = ('Siemens', 'Philips', 'GE', 'UIH', 'Canon', 'Toshiba', 'Hitachi', 'Bruker')
ADULT, ELDERLY = 18, 60
"""Ages (years) from which on a person counts as adult and as elderly."""


@dataclass(frozen=True)
class Group:
    """What a scan has in common with others.

    Attributes
    ----------
    scanner : str
        Manufacturer and model, or the collection the scan is of.
    age : {'child', 'adult', 'elderly', 'not known'}
    voxel : str
        Longest edge of its voxels, such as ``1 mm``.
    person : str
        The same label is the same human being.
    """

    scanner: str
    age: str
    voxel: str
    person: str


def find(heads: Path, scan: Path) -> Group:
    """The group of a scan of a BIDS dataset.

    The scanner is taken from the JSON sidecar, else from the columns ``scanner`` or ``manufacturer`` of
    participants.tsv, else from its free text (``notes``, ``source``); the age from ``age`` or that text.

    Parameters
    ----------
    heads : Path
        BIDS dataset.
    scan : Path
        T1w image in it.
    """
    label = scan.name.split('_')[0]
    row = participants(heads).get(label, {})
    try:
        voxel = f'{np.round(max(nib.load(scan).header.get_zooms()[:3])):.0f} mm'
    except (OSError, nib.filebasedimages.ImageFileError):  # reported where it is processed
        voxel = UNKNOWN
    person = row.get('person') or label.removeprefix('sub-')
    return Group(_scanner(label, row, sidecar(scan)), age_group(row), voxel, person)


@cache
def participants(heads: Path) -> dict[str, dict[str, str]]:
    """Rows of participants.tsv by label; empty without the file."""
    path = heads / 'participants.tsv'
    if not path.exists():
        return {}
    with path.open(newline='', encoding='utf-8') as file:
        return {row['participant_id']: row for row in csv.DictReader(file, delimiter='\t')}


def sidecar(scan: Path) -> dict:
    """Content of the JSON file beside a scan, if there is one."""
    path = scan.with_name(scan.name.split('.')[0] + '.json')
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def _scanner(label: str, row: dict[str, str], metadata: dict) -> str:
    named = [metadata.get(key) for key in ('Manufacturer', 'ManufacturersModelName')]
    named = [str(part) for part in named if part] or [
        part for key in ('scanner', 'manufacturer') if (part := row.get(key)) and part != 'n/a'
    ]
    if named:
        return ' '.join(named)
    for text in (row.get('notes') or '', row.get('source') or ''):
        if found := re.search(rf'\b({"|".join(MAKERS)})\b( [A-Z]\w+)?', text):
            return found[0]
    # a collection: labels of one dataset share their letters, such as nc01 and nc04
    collection = re.match(r'[A-Za-z]+', label.removeprefix('sub-'))
    other = ', another scanner' if 'other scanner' in (row.get('notes') or '') else ''
    return (collection[0] if collection else UNKNOWN) + other


def age_group(row: dict[str, str]) -> str:
    """``child``, ``adult``, ``elderly`` or ``not known``, of a row of participants.tsv."""
    age = row.get('age') or ''
    if not re.fullmatch(r'[\d.]+', age):
        text = row.get('notes') or ''
        found = re.search(r'\b[MF] ?(\d{1,3})(?:y| years|,| to)', text) or re.search(
            r'\b(\d{1,3}) years', text
        )
        if not found:
            return UNKNOWN
        age = found[1]
    years = float(age)
    return 'child' if years < ADULT else 'adult' if years < ELDERLY else 'elderly'
