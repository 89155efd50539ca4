"""What is checked before any work starts, so that a run fails in its first second and not in its last.

Each check raises a `cpmae_bids.exceptions.CpmaeError` whose one line says what to do.
"""

import contextlib
import ctypes
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cpmae_bids.bids.derivatives import GENERATOR, is_output_dataset, settle_seed
from cpmae_bids.bids.jsontext import read_json
from cpmae_bids.bids.layout import select_subjects
from cpmae_bids.bids.output_folder import OutputFolder, OutsideError, is_temporary
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import UsageError
from cpmae_bids.runtime import scratch
from cpmae_bids.runtime.scratch import CRASH_FOLDER
from cpmae_bids.sharing.rawlike.manifest import FOLDER, is_raw_like, raw_like_dir
from cpmae_bids.workflows.cluster import check_batch, is_batch
from cpmae_bids.workflows.run import plugin_settings

logger = logging.getLogger(__name__)

_GB = 1024**3
# Upper bounds of what the intermediate files of one scan take, and of what it leaves in the output.
WORK_GB = {'128': 0.3, '256': 0.6}
OUTPUT_GB = 0.1


def preflight(config: RunConfig) -> RunConfig:
    """Check what a participant run needs, from the cheapest to the dearest.

    Returns
    -------
    RunConfig
        With device, seed, hash of the weights and work folder settled; for a dry run, with seed and hash.

    Raises
    ------
    CpmaeError
        If something is missing; nothing has been written then but folders.
    """
    check_folders(config)
    check_description(config.bids_dir)
    note_own_output(config.bids_dir)
    select_subjects(config)
    plugin, _ = plugin_settings(config)
    if config.nipype_plugin_file is not None:
        check_batch(plugin, config.work_dir)
    found = find_model_hash(config)
    if config.model_hash not in ('', found):
        logger.warning('weights: not those of --config-file (%s, not %s)', found, config.model_hash)
    config = config.replace(model_hash=found)
    if config.dry_run:
        return settle_seed(config)
    check_template(config)
    check_writable(config.output_dir, 'output_dir')
    refuse_links(config.output_dir, ('logs/verdicts', 'figures'))
    if config.layout == 'bids':
        check_writable(raw_like_dir(config), '--raw-like-dir')
        refuse_links(raw_like_dir(config), (FOLDER, 'phenotype'))
    if config.private_report_dir is not None:
        check_writable(config.private_report_dir, '--private-report-dir', mode=0o700)
    settle = settle_device_elsewhere if is_batch(plugin) else settle_device
    config = config.replace(device=settle(config.device))
    config = settle_work_dir(config)
    try:
        check_space(config)
        return settle_seed(config)
    except BaseException:
        remove_work_dir(config)
        raise


def check_folders(config: RunConfig) -> None:
    """Refuse folders that do not exist, or lie where faces would get into what is shared.

    Raises
    ------
    UsageError
    """
    bids_dir, output_dir = config.bids_dir.resolve(), config.output_dir.resolve()
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
    _refuse_foreign_output(config.output_dir)
    if config.layout == 'bids':
        _check_raw_like_dir(config)
    _check_derivatives(config)
    roles = {'--work-dir': config.work_dir, '--private-report-dir': config.private_report_dir}
    for flag, folder in roles.items():
        if folder is None:
            continue
        places = [(bids_dir, 'input'), (output_dir, 'output')]
        if config.layout == 'bids':
            places.append((raw_like_dir(config).resolve(), 'raw-like dataset'))
        for place, name in places:
            if folder.resolve().is_relative_to(place):
                raise UsageError(
                    f'{folder}: {flag} holds original pixels and may not lie inside the {name}; '
                    'choose a folder outside'
                )


def _check_derivatives(config: RunConfig) -> None:
    """Refuse derivatives to take brain masks from that hold none of another pipeline."""
    for folder in config.derivatives:
        if is_output_dataset(folder):  # its masks would get a second guard rim
            raise UsageError(
                f'{folder}: was made by {GENERATOR}, whose masks are of the preserved region; give the '
                'derivatives of another pipeline'
            )
        if not any(folder.glob('sub-*')):
            raise UsageError(f'{folder}: has no sub-* folder; give the derivatives of one pipeline')


def _check_raw_like_dir(config: RunConfig) -> None:
    """Refuse a folder for the raw-like dataset that holds, or is held by, what it must be kept apart from."""
    folder = raw_like_dir(config)
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
        raise UsageError(f'{folder}: is no folder; choose another --raw-like-dir')
    present = folder.iterdir() if folder.is_dir() else ()
    others = [p for p in present if p.name != 'derivatives' and not is_temporary(p)]
    if others and not is_raw_like(folder):
        raise UsageError(f'{folder}: holds what {GENERATOR} did not write; choose another --raw-like-dir')


def _refuse_foreign_output(output_dir: Path) -> None:
    """Refuse an output folder that is another dataset, such as the input of swapped arguments."""
    if output_dir.exists() and not output_dir.is_dir():
        raise UsageError(f'{output_dir}: is no folder; choose another output')
    if not (output_dir / 'dataset_description.json').exists():
        return
    if is_raw_like(output_dir):
        raise UsageError(f'{output_dir}: is a raw-like dataset, no derivatives; choose another output')
    if not is_output_dataset(output_dir):
        raise UsageError(f'{output_dir}: is a dataset that {GENERATOR} did not make; choose another output')


def check_description(bids_dir: Path) -> None:
    """Refuse a dataset whose description says nothing: name, authors and licence would be lost.

    Raises
    ------
    UsageError
    """
    path = bids_dir / 'dataset_description.json'
    if not path.exists() and not path.is_symlink():
        return
    try:
        problem = '' if isinstance(read_json(path), dict) else 'no JSON object'
    except (OSError, ValueError) as err:
        problem = str(err.strerror if isinstance(err, OSError) else err)
    if problem:
        raise UsageError(f'{path}: cannot be read ({problem}); mend it')


def note_own_output(bids_dir: Path) -> None:
    """Say so if the input was de-identified before: mostly it was the raw dataset that was meant."""
    if is_output_dataset(bids_dir):
        logger.warning(
            '%s: was made by %s: heads that are generated are replaced once more; '
            'if that is not what you want, give the raw dataset',
            bids_dir,
            GENERATOR,
        )


def check_writable(folder: Path, name: str, mode: int = 0o777) -> None:
    """Make a folder if it is not there, with that mode, and try to write a file in it.

    Raises
    ------
    UsageError
    """
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


def refuse_links(root: Path, folders: Iterable[str]) -> None:
    """Refuse an output whose own folders are links to other places, or into the input.

    Raises
    ------
    UsageError
    """
    for folder in folders:
        try:
            OutputFolder(root).check(folder)
        except OutsideError as err:
            raise UsageError(str(err)) from err


def refuse_links_in_work(work_dir: Path, subjects: Iterable[str]) -> None:
    """Refuse a work directory in which links lead nipype to other places, or into the input.

    Parameters
    ----------
    work_dir : Path
    subjects : iterable of str
        Those whose intermediate files are going to be written, with ``sub-``.

    Raises
    ------
    UsageError
    """
    names = [re.sub(r'[^\w-]', '-', subject) for subject in subjects]  # as nodes have them
    tops = [path.name for path in work_dir.glob('*') if path.is_dir()]
    refuse_links(work_dir, tops)
    for subject_wf in (f'{top}/{name}_wf' for top in tops for name in names):
        refuse_links(work_dir, [subject_wf])
        for place, folders, _ in os.walk(work_dir / subject_wf):
            below = os.path.relpath(place, work_dir)
            refuse_links(work_dir, (f'{below}/{folder}' for folder in folders))


def find_model_hash(config: RunConfig) -> str:
    """Verify the weights and return their hash.

    Raises
    ------
    WeightsError
    """
    from cpmae_bids.models.weights import resolve_weights

    return resolve_weights(config.weights).model_hash


def check_template(config: RunConfig) -> None:
    """Make sure that there is a template that can be read.

    Raises
    ------
    TemplateError
    """
    from cpmae_bids.templates import find_template

    logger.info('template: %s', find_template(fetch=config.fetch_template).name)


def settle_device(device: str) -> str:
    """Return 'cpu' or 'cuda', and say so if 'auto' falls back to the CPU.

    Raises
    ------
    UsageError
        If 'cuda' is asked for and not there.
    """
    if device == 'cpu':
        return device
    if cuda_is_available():
        logger.info('device: cuda')
        return 'cuda'
    if device == 'cuda':
        raise UsageError('--device cuda: PyTorch finds no CUDA device here; use --device auto or cpu')
    logger.warning('device: no CUDA device was found, the models run on the CPU')
    return 'cpu'


def settle_device_elsewhere(device: str) -> str:
    """Return 'cpu' or 'cuda' for jobs on other machines, about which this one can say nothing."""
    if device == 'auto':
        logger.warning('device: the models run on the CPU of the jobs; for a GPU give --device cuda')
        return 'cpu'
    return device


def cuda_is_available() -> bool:
    """Ask PyTorch in a process of its own, if there may be a CUDA device.

    A main process that has touched CUDA could not fork workers any more.
    """
    if _has_no_gpu():
        return False
    code = 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)'
    return subprocess.run([sys.executable, '-c', code], capture_output=True, check=False).returncode == 0


def _has_no_gpu() -> bool:
    """Tell whether this build of PyTorch is for the CPU, or for CUDA, whose driver is not there.

    To load it takes seconds, to look for a library none.
    """
    try:
        build = version('torch').partition('+')[2]
    except PackageNotFoundError:
        return False
    if build == 'cpu':
        return True
    if sys.platform != 'linux' or not build.startswith('cu'):
        return False
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return True
    return False


def settle_work_dir(config: RunConfig) -> RunConfig:
    """Return the settings with a work folder that exists and is closed to other users.

    Raises
    ------
    UsageError
        If it cannot be written, or is open to others.
    """
    if not Path(tempfile.gettempdir()).resolve().is_relative_to(config.bids_dir.resolve()):
        scratch.sweep()
    if config.work_dir is not None:
        check_writable(config.work_dir, '--work-dir', mode=0o700)
        close_to_others(config.work_dir)
        return config
    try:
        check_folders(config.replace(work_dir=Path(tempfile.gettempdir(), 'probe')))  # TMPDIR may be anywhere
        folder = scratch.make()
    except OSError as err:
        raise UsageError(f'no temporary folder can be made ({err.strerror}); give a --work-dir') from err
    return config.replace(work_dir=folder, temporary_work_dir=True)


def close_to_others(work_dir: Path) -> None:
    """Take the rights of other users to a work directory that holds nothing but what this tool left there.

    Raises
    ------
    UsageError
        If others have rights to it that cannot be taken, or it holds other things that they may need.
    """
    status = work_dir.stat()
    if not status.st_mode & 0o077:
        return
    ours = (CRASH_FOLDER, 'sources', '.subjects', 'cpmae_bids_wf')
    only_ours = all(p.name in ours or p.name.startswith('cpmae-bids-') for p in work_dir.iterdir())
    if only_ours and os.geteuid() in (status.st_uid, 0):
        with contextlib.suppress(OSError):
            work_dir.chmod(0o700)
    if work_dir.stat().st_mode & 0o077:
        raise UsageError(
            f'{work_dir}: other users may read or write this --work-dir, which holds original pixels; '
            'chmod 700 it, or choose another'
        )
    logger.warning('%s: closed to other users, since it holds original pixels', work_dir)


def remove_work_dir(config: RunConfig) -> None:
    """Remove the work folder if it was made for this run."""
    if config.temporary_work_dir and config.work_dir is not None:
        scratch.remove(config.work_dir)


def check_space(config: RunConfig, n_scans: int = 1, at_a_time: int | None = None) -> None:
    """Make sure that the disks have room for a number of scans.

    What one scan takes is known only as an upper bound. So room for one is a condition, and for more of
    them it is a matter of a warning.

    Parameters
    ----------
    n_scans : int
        Scans that will leave outputs.
    at_a_time : int, optional
        Scans whose intermediate files are there at the same time; all by default.

    Raises
    ------
    UsageError
        If there is no room for a single scan.
    """
    needs = (
        (config.work_folder, '--work-dir', WORK_GB[config.preset], min(n_scans, at_a_time or n_scans)),
        (config.output_dir, 'output_dir', OUTPUT_GB, n_scans),
    )
    for folder, name, each, count in needs:
        try:
            free = shutil.disk_usage(folder).free / _GB
        except OSError as err:
            raise UsageError(f'{folder}: {name} cannot be examined ({err.strerror})') from err
        if free < each:
            raise UsageError(
                f'{folder}: {name} has {free:.1f} GB left and a scan may take {each:.1f} GB; free space'
            )
        if free < each * count:
            logger.warning(
                '%s: %s has %.1f GB left, and %d scans may take %.1f GB',
                folder,
                name,
                free,
                count,
                each * count,
            )
