"""Reject folders in which a run cannot work, or would show faces to others.

Each check raises `cpmae_bids.exceptions.UsageError`, whose one line says what to do.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from cpmae_bids.bids.derivatives import GENERATOR, is_output_dataset
from cpmae_bids.bids.jsontext import read_json
from cpmae_bids.bids.output_folder import OutputFolder, OutsideError, is_temporary
from cpmae_bids.bids.raw_like import is_raw_like
from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import UsageError
from cpmae_bids.workflows.progress import node_name

logger = logging.getLogger(__name__)
# What the folder of a new raw-like dataset may hold: derivatives, and what ``datalad create`` makes
_MAY_BE_THERE = frozenset(('derivatives', '.git', '.gitattributes', '.gitignore', '.gitmodules', '.datalad'))


def check_folders(config: RunConfig) -> None:
    """Reject folders that do not exist, or lie where faces would get into what is shared."""
    bids_dir, output_dir = config.bids_dir.resolve(), config.output_dir.resolve()
    if bids_dir.is_file():
        raise UsageError(
            f'{config.bids_dir}: is a file; give the root of a BIDS dataset, or use cpmae-bids-file'
        )
    if not bids_dir.is_dir():
        raise UsageError(f'{config.bids_dir}: no such folder; give the root of a BIDS dataset as bids_dir')
    if not os.access(bids_dir, os.R_OK | os.X_OK):
        raise UsageError(f'{config.bids_dir}: cannot be read; check its permissions')
    if output_dir.is_relative_to(bids_dir):
        raise UsageError(
            f'{config.output_dir}: the output may not be the input or lie inside it, since the input is '
            'never written to; choose a folder outside'
        )
    if bids_dir.is_relative_to(output_dir) and not bids_dir.is_relative_to(output_dir / 'sourcedata'):
        raise UsageError(
            f'{config.bids_dir}: the input lies inside the output, which would be shared with the '
            'original faces; choose another output, or put the input into its sourcedata folder'
        )
    reject_foreign_output(config.output_dir)
    if config.layout == 'bids':
        _check_raw_like_dir(config)
    _check_derivatives(config)
    roles = {'--work-dir': config.work_dir, '--private-report-dir': config.private_report_dir}
    for flag, folder in roles.items():
        if folder is None:
            continue
        places = [(bids_dir, 'input'), (output_dir, 'output')]
        if config.layout == 'bids':
            places.append((config.raw_like_folder.resolve(), 'raw-like dataset'))
        for place, name in places:
            if folder.resolve().is_relative_to(place):
                raise UsageError(
                    f'{folder}: {flag} holds original voxels and may not lie inside the {name}; '
                    'choose a folder outside'
                )


def _check_derivatives(config: RunConfig) -> None:
    """Reject derivatives to take brain masks from that hold none of another pipeline."""
    for folder in config.derivatives:
        if is_output_dataset(folder):  # its masks would get a second guard rim
            raise UsageError(
                f'{folder}: was made by {GENERATOR}, whose masks are of the preserved region; give the '
                'derivatives of another pipeline'
            )
        if not any(folder.glob('sub-*')):
            raise UsageError(f'{folder}: has no sub-* folder; give the derivatives of one pipeline')


def _check_raw_like_dir(config: RunConfig) -> None:
    """Reject a folder for the raw-like dataset that holds, or is held by, what it must be kept apart from."""
    folder = config.raw_like_folder
    path, bids_dir, output_dir = (p.resolve() for p in (folder, config.bids_dir, config.output_dir))
    if path.is_relative_to(bids_dir) or bids_dir.is_relative_to(path):
        raise UsageError(
            f'{folder}: the raw-like dataset and the input may not hold each other; choose another'
        )
    inside = path.is_relative_to(output_dir) and path != output_dir / 'bids'
    if inside or (output_dir.is_relative_to(path) and not output_dir.is_relative_to(path / 'derivatives')):
        raise UsageError(
            f'{folder}: the raw-like dataset must be "bids" in the output, or lie outside of it; the '
            'output may lie in its derivatives folder'
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f'{folder}: is not a folder; choose another --raw-like-dir')
    present = folder.iterdir() if folder.is_dir() else ()
    others = [p for p in present if p.name not in _MAY_BE_THERE and not is_temporary(p)]
    if others and not is_raw_like(folder):
        raise UsageError(f'{folder}: holds what {GENERATOR} did not write; choose another --raw-like-dir')


def reject_foreign_output(output_dir: Path) -> None:
    """Reject an output folder that is another dataset, such as the input of swapped arguments."""
    if output_dir.exists() and not output_dir.is_dir():
        raise UsageError(f'{output_dir}: is not a folder; choose another output')
    if not (output_dir / 'dataset_description.json').exists():
        return
    if is_raw_like(output_dir):
        raise UsageError(f'{output_dir}: is a raw-like dataset, no derivatives; choose another output')
    if not is_output_dataset(output_dir):
        raise UsageError(f'{output_dir}: is a dataset that {GENERATOR} did not make; choose another output')


def check_description(bids_dir: Path) -> None:
    """Reject a dataset whose description says nothing: name, authors and licence would be lost."""
    path = bids_dir / 'dataset_description.json'
    if not os.path.lexists(path):
        return
    try:
        problem = '' if isinstance(read_json(path), dict) else 'no JSON object'
    except (OSError, ValueError) as err:
        problem = str(err.strerror if isinstance(err, OSError) else err)
    if problem:
        raise UsageError(f'{path}: cannot be read ({problem}); fix it')


def note_own_output(bids_dir: Path) -> None:
    """Say so if the input was de-identified before: mostly it was the raw dataset that was meant."""
    if is_output_dataset(bids_dir):
        logger.warning(
            '%s: was made by %s: generated heads are replaced again; '
            'if that is not what you want, give the raw dataset',
            bids_dir,
            GENERATOR,
        )


def check_writable(folder: Path, name: str, mode: int = 0o777) -> None:
    """Make a folder if it is not there, with that mode, and try to write a file in it."""
    written = OutputFolder(folder)
    try:
        written.make(mode=mode)
        written.remove(written.stage('probe', b'probe'))
    except OutsideError as err:
        raise UsageError(str(err)) from err
    except OSError as err:
        raise UsageError(
            f'{folder}: {name} cannot be written ({err.strerror}); choose another folder'
        ) from err


def reject_links(root: Path, folders: Iterable[str]) -> None:
    """Reject an output whose own folders are links to other places, or into the input."""
    for folder in folders:
        try:
            OutputFolder(root).check(folder)
        except OutsideError as err:
            raise UsageError(str(err)) from err


def with_places(scans: Iterable[Scan], output_dir: Path) -> list[Scan]:
    """Note which scans have a folder in the output that is a link to another place, or into the input."""
    placed = []
    for scan in scans:
        try:
            OutputFolder(output_dir).check(str(PurePosixPath(scan.relative_path).parent))
        except OutsideError as err:
            scan = replace(scan, problem=scan.problem or str(err))
        placed.append(scan)
    return placed


def reject_links_in_work(work_dir: Path, subjects: Iterable[str]) -> None:
    """Reject a work directory in which links of these subjects lead elsewhere, or into the input."""
    names = [*map(node_name, subjects)]
    tops = [path.name for path in work_dir.glob('*') if path.is_dir()]
    reject_links(work_dir, tops)
    for subject_wf in (f'{top}/{name}_wf' for top in tops for name in names):
        reject_links(work_dir, [subject_wf])
        for place, folders, _ in os.walk(work_dir / subject_wf):
            below = os.path.relpath(place, work_dir)
            reject_links(work_dir, (f'{below}/{folder}' for folder in folders))
