"""Publish images into the output, and withdraw them: the only code that does.

An image of a scan lies in the output only together with a record that says 'pass' and holds its hash.
It is the last of the scan's files to get its name; whatever goes wrong before, none of them stays.
"""

import contextlib
import glob
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from cpmae_bids.bids.atomic import locked, sha256_of, sync
from cpmae_bids.bids.completeness import PUBLISHING_ORDER, output_files, records_with_its_head, stands
from cpmae_bids.bids.header import header_leaks
from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.metadata import output_sidecar
from cpmae_bids.bids.output_folder import OutputFolder, OutsideError, never_written_to
from cpmae_bids.bids.private_paths import hide_paths
from cpmae_bids.bids.raw_like import withdraw_image
from cpmae_bids.bids.scan import Scan, by_subject
from cpmae_bids.bids.source_checks import checked_sources, remember
from cpmae_bids.bids.verdict_records import (
    HEAD_UNDECIDED,
    OF_AN_IMAGE,
    have_one_head,
    is_rejected,
    is_undecided,
    make_record,
    read_record,
    read_records,
    rejected,
    settings_of,
    write_record,
)
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError, VerdictError

_WITHOUT_T1W = '{}, by which its brain is found, has not passed; see its reasons, and run both again'


def publish_scan(
    scan: Scan, config: RunConfig, files: dict[str, Path], verdict: dict[str, Any]
) -> list[Path]:
    """Publish the outputs of a scan if its verdict is 'pass', and write its record in any case.

    `files` are the finished images 'refaced', 'defacemask' and 'brainmask' (the preserved region), as
    ``.nii.gz``; `verdict` is that of the verdict step, and `config` has the hash of the weights. Returns the
    sidecars and images that are now in the output, the image last. With another verdict these are none, and
    no file of the scan is left in the output, nor one of an earlier run.

    Raises VerdictError if the verdict belongs to another scan, other settings or other images, an image is
    missing, or a header gives something away; InputError if the scan has changed since QC, or a file cannot
    be written. Then no file of the scan is left, and its record says why, if that can be written.
    """
    try:
        try:
            with never_written_to(config.bids_dir), locked(config.output_dir, 'logs'):
                return _publish(scan, config, files, verdict)
        except OSError as err:
            raise InputError(
                f'{scan.relative_path}: its outputs cannot be written ({err.strerror or err}); '
                'free space or check the permissions of the output'
            ) from err
    except BaseException as err:
        with contextlib.suppress(OSError, OutsideError):
            record_failure(scan, config, str(err) or type(err).__name__)
        raise


def _publish(scan: Scan, config: RunConfig, files: dict[str, Path], verdict: dict[str, Any]) -> list[Path]:
    OutputFolder(config.output_dir).check((config.output_dir / scan.relative_path).parent)
    if scan.t1w is not None and not stands(scan.t1w, config):
        reason = _WITHOUT_T1W.format(scan.t1w.relative_path)
        verdict = {**verdict, 'status': 'fail', 'reasons': [reason, *verdict.get('reasons', [])]}
    record = make_record(scan, config, verdict)
    crc32 = checked_sources(scan, config, verdict)
    judged = record.pop('judged', None) or {}
    if any(is_rejected(other) for other in records_with_its_head(scan, record, config).values()):
        record = rejected(record)
    if record['status'] != 'pass':
        _leave_no_image(scan, record, config)
        return []
    published = _publish_passed(scan, config, files, record, judged)
    remember(record, crc32, config)
    return published


def _publish_passed(
    scan: Scan, config: RunConfig, files: dict[str, Path], record: dict[str, Any], judged: dict[str, str]
) -> list[Path]:
    if set(files) != set(PUBLISHING_ORDER):
        raise VerdictError(
            f'{scan.relative_path}: images {sorted(files)} instead of {sorted(PUBLISHING_ORDER)}'
        )
    for kind, path in files.items():
        if leaks := header_leaks(path):
            raise VerdictError(f'{scan.relative_path}: the {kind} image carries {", ".join(leaks)}')

    folder, paths = OutputFolder(config.output_dir), output_files(scan, config.output_dir)
    staged: dict[Path, Path] = {}
    hashes: dict[str, str] = {}
    try:
        for kind, sidecar, image in zip(PUBLISHING_ORDER, paths[::2], paths[1::2], strict=True):
            described = to_json(output_sidecar(kind, scan.relative_path, scan.metadata, record))
            for target, content in ((sidecar, described), (image, files[kind].read_bytes())):
                folder.remove_temporaries(target)
                staged[target] = folder.stage(target, content)
                digest = sha256_of(staged[target])
                hashes[target.relative_to(config.output_dir).as_posix()] = digest
            if digest != judged.get(kind):
                raise VerdictError(f'{scan.relative_path}: {image.name} is not what was checked; run again')
        # The old image goes first and the new one comes last, so that at no moment an image lies
        # beside the record, mask or sidecar of another.
        folder.remove(image)
        record['files'] = hashes
        write_record(config.output_dir, scan.name, record)
        for target, temporary in staged.items():
            folder.move(temporary, target)
        sync(image.parent)
    finally:
        for temporary in staged.values():
            folder.remove(temporary)
    return paths


def withdraw_scan(scan: Scan, output_dir: Path) -> None:
    """Remove a scan's files, pictures and pages with them, nothing behind a link, and not its record."""
    folder, files = OutputFolder(output_dir), output_files(scan, output_dir)
    pictures = [*(output_dir / 'figures').glob(f'{glob.escape(scan.name)}_*')]
    # Pages may show it, even if its pictures are gone
    has_any = any(map(os.path.lexists, (*files, *pictures)))
    pages = [output_dir / f'sub-{scan.subject}.html', output_dir / 'group.html'] if has_any else []
    with contextlib.suppress(OutsideError):
        for path in reversed(files):
            folder.remove(path)
            folder.remove_temporaries(path)
    with contextlib.suppress(OutsideError):
        for path in (*pages, *pictures):
            folder.remove(path)
    for parent in ('figures', *PurePosixPath(scan.relative_path).parents[:-1]):
        folder.remove_if_empty(str(parent))


def _leave_no_image(scan: Scan, record: dict[str, Any], config: RunConfig) -> None:
    """Write the record of a scan that has not passed; remove its image, and all that stand and fall with it.

    Records come first: an image that cannot be removed has none that says 'pass'. A full disk takes them only
    once images are gone. Whatever cannot be written or removed, the rest is.
    """
    scans, records = [scan], {scan.name: record}
    if is_rejected(record):  # one scan's metrics hold for all images with its head
        for name, other in records_with_its_head(scan, record, config).items():
            if other['status'] == 'pass':
                scans.append(_named(scan, other, config))
                records[name] = rejected(other)
    with contextlib.ExitStack() as at_last, contextlib.ExitStack() as removals:
        for one in reversed(scans):
            removals.callback(_withdraw, one, config)
        for name, written in records.items():
            try:
                write_record(config.output_dir, name, written)
            except OSError:
                at_last.callback(write_record, config.output_dir, name, written)


def _withdraw(scan: Scan, config: RunConfig) -> None:
    """Remove a scan from all that is shared, and the other contrasts whose brain was found by it."""
    reason = _WITHOUT_T1W.format(scan.relative_path)
    with contextlib.ExitStack() as removals:
        for record in read_records(config.output_dir, scan.subject).values():
            if record.get('t1w') == scan.relative_path and record['status'] == 'pass':
                kept = {key: value for key, value in record.items() if key not in OF_AN_IMAGE}
                error = {**kept, 'status': 'error', 'reasons': [reason]}
                removals.callback(_leave_no_image, _named(scan, record, config), error, config)
        removals.callback(withdraw_image, config.raw_like_folder, scan.relative_path)
        removals.callback(withdraw_scan, scan, config.output_dir)


def _named(scan: Scan, record: dict[str, Any], config: RunConfig) -> Scan:
    """The scan of a record of the same subject, as far as its outputs go by its name."""
    path = str(record['scan'])
    return replace(scan, path=config.bids_dir / path, relative_path=path)


def forget_rejections(scans: Collection[Scan], config: RunConfig) -> None:
    """Forget that heads were rejected for scans that are about to be judged again, and may have changed.

    What a run was to judge again and did not, since it was killed, stays rejected for this one.
    """
    names = {scan.name for scan in scans}
    with never_written_to(config.bids_dir), locked(config.output_dir, 'logs'):
        for subject in by_subject(scans):
            for name, record in read_records(config.output_dir, subject).items():
                if name not in names and is_undecided(record):
                    write_record(config.output_dir, name, {**record, 'head_rejected': True})
        for scan in scans:
            rejection = read_record(config.output_dir, scan.name)
            if rejection is not None and is_rejected(rejection):
                undecided = {'status': 'error', 'reasons': [HEAD_UNDECIDED], 'head_rejected': False}
                _leave_no_image(scan, rejection | undecided, config)


def record_failure(scan: Scan, config: RunConfig, reason: str) -> dict[str, Any]:
    """Leave no image of a scan; write and return its record, with status 'error' and the reason.

    A head that the scan has rejected before stays rejected: an error is no verdict. Raises OSError if a file
    cannot be removed.
    """
    record = {
        'scan': scan.relative_path,
        **settings_of(scan, config),
        'status': 'error',
        'reasons': [hide_paths(' '.join(reason.split()), config)],
    }
    with never_written_to(config.bids_dir), locked(config.output_dir, 'logs'):
        before = read_record(config.output_dir, scan.name) or {}
        if (is_rejected(before) or is_undecided(before)) and have_one_head(before, record):
            record['head_rejected'] = True
        _leave_no_image(scan, record, config)
    return record
