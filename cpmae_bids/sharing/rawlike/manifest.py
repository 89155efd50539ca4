"""Manifests of the raw-like dataset: files written, files left out, and verdicts.

Each session, or subject without sessions, has its own (``code/cpmae-bids/*.json``), so that runs over
different subjects may write to the same dataset at the same time.
"""

import re
from pathlib import Path
from typing import Any

from cpmae_bids.bids.jsontext import read_json, to_json
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.raw_like import DATASET, FOLDER

_UNIT = re.compile(rf'{DATASET}|sub-[^_]+(?:_ses-[^_]+)?')


def manifest_path(dataset: Path, unit: str) -> Path:
    """Return the path of a manifest."""
    return dataset / FOLDER / f'{unit}.json'


def read_manifest(dataset: Path, unit: str) -> dict[str, Any]:
    """Return a manifest, or an empty one if it cannot be read; without what somebody made nonsense of.

    It has ``version``; ``files`` by path (``sha256`` for images); ``refaced``, the verdict records of
    de-identified images by path; and ``left_out``, a list of ``path``, ``files``, ``may_show_face`` and
    ``reason``.
    """
    try:
        content = read_json(manifest_path(dataset, unit))
    except (OSError, ValueError):
        content = {}
    found = content if isinstance(content, dict) else {}
    empty = {'version': '', 'files': {}, 'refaced': {}, 'left_out': []}
    found = {key: v if isinstance(v := found.get(key), type(e)) else e for key, e in empty.items()}
    for key in ('files', 'refaced'):
        found[key] = {path: entry for path, entry in found[key].items() if isinstance(entry, dict)}
    found['left_out'] = [row for row in found['left_out'] if _is_row(row)]
    return found


def _is_row(row: Any) -> bool:
    kinds = {'path': str, 'files': int, 'may_show_face': bool, 'reason': str}
    return isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in kinds.items())


def write_manifest(dataset: Path, unit: str, manifest: dict[str, Any]) -> None:
    """Write a manifest, or remove it if there is nothing to say."""
    path = manifest_path(dataset, unit)
    if any(manifest[key] for key in ('files', 'left_out')):
        OutputFolder(dataset).write(path, to_json(manifest))
    else:
        OutputFolder(dataset).remove(path)


def units(dataset: Path) -> list[str]:
    """Return the names of all manifests; other files beside them are somebody's own."""
    names = (path.stem for path in (dataset / FOLDER).glob('*.json'))
    return sorted(filter(_UNIT.fullmatch, names))


def vouched_images(dataset: Path) -> dict[str, str]:
    """Return the SHA-256 of each de-identified image that a passing verdict vouches for, by path."""
    hashes = {}
    for unit in units(dataset):
        manifest = read_manifest(dataset, unit)
        for path, record in manifest['refaced'].items():
            if record.get('status') == 'pass' and path in manifest['files']:
                hashes[path] = str(manifest['files'][path].get('sha256', ''))
    return hashes
