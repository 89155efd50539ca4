"""Check everything before any work starts, so that a run fails in its first second and not in its last.

Each check raises a `cpmae_bids.exceptions.CpmaeError` whose one line names the remedy.
"""

import contextlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

from cpmae_bids.bids.raw_like import FOLDER
from cpmae_bids.bids.seed import settle_seed
from cpmae_bids.bids.selection import read_filters, select_subjects
from cpmae_bids.cli.devices import settle_device, settle_device_elsewhere
from cpmae_bids.cli.folder_checks import (
    check_description,
    check_folders,
    check_writable,
    note_own_output,
    reject_links,
)
from cpmae_bids.config import T1W, RunConfig
from cpmae_bids.exceptions import UsageError
from cpmae_bids.runtime import scratch
from cpmae_bids.runtime.scratch import CRASH_FOLDER
from cpmae_bids.workflows.cluster import check_batch, is_batch
from cpmae_bids.workflows.run import plugin_settings

logger = logging.getLogger(__name__)
_GB = 1024**3
# Upper bounds of what the intermediate files of one scan take, and of what it leaves in the output.
WORK_GB = {'128': 0.3, '256': 0.6}
OUTPUT_GB = 0.1


def preflight(config: RunConfig) -> RunConfig:
    """Check what a participant run needs, from the cheapest to the dearest; return its settings.

    Settled are device, seed, hash of the weights and work folder; for a dry run, seed and hash. Raises
    CpmaeError if something is missing; nothing has been written then but folders.
    """
    check_folders(config)
    check_description(config.bids_dir)
    note_own_output(config.bids_dir)
    select_subjects(config)
    for suffix in (T1W, *config.also):
        read_filters(config.bids_filter_file, suffix)
    plugin, _ = plugin_settings(config)
    if config.nipype_plugin_file is not None:
        check_batch(plugin, config.work_dir)
    found = find_model_hash(config)
    if config.model_hash not in ('', found):
        logger.warning('weights: not those of --config-file (%s, not %s)', found, config.model_hash)
    config = config.replace(model_hash=found)
    reject_links(config.output_dir, ('logs/verdicts', 'figures'))
    if config.layout == 'bids':
        reject_links(config.raw_like_folder, (FOLDER, 'phenotype'))
    if config.dry_run:
        return settle_seed(config)
    check_template(config)
    check_writable(config.output_dir, 'output_dir')
    if config.layout == 'bids':
        check_writable(config.raw_like_folder, '--raw-like-dir')
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


def find_model_hash(config: RunConfig) -> str:
    """Verify the weights and return their hash, or raise `WeightsError`."""
    from cpmae_bids.models.weights import resolve_weights

    return resolve_weights(config.weights).model_hash


def check_template(config: RunConfig) -> None:
    """Raise `TemplateError` unless there is a template that can be read."""
    from cpmae_bids.templates import find_template

    logger.info('template: %s', find_template(fetch=config.fetch_template).name)


def settle_work_dir(config: RunConfig) -> RunConfig:
    """Return the settings with a work folder that exists and is closed to other users.

    Raises UsageError if it cannot be written, or is open to others.
    """
    if '%' in str(place := config.work_dir or Path(tempfile.gettempdir())):  # interpolated by its parser
        raise UsageError(f'{place}: nipype works in no folder with % in its path; choose another --work-dir')
    scratch.sweep(config.bids_dir)
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
    """Remove the rights of other users to a work directory that holds nothing but this tool's files.

    Raises UsageError if these rights cannot be removed, or it holds other things that they may need.
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
            f'{work_dir}: other users may read or write this --work-dir, which holds original voxels; '
            'chmod 700 it, or choose another'
        )
    logger.warning('%s: closed to other users, since it holds original voxels', work_dir)


def remove_work_dir(config: RunConfig) -> None:
    """Remove the work folder if it was made for this run."""
    if config.temporary_work_dir and config.work_dir is not None:
        scratch.remove(config.work_dir)


def check_space(config: RunConfig, n_scans: int = 1, at_a_time: int | None = None) -> None:
    """Require room on the disks for one scan, and warn if there is none for all; UsageError without.

    What a scan takes is known as an upper bound only. `n_scans` will leave outputs; the intermediate files of
    `at_a_time` of them, all by default, exist at the same time.
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
                f'{folder}: {name} has {free:.1f} GB left and a scan may take {each:.1f} GB; free space, or '
                'choose another folder'
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
