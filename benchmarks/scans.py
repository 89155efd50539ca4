"""What the benchmarks share: finding scans, choosing a split, and writing numbers down."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from cpmae_bids import __version__

RESULTS = Path(__file__).parent / 'results'


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
    """Write the numbers of one benchmark, with the version that gave them, to ``<folder>/<name>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.json'
    path.write_text(json.dumps({'version': __version__, **numbers}, indent=2) + '\n', encoding='utf-8')
    return path
