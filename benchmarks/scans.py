"""What the benchmarks share: finding scans, choosing a split, and writing numbers down."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from pathlib import Path

from cpmae_bids import __version__

RESULTS = Path(__file__).parent / 'results'


def command_line(text: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help shows a module's docstring as it is."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def read_split(participants: Path, split: str) -> set[str]:
    """Participant labels (``sub-...``) whose `split` column has a value.

    Parameters
    ----------
    participants : Path
        A BIDS ``participants.tsv`` with a column ``split``.
    split : str
        Such as ``test``.

    Returns
    -------
    set of str

    Raises
    ------
    ValueError
        If no participant is in that split.
    """
    with participants.open(newline='', encoding='utf-8') as file:
        labels = {
            row['participant_id'] for row in csv.DictReader(file, delimiter='\t') if row.get('split') == split
        }
    if not labels:
        raise ValueError(f'{participants}: nobody has the split {split!r}')
    return labels


def read_people(participants: Path) -> dict[str, str]:
    """Person by participant label: the column ``person``, or the label where there is none.

    Parameters
    ----------
    participants : Path
        A BIDS ``participants.tsv``. Labels with the same value in ``person`` are the same human being.
    """
    with participants.open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    return {row['participant_id']: row.get('person') or row['participant_id'] for row in rows}


def people_of(out: Path, scans: Iterable[str]) -> dict[str, str]:
    """Person by scan, as the run in a folder has it; its participant where the run has none."""
    known = _recorded(out / 'people.json')
    return {scan: known.get(scan, scan.split('_')[0]) for scan in scans}


def scanners_of(out: Path, scans: Iterable[str]) -> dict[str, str]:
    """Scanner by scan, as the run in a folder has it; one for all where the run has none."""
    known = _recorded(out / 'scanners.json')
    return {scan: known.get(scan, '') for scan in scans}


def _recorded(path: Path) -> dict[str, str]:
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def find_t1w(folder: Path, labels: set[str] | None = None) -> list[Path]:
    """T1w images under a folder, sorted by path.

    Parameters
    ----------
    folder : Path
        A BIDS dataset, raw or derivative, or any folder with ``*_T1w.nii[.gz]`` in it.
    labels : set of str, optional
        Keep the scans of these participants only.

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        If there is no such scan.
    """
    paths = sorted(path for path in folder.rglob('*_T1w.nii*') if path.name.endswith(('.nii', '.nii.gz')))
    if labels is not None:
        paths = [path for path in paths if path.name.split('_')[0] in labels]
    if not paths:
        raise ValueError(f'{folder}: no T1w scan to measure')
    return paths


def write_result(name: str, numbers: dict, folder: Path = RESULTS) -> Path:
    """Write the numbers of one benchmark, with version, weights and code, to ``<folder>/<name>.json``."""
    from benchmarks.provenance import Provenance

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.json'
    content = {'version': __version__, 'provenance': [Provenance.today().dump()], **numbers}
    path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    return path
