"""The template brain that every scan is aligned to.

MNI152NLin2009cAsym from TemplateFlow's cache where it is there, else the average brain that the package
ships. TemplateFlow is imported only to download, and that only when asked for: it writes into its folder on
import.
"""

import json
import os
from pathlib import Path

import numpy as np

from cpmae_bids.deid.space.alignment import Template
from cpmae_bids.exceptions import TemplateError

NAME = 'MNI152NLin2009cAsym'
SHIPPED = Path(__file__).parent / 'data' / 'template.safetensors'
_RESOLUTIONS = ('02', '01')


def find_template(fetch: bool = False) -> Template:
    """Find the template brain; by the network only if TemplateFlow is to `fetch` what is not cached.

    Raises TemplateError if the download fails or a file cannot be read.
    """
    pair = _cached()
    if pair is None and fetch:
        pair = _fetch()
    return _read_shipped() if pair is None else _read_pair(*pair)


def _cached() -> tuple[Path, Path] | None:
    default = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'templateflow'
    folder = Path(os.environ.get('TEMPLATEFLOW_HOME') or default) / f'tpl-{NAME}'
    for resolution in _RESOLUTIONS:
        stem = f'tpl-{NAME}_res-{resolution}'
        pair = folder / f'{stem}_T1w.nii.gz', folder / f'{stem}_desc-brain_mask.nii.gz'
        # TemplateFlow marks files that it has not downloaded yet by a size of 0
        if all(path.is_file() and path.stat().st_size for path in pair):
            return pair
    return None


def _fetch() -> tuple[Path, Path]:
    try:
        from templateflow import api

        entities = {'template': NAME, 'resolution': 2, 'extension': '.nii.gz'}
        t1w = api.get(**entities, desc=None, suffix='T1w')
        mask = api.get(**entities, desc='brain', suffix='mask')
    except Exception as error:  # the client passes on whatever requests and the file system raise
        raise TemplateError(
            f'{NAME}: cannot be fetched ({error}): run without --fetch-template to use the packaged brain'
        ) from error
    return Path(t1w), Path(mask)


def _read_pair(t1w: Path, mask: Path) -> Template:
    from cpmae_bids.deid.images import nifti

    try:
        scan = nifti.read(t1w)
        inside = nifti.read_mask(mask, scan)
    except Exception as error:
        raise TemplateError(
            f'{t1w}: the cached template is damaged ({error}): delete it, or fetch it again'
        ) from error
    return Template(np.where(inside, scan.values(), 0), inside, scan.affine, NAME)


def _read_shipped() -> Template:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(SHIPPED, 'np') as file:
            affine = np.array(json.loads(file.metadata()['affine']), dtype=float)
            brain = file.get_tensor('brain')
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TemplateError(f'{SHIPPED}: cannot be read ({error}): install the package again') from error
    return Template(brain.astype(np.float32), brain > 0, affine, 'shipped')
