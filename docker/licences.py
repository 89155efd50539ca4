"""Write docs/licences.md: the licence of everything that an installation brings along, from its own metadata.

    .venv/bin/python docker/licences.py

Run in the environment of requirements.lock, after each change of it.
"""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / 'docs' / 'licences.md'

HEAD = """\
# Licences

| part | licence |
|---|---|
| code | Apache License 2.0 (`LICENSE` in the repository) |
| weights | CC BY-SA 3.0, as that of most of the data that they were trained on |
| average brain of the package (mean of 139 aligned training scans) | as the weights |

## Training data

No image of it is part of the package.

| data | used as | licence |
|---|---|---|
| IXI dataset (Imperial College London) | 136 heads at 2 mm | CC BY-SA 3.0 |
| `chrisold` (MRIcron) | one head near 1 mm | BSD-2-Clause; later copies CC BY-NC 4.0 |
| `seg3dmr` (Seg3DData, SCI Institute, University of Utah) | one head near 1 mm | MIT |
| `uih3ta` (dcm_qa_uih) | one head near 1 mm | BSD-2-Clause |

The model card, `cpmae_bids/data/MODEL_CARD.md`, says how they were used.

## What is installed along

The packages of `docker/requirements.lock` and PyTorch, with the licence that each states in its metadata.
Written by `docker/licences.py`. A wheel may hold libraries with licences of their own, named in its
`*.dist-info` folder.

| package | version | licence |
|---|---|---|
"""


def locked() -> dict[str, str]:
    """Return name and version of each package of the lock."""
    text = (HERE / 'requirements.lock').read_text('utf-8')
    return dict(re.findall(r'^([a-z0-9._-]+)==(\S+)', text, re.MULTILINE))


def licence(name: str) -> str:
    """Return the licence of an installed package: its expression, its field, or its classifiers."""
    found = metadata(name)
    named = [c.rpartition(' :: ')[2] for c in found.get_all('Classifier', []) if c.startswith('License ::')]
    named = [n for n in named if n != 'OSI Approved']
    text = (found.get('License') or '').strip()
    short = text if 0 < len(text) < 60 and '\n' not in text else ''
    return found.get('License-Expression') or short or ' / '.join(named) or 'not stated'


def main() -> None:
    """Write the page, or end with the name of a package that is missing."""
    versions = locked() | {'torch': metadata('torch')['Version'].partition('+')[0]}
    try:
        rows = [f'| {name} | {version} | {licence(name)} |' for name, version in sorted(versions.items())]
    except PackageNotFoundError as error:
        raise SystemExit(f'{error}: install docker/requirements.lock first') from error
    PAGE.write_text(HEAD + '\n'.join(rows) + '\n', 'utf-8')


if __name__ == '__main__':
    main()
