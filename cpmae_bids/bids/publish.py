"""The only way by which an image gets into the output, and the only way out.

An image of a scan lies in the output only together with a record that says 'pass' and holds its hash.
It is the last of the scan's files to get its name; whatever goes wrong before, none of them stays.
"""

import contextlib
import glob
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cpmae_bids.bids.atomic import locked, sha256_of, sync
from cpmae_bids.bids.header import header_leaks
from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.layout import Scan
from cpmae_bids.bids.metadata import output_sidecar
from cpmae_bids.bids.output_folder import OutputFolder, OutsideError, never_written_to
from cpmae_bids.bids.patterns import output_path
from cpmae_bids.bids.records import (
    OF_AN_IMAGE,
    checked_sources,
    have_one_head,
    is_rejected,
    make_record,
    public_form,
    read_record,
    read_records,
    record_path,
    rejected,
    settings_of,
    write_record,
)
from cpmae_bids.bids.sources import changed_source, remember
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError, VerdictError
from cpmae_bids.sharing.rawlike.manifest import raw_like_dir, withdraw_image

# The order in which files get their names: the image last.
_ORDER = ('defacemask', 'brainmask', 'refaced')
_WITHOUT_T1W = '{}, by which its brain is found, has not passed; see its reasons, and run both again'


def output_files(scan: Scan, output_dir: Path) -> list[Path]:
    """Return the paths of all images and sidecars of a scan in the output, the image last."""
    return [
        output_dir / output_path(scan.relative_path, kind, extension)
        for kind in _ORDER
        for extension in ('.json', None)
    ]


def publish_scan(
    scan: Scan, config: RunConfig, files: dict[str, Path], verdict: dict[str, Any]
) -> list[Path]:
    """Put the outputs of a scan into the output dataset if its verdict is 'pass'.

    The record of the scan is written in any case. With another verdict no file of the scan is left in
    the output, nor one of an earlier run.

    Parameters
    ----------
    scan : Scan
    config : RunConfig
        With the hash of the weights.
    files : dict
        The finished images 'refaced', 'defacemask' and 'brainmask' (what was kept), as ``.nii.gz``.
    verdict : dict
        As the verdict step wrote it: ``status``, ``reasons``, ``measures`` and more.

    Returns
    -------
    list of Path
        Sidecars and images that are now in the output, the image last; empty if the verdict is not 'pass'.

    Raises
    ------
    VerdictError
        If the verdict belongs to another scan, other settings or other images, an image is missing, or a
        header gives something away. Then no file and no record of the scan is left.
    InputError
        If the scan has changed since it was judged, or a file cannot be written, for example to a full disk.
        Likewise.
    """
    try:
        with never_written_to(config.bids_dir), locked(config.output_dir, 'logs'):
            OutputFolder(config.output_dir).check((config.output_dir / scan.relative_path).parent)
            if scan.t1w is not None and not stands(scan.t1w, config):
                reason = _WITHOUT_T1W.format(scan.t1w.relative_path)
                verdict = {**verdict, 'status': 'fail', 'reasons': [reason, *verdict.get('reasons', [])]}
            record = make_record(scan, config, verdict)
            crc32 = checked_sources(scan, config, verdict)
            judged = record.pop('judged', None) or {}
            with_its_head = _with_its_head(scan, record, config)
            if any(is_rejected(other) for other in with_its_head.values()):
                record = rejected(record)
            if record['status'] != 'pass':
                _withdraw(scan, config)
                if is_rejected(record):
                    _withdraw_head(scan, with_its_head, config)
                write_record(config.output_dir, scan.name, record)
                return []
            published = _publish_passed(scan, config, files, record, judged)
            remember(record, crc32, config)
            return published
    except BaseException as err:
        with contextlib.suppress(OSError, OutsideError), never_written_to(config.bids_dir):
            _withdraw(scan, config)
        if isinstance(err, OSError):
            raise InputError(
                f'{scan.relative_path}: its outputs cannot be written ({err.strerror or err}); '
                'free space or check the permissions of the output'
            ) from err
        raise


def _publish_passed(
    scan: Scan, config: RunConfig, files: dict[str, Path], record: dict[str, Any], judged: dict[str, str]
) -> list[Path]:
    if set(files) != set(_ORDER):
        raise VerdictError(f'{scan.relative_path}: images {sorted(files)} instead of {sorted(_ORDER)}')
    for kind in _ORDER:
        if leaks := header_leaks(files[kind]):
            raise VerdictError(f'{scan.relative_path}: the {kind} image carries {", ".join(leaks)}')

    images: dict[Path, str] = {}
    sources: dict[Path, Path | str] = {}
    for kind in _ORDER:
        sidecar, image = (
            config.output_dir / output_path(scan.relative_path, kind, extension)
            for extension in ('.json', None)
        )
        content = output_sidecar(kind, scan.relative_path, scan.metadata, record)
        sources[sidecar] = to_json(content)
        sources[image] = files[kind]
        images[image] = judged.get(kind, '')
    folder = OutputFolder(config.output_dir)
    staged = _stage(folder, sources)
    try:
        record['files'] = {
            target.relative_to(config.output_dir).as_posix(): sha256_of(temporary)
            for target, temporary in staged.items()
        }
        for image, digest in images.items():
            if record['files'][image.relative_to(config.output_dir).as_posix()] != digest:
                raise VerdictError(f'{scan.relative_path}: {image.name} is not what was judged; run again')
        # The old image goes first and the new one comes last, so that at no moment an image lies
        # beside the record, mask or sidecar of another.
        *_, image = staged
        folder.remove(image)
        write_record(config.output_dir, scan.name, record)
        for target, temporary in staged.items():
            folder.move(temporary, target)
        sync(image.parent)
    finally:
        for temporary in staged.values():
            folder.remove(temporary)
    return list(staged)


def _stage(folder: OutputFolder, sources: dict[Path, Path | str]) -> dict[Path, Path]:
    """Write each target's content, a file or a text, to the disk under a temporary name beside it."""
    staged: dict[Path, Path] = {}
    try:
        for target, source in sources.items():
            folder.remove_temporaries(target)
            staged[target] = folder.stage(target, source if isinstance(source, str) else _copied(source))
            if isinstance(source, Path) and sha256_of(staged[target]) != sha256_of(source):
                raise VerdictError(f'{source.name}: the copy differs from what was judged; check the disk')
    except BaseException:
        for temporary in staged.values():
            folder.remove(temporary)
        raise
    return staged


def _copied(source: Path) -> Callable[[IO[bytes]], None]:
    def write(writer: IO[bytes]) -> None:
        with source.open('rb') as reader:
            shutil.copyfileobj(reader, writer)

    return write


def withdraw_scan(scan: Scan, output_dir: Path) -> None:
    """Remove every file, picture and record of a scan from the output, whichever run made them.

    What lies elsewhere, by way of a link in the output, is not the scan's.
    """
    folder = OutputFolder(output_dir)
    with contextlib.suppress(OutsideError):
        for path in reversed(output_files(scan, output_dir)):
            folder.remove(path)
            folder.remove_temporaries(path)
    with contextlib.suppress(OutsideError):
        for picture in (output_dir / 'figures').glob(f'{glob.escape(scan.name)}_*'):
            folder.remove(picture)
    folder.remove(record_path(output_dir, scan.name))
    for parent in ('figures', *PurePosixPath(scan.relative_path).parents[:-1]):
        folder.remove_if_empty(str(parent))


def _withdraw(scan: Scan, config: RunConfig) -> None:
    """Remove a scan from all that is shared, and the other contrasts whose brain was found by it."""
    withdraw_scan(scan, config.output_dir)
    with contextlib.suppress(OutsideError):
        withdraw_image(raw_like_dir(config), scan.relative_path)
    _withdraw_contrasts(scan, config)


def _withdraw_contrasts(t1w: Scan, config: RunConfig) -> None:
    """Remove the images of other contrasts whose brain was found by a T1w scan that has not passed."""
    for record in read_records(config.output_dir).values():
        if record.get('t1w') == t1w.relative_path and record['status'] == 'pass':
            path = str(record['scan'])
            scan = replace(t1w, path=config.bids_dir / path, relative_path=path)
            withdraw_scan(scan, config.output_dir)
            with contextlib.suppress(OutsideError):
                withdraw_image(raw_like_dir(config), path)
            kept = {key: value for key, value in record.items() if key not in OF_AN_IMAGE}
            reason = _WITHOUT_T1W.format(t1w.relative_path)
            write_record(config.output_dir, scan.name, {**kept, 'status': 'error', 'reasons': [reason]})


def _with_its_head(scan: Scan, record: dict[str, Any], config: RunConfig) -> dict[str, dict[str, Any]]:
    """The records of other scans that have, or had, the same generated head."""
    if record.get('fill') == 'air':
        return {}
    return {
        name: other
        for name, other in read_records(config.output_dir, scan.subject).items()
        if name != scan.name and other.get('fill') != 'air' and have_one_head(record, other)
    }


def _withdraw_head(scan: Scan, with_its_head: dict[str, dict[str, Any]], config: RunConfig) -> None:
    """Remove all images with a head that was rejected: what one scan tells of it holds for all of them."""
    for name, record in with_its_head.items():
        if record['status'] == 'pass':
            path = str(record['scan'])
            other = replace(scan, path=config.bids_dir / path, relative_path=path)
            _withdraw(other, config)
            write_record(config.output_dir, name, rejected(record))


def forget_rejections(scans: Iterable[Scan], config: RunConfig) -> None:
    """Forget that heads were rejected for scans that are about to be judged again, and may have changed."""
    for scan in scans:
        record = read_record(config.output_dir, scan.name)
        if record is not None and is_rejected(record):
            record_failure(scan, config, 'its head was rejected before, and was not judged again; run again')


def record_failure(scan: Scan, config: RunConfig, reason: str) -> dict[str, Any]:
    """Leave no image of a scan, and record why: status 'error' and the reason.

    Returns
    -------
    dict
        The record.
    """
    record = {
        'scan': scan.relative_path,
        **settings_of(scan, config),
        'status': 'error',
        'reasons': [hide_paths(' '.join(reason.split()), config)],
    }
    with never_written_to(config.bids_dir), locked(config.output_dir, 'logs'):
        _withdraw(scan, config)
        write_record(config.output_dir, scan.name, record)
    return record


def hide_paths(text: str, config: RunConfig) -> str:
    """Replace the folders of a run by their roles, since logs in the output are shared."""
    roles = {
        '<output>': config.output_dir,
        '<work>': config.work_dir,
        '<input>': config.bids_dir,
        '<weights>': config.weights,
        '<private reports>': config.private_report_dir,
        '<raw-like>': config.raw_like_dir,
        '<home>': Path.home(),
        '<temporary>': Path(tempfile.gettempdir()),
    }
    folders = [*((path, role) for role, path in roles.items() if path)]
    folders += [(path, '<derivatives>') for path in config.derivatives]
    forms = [(str(form), role) for path, role in folders for form in (path, path.resolve())]
    for form, role in sorted(forms, key=lambda item: -len(item[0])):
        if len(form) > 1:
            # The whole of it, not the end of another path or the beginning of a longer name
            text = re.sub(rf'(?<![\w.-])(?:(?<=://)|(?<!/)){re.escape(form)}(?![\w-])', role, text)
    return _OTHER_PATH.sub('<path>', text)


_IN_PATH = r'[^\n\'":;,<>()/]'
_OTHER_PATH = re.compile(
    # In quotation marks to their end; else to the last slash of the clause, as folders have blanks in their
    # names, and on to what looks like the end of a file name
    r"""(?<=')/[^'\n]*/[^'\n]*(?=')|(?<=")/[^"\n]*/[^"\n]*(?=")|"""
    rf'(?<![\w>/.:])/(?:{_IN_PATH}+/)+(?:{_IN_PATH}*?\.[A-Za-z]\w{{0,9}}(?:\.gz)?(?!\w)|[^\s\'":;,<>()/]*)'
)
"""An absolute path of two parts or more, that follows on none of the roles."""


def stored_files_are_whole(record: dict[str, Any], output_dir: Path) -> bool:
    """Whether all files that a record names are there with the content that it names."""
    files = record.get('files')
    if record.get('status') != 'pass' or not isinstance(files, dict) or not files:
        return False
    try:
        return all(sha256_of(output_dir / path) == digest for path, digest in files.items())
    except OSError:
        return False


def private_page(scan: Scan, config: RunConfig) -> Path | None:
    """Return the path of the page before/after of a scan, or None if a run writes no such pages."""
    folder = config.private_report_dir
    return None if folder is None else Path(folder) / f'{scan.name}.html'


def is_complete(scan: Scan, config: RunConfig) -> bool:
    """Whether a scan's outputs are all there, whole, and what this run would make again.

    That is, `stands`, its sidecar says what that of the original says now, and there is a private report if
    the run is to write them. A scan of another contrast
    is complete only if the T1w scan that its brain was found by stands as well.
    """
    page = private_page(scan, config)
    if page is not None and not page.is_file():
        return False
    if not stands(scan, config) or not (scan.t1w is None or stands(scan.t1w, config)):
        return False
    record = read_record(config.output_dir, scan.name) or {}
    sidecar = to_json(output_sidecar('refaced', scan.relative_path, scan.metadata, record))
    path = output_path(scan.relative_path, 'refaced', '.json')
    return record.get('files', {}).get(str(path)) == hashlib.sha256(sidecar.encode()).hexdigest()


def stands(scan: Scan, config: RunConfig) -> bool:
    """Whether a scan has passed, and its images are what this run would make again.

    That is: the record says 'pass', names the same version, weights, preset, steps, seed and reference, no
    other scan has rejected the head, the input and the reference are those it was made from, and every file
    has the recorded hash.
    """
    record = read_record(config.output_dir, scan.name)
    if record is None or scan.problem:
        return False
    absent = dict.fromkeys(('first_echo', 'given_brain_masks'))
    expected = {**absent, 'scan': scan.relative_path, **settings_of(scan, config)}
    if any(record.get(key) != value for key, value in expected.items()):
        return False
    if public_form(record) != record:  # an earlier version published more
        return False
    names = {path.relative_to(config.output_dir).as_posix() for path in output_files(scan, config.output_dir)}
    if set(record.get('files', ())) != names or not stored_files_are_whole(record, config.output_dir):
        return False
    if any(is_rejected(other) for other in _with_its_head(scan, record, config).values()):
        return False
    return not changed_source(record, config)


def complete_scans(scans: Iterable[Scan], config: RunConfig) -> list[Scan]:
    """Return the scans whose outputs need not be made again."""
    return [scan for scan in scans if is_complete(scan, config)]
