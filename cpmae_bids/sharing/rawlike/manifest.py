"""What a raw-like dataset says of itself: what was written into it, what was left out, and who vouches.

There is one manifest (``code/cpmae-bids/*.json``) for each session, or for each subject without sessions. So
runs over different subjects may write to the same dataset at the same time.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from cpmae_bids._version import __version__
from cpmae_bids.bids.derivatives import GENERATOR, is_output_dataset, read_description
from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS
from cpmae_bids.config import RunConfig

FOLDER = f'code/{GENERATOR}'
DATASET = 'dataset'
"""Name of the manifest of what belongs to no subject."""


def raw_like_dir(config: RunConfig) -> Path:
    """Return where the raw-like dataset of a run is, or would be."""
    return config.raw_like_dir or config.output_dir / 'bids'


def is_raw_like(folder: Path) -> bool:
    """Whether a dataset says that this tool made it, and that it is no derivative."""
    return is_output_dataset(folder) and read_description(folder).get('DatasetType') == 'raw'


def raw_name(source: str) -> str:
    """Return the path of a de-identified image in the dataset: that of its original, compressed."""
    for extension in IMAGE_EXTENSIONS:
        if source.endswith(extension):
            return source.removesuffix(extension) + IMAGE_EXTENSIONS[0]
    return source


def unit_of(path: str) -> str:
    """Return the name of the manifest that a file belongs to: ``sub-01``, ``sub-01_ses-a`` or ``dataset``."""
    folders = PurePosixPath(path).parts[:-1]
    if not folders or not folders[0].startswith('sub-'):
        return DATASET
    return '_'.join(folders[: 2 if len(folders) > 1 and folders[1].startswith('ses-') else 1])


def manifest_path(dataset: Path, unit: str) -> Path:
    """Return the path of a manifest."""
    return dataset / FOLDER / f'{unit}.json'


def read_manifest(dataset: Path, unit: str) -> dict[str, Any]:
    """Return a manifest; without one that can be read, an empty one.

    Returns
    -------
    dict
        ``version``; ``files``, by path: empty, or for images ``sha256``; ``refaced``, by path: the verdict
        record of each de-identified image;
        ``left_out``: a list of ``path``, number of ``files``, ``may_show_face`` and ``reason``.
    """
    try:
        content = json.loads(manifest_path(dataset, unit).read_text('utf-8'))
    except (OSError, ValueError):
        content = {}
    if not isinstance(content, dict):
        content = {}
    empty = {'version': '', 'files': {}, 'refaced': {}, 'left_out': []}
    return {key: v if isinstance(v := content.get(key), type(e)) else e for key, e in empty.items()}


def write_manifest(dataset: Path, unit: str, manifest: dict[str, Any]) -> None:
    """Write a manifest, or remove it if there is nothing to say."""
    path = manifest_path(dataset, unit)
    if any(manifest[key] for key in ('files', 'left_out')):
        OutputFolder(dataset).write(path, to_json({**manifest, 'version': __version__}))
    else:
        OutputFolder(dataset).remove(path)


def units(dataset: Path) -> list[str]:
    """Return the names of all manifests."""
    return sorted(path.stem for path in (dataset / FOLDER).glob('[!.]*.json'))


def vouched_images(dataset: Path) -> dict[str, str]:
    """Return the SHA-256 of each de-identified image that a passing verdict vouches for, by path."""
    hashes = {}
    for unit in units(dataset):
        manifest = read_manifest(dataset, unit)
        for path, record in manifest['refaced'].items():
            entry = manifest['files'].get(path)
            if isinstance(record, dict) and record.get('status') == 'pass' and isinstance(entry, dict):
                hashes[path] = str(entry.get('sha256', ''))
    return hashes


def withdraw_image(dataset: Path, source: str) -> None:
    """Remove the image of a scan that has not passed, if it is there, and what would tell of it.

    The next run over the scan writes the tables again.
    """
    image = dataset / raw_name(source)
    if not is_raw_like(dataset) or not image.exists():
        return
    unit = unit_of(source)
    # A table that names files that are not there would be invalid.
    folder = OutputFolder(dataset)
    folder.remove(dataset / unit.replace('_', '/') / f'{unit}_scans.tsv')
    folder.remove(image)
    folder.remove(image.with_name(f'{image.name.partition(".")[0]}.json'))
