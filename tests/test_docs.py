"""The documentation says what the code does: messages, licences, pages that build."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
pytestmark = pytest.mark.skipif(
    not DOCS.is_dir(), reason='needs the source tree, not only the installed package'
)


def read(path: str) -> str:
    return (ROOT / path).read_text('utf-8')


def texts() -> Iterator[str]:
    """Yield the texts of the package, f-strings with an ellipsis for each value."""
    for path in sorted((ROOT / 'cpmae_bids').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, ast.JoinedStr):
                yield ''.join(part.value if isinstance(part, ast.Constant) else '…' for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_in_troubleshooting_are_those_of_the_code():
    rows = re.findall(r'^\| (`.+?) \|', read('docs/troubleshooting.md'), re.MULTILINE)
    shown = [phrase for row in rows for phrase in re.findall('`(.+?)`', row)]
    assert len(shown) > 20
    said = '\n'.join(texts())
    parts = {part.strip() for phrase in shown for part in phrase.split('…')}
    assert not {part for part in parts if part not in said}


@pytest.fixture
def licences():
    sys.path.insert(0, str(ROOT / 'docker'))
    try:
        import licences
    finally:
        sys.path.pop(0)
    return licences


@pytest.fixture
def shown(licences):
    """Licence of each package in docs/licences.md."""
    rows = re.findall(
        r'^\| (.+) \| (.+) \|$', read('docs/licences.md').partition(licences.MARK)[2], re.MULTILINE
    )
    return {name: licence for licence, names in rows for name in names.split(', ')}


def test_licences_are_those_of_the_lock(licences, shown):
    assert sorted(shown) == sorted([*licences.locked(), 'torch']), 'run docker/licences.py'
    assert 'not stated' not in shown.values()


def test_licences_are_what_packages_state(licences, shown):
    installed = {_normal(package.metadata['Name']): package.version for package in distributions()}
    locked = licences.locked()
    known = [name for name, version in locked.items() if installed.get(_normal(name)) == version]
    assert len(known) > 0.8 * len(locked)  # another Python needs others
    assert {name: licences.licence(name) for name in known} == {name: shown[name] for name in known}


def _normal(name):
    return re.sub('[-_.]+', '-', name).lower()


def test_model_card_agrees_on_the_weights():
    card = read('cpmae_bids/data/MODEL_CARD.md')
    page = read('docs/licences.md')
    for fact in ('CC BY-SA 3.0', 'chrisold', 'seg3dmr', 'uih3ta', 'BSD-2-Clause'):
        assert fact in card
        assert fact in page


def test_names_that_contributing_points_to_are_there():
    rows = re.findall(r'^\|[^|]+\|([^|]+)\|', read('CONTRIBUTING.md').split('## Where')[1], re.MULTILINE)
    named = {name: re.findall(r'\]\((\S+)\)', row) for row in rows for name in re.findall(r'`(\w+)`', row)}
    assert len(named) > 5
    for name, paths in named.items():
        for path in paths:
            assert re.search(rf'\b{name}\b', read(path)), f'{name} in {path}'


def test_every_page_is_in_the_navigation():
    pages = yaml.safe_load(read('mkdocs.yml'))['nav']
    assert sorted(pages) == sorted(path.name for path in DOCS.glob('*.md'))
    index = read('docs/index.md')
    assert all(f']({page})' in index for page in pages if page != 'index.md')


@pytest.mark.skipif(find_spec('mkdocs') is None, reason='needs mkdocs, of the extra "docs"')
def test_site_builds_without_a_broken_link(tmp_path):
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', tmp_path]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 'Troubleshooting' in (tmp_path / 'troubleshooting/index.html').read_text('utf-8')


def test_issue_templates_forbid_images_of_heads():
    folder = ROOT / '.github/ISSUE_TEMPLATE'
    for name in ('bug.yml', 'head.yml'):
        form = yaml.safe_load((folder / name).read_text('utf-8'))
        texts = [part['attributes'].get('value', '') for part in form['body']]
        assert any('no image' in text.lower() for text in texts), name
        required = [option.get('required') for part in form['body'] if part['type'] == 'checkboxes'
                    for option in part['attributes']['options']]  # fmt: skip
        assert required
        assert all(required)
