"""Describe the output dataset and its source."""

import os
import re
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cpmae_bids._version import __version__
from cpmae_bids.bids.jsontext import read_json, to_json
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.private_text import holds_path, names_somebody
from cpmae_bids.config import DECIDING_PATHS, RunConfig
from cpmae_bids.runtime.packaged import packaged_text

BIDS_VERSION = '1.10.0'
GENERATOR = 'cpmae-bids'
# 'figures' without a slash: with one, validators still report the files in it.
# '/bids' is the raw-like dataset, which stands for itself.
_BIDSIGNORE = '*.html\n/bids\nfigures\ngroup_verdicts.*\nlogs\n'
# What else stands in its place may be a path.
_DOI = re.compile(r'(doi:|https?://(dx\.)?doi\.org/)?10\.\d{4,9}/[^\s"<>]+', re.IGNORECASE)
# What results depend on
LIBRARIES = ('antspyx', 'deepbet', 'nibabel', 'nipype', 'numpy', 'pybids', 'scipy', 'templateflow', 'torch')


def write_dataset_files(config: RunConfig) -> None:
    """Write dataset_description.json, .bidsignore, README, logs/config.toml and CITATION.md, without paths.

    A README that is there already is kept.
    """
    folder = OutputFolder(config.output_dir)
    folder.write('dataset_description.json', to_json(describe_dataset(config)))
    folder.write('.bidsignore', _BIDSIGNORE)
    if not any(config.output_dir.glob('README*')):
        folder.write('README', packaged_text('data/output_readme.md'))
    folder.write('logs/CITATION.md', packaged_text('data/citation.md'))
    folder.write('logs/config.toml', config_text(config))


def read_description(dataset: Path) -> dict[str, Any]:
    """Return a dataset's dataset_description.json, or an empty dict if it has none that can be read."""
    try:
        description = read_json(dataset / 'dataset_description.json')
    except (OSError, ValueError):
        return {}
    return description if isinstance(description, dict) else {}


def is_output_dataset(folder: Path) -> bool:
    """Whether the description of a dataset says that this tool made it."""
    makers = read_description(folder).get('GeneratedBy')
    return isinstance(makers, list) and any(
        isinstance(maker, dict) and maker.get('Name') == GENERATOR for maker in makers
    )


def generated_by() -> dict[str, Any]:
    """Return the entry of this tool in GeneratedBy, with its address and the container, if there are any."""
    maker: dict[str, Any] = {
        'Name': GENERATOR,
        'Version': __version__,
        'Description': 'Generated heads around bit-identical brains',
    }
    if url := _home_page():
        maker['CodeURL'] = f'{url}/archive/{__version__}.tar.gz'
    if tag := os.environ.get('CPMAE_BIDS_DOCKER_TAG'):
        # apptainer and singularity name the image file in variables; its path is not for others to see
        kinds = [kind for kind in ('apptainer', 'singularity') if f'{kind.upper()}_CONTAINER' in os.environ]
        maker['Container'] = {'Type': kinds[0] if kinds else 'docker', 'Tag': tag}
    return maker


def _home_page() -> Any:
    """Where the code is, if the package says so (``url`` in setup.cfg)."""
    try:
        return metadata(GENERATOR).json.get('home_page')
    except PackageNotFoundError:
        return None


def describe_dataset(config: RunConfig) -> dict[str, Any]:
    """Return the content of dataset_description.json of the output."""
    source = read_description(config.bids_dir)
    name = source['Name'] if source.get('Name') and is_public(source['Name']) else 'T1w scans'
    description: dict[str, Any] = {
        'Name': f'{name}, de-identified',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [generated_by()],
    }
    if is_public(source.get('License')):
        description['License'] = source['License']
    if doi := doi_of(source):
        description['SourceDatasets'] = [{'DOI': doi}]
        link = doi if '://' in doi else f'https://doi.org/{doi.removeprefix("doi:")}'
    else:
        link = _link_without_doi(config, name)
        description['SourceDatasets'] = [{'URL': link}]
    description['DatasetLinks'] = {'raw': link}
    return description


def is_public(value: Any) -> bool:
    """Whether a value is a text without a path of somebody's machine."""
    return isinstance(value, str) and not holds_path(value)


def doi_of(source: dict[str, Any]) -> str:
    """Return the DOI of a dataset by its description; nothing if what stands there is none."""
    doi = source.get('DatasetDOI')
    return doi if isinstance(doi, str) and _DOI.fullmatch(doi) else ''


def _link_without_doi(config: RunConfig, name: str) -> str:
    """Locate the input relative to the output, without folders that may name people or days; else name it."""
    relative = Path(os.path.relpath(config.bids_dir.resolve(), config.output_dir.resolve()))
    named = [part for part in relative.parts if part != '..']
    if (len(named) == 1 or '..' not in relative.parts) and not any(map(names_somebody, named)):
        return quote(relative.as_posix())
    return f'urn:dataset:{quote(name, safe="")}'


def config_text(config: RunConfig) -> str:
    """Return logs/config.toml: the settings without paths, and the versions of what results depend on."""
    import tomli_w

    more: dict[str, Any] = {'environment': _environment()}
    if lost := ['--' + name.replace('_', '-') for name in DECIDING_PATHS if getattr(config, name)]:
        more['not_recorded'] = {'options': lost}
    return config.to_toml() + '\n' + tomli_w.dumps(more)


def _environment() -> dict[str, str]:
    """Return the versions of what the results depend on."""
    found = {GENERATOR: __version__}
    for package in LIBRARIES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
