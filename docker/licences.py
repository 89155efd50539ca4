"""Write the table of docs/licences.md: the licence of each package that is installed along, by its metadata.

    .venv/bin/python docker/licences.py

Run in the environment of requirements.lock, after each change of it.
"""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / 'docs' / 'licences.md'

MARK = '| licence | packages |\n|---|---|\n'
"""What the page says before it is kept by hand."""


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


def table(licences: dict[str, str]) -> str:
    """Return rows of Markdown, one for each licence, of a licence for each package."""
    packages: dict[str, list[str]] = {}
    for name, text in sorted(licences.items()):
        packages.setdefault(text, []).append(name)
    rows = sorted(packages.items(), key=lambda row: row[0].lower())
    return ''.join(f'| {text} | {", ".join(names)} |\n' for text, names in rows)


def main() -> None:
    """Write the table into the page, or end with the name of a package that is missing."""
    try:
        licences = {name: licence(name) for name in (*locked(), 'torch')}
    except PackageNotFoundError as error:
        raise SystemExit(f'{error}: install docker/requirements.lock first') from error
    before, mark, _ = PAGE.read_text('utf-8').partition(MARK)
    PAGE.write_text(before + mark + table(licences), 'utf-8')


if __name__ == '__main__':
    main()
