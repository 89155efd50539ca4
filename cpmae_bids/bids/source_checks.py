"""Check that the outputs of a scan were made from the current input.

A checksum identifies the original among candidates, so none is published. They are kept in the folder of
private reports or in the work directory, if there is one. Otherwise geometry and preserved voxels decide.
"""

import contextlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from cpmae_bids.bids.atomic import crc32_of
from cpmae_bids.bids.jsontext import read_json, to_json
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.patterns import output_path
from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError


def sources_of(record: dict[str, Any]) -> list[str]:
    """Return the paths in the dataset of what the outputs of a record are made from."""
    named = (record.get(key) for key in ('scan', 'first_echo', 'reference', 't1w'))
    return list(dict.fromkeys(str(path) for path in named if path))


def checked_sources(scan: Scan, config: RunConfig, verdict: dict[str, Any]) -> dict[str, str]:
    """Return the CRC-32 of each of `Scan.sources`, by its path in the dataset.

    Raises InputError if one of them has changed since processing began, or cannot be read any more.
    """
    found = {}
    for source in scan.sources:
        path = source.relative_path
        try:
            found[path] = crc32_of(config.bids_dir / path)
        except OSError as err:
            raise InputError(f'{path}: cannot be read any more ({err.strerror}); check the input') from err
        judged = verdict.get('source_crc32') if source is scan else None
        if len({found[path], source.crc32, judged} - {'', None}) > 1:
            raise InputError(f'{path}: was changed while it was processed; run again')
    return found


def remember(record: dict[str, Any], crc32: dict[str, str], config: RunConfig) -> None:
    """Keep the checksums of what a scan was made from, readable for the owner alone, if there is a place."""
    if (path := _private_path(record, config)) is None:
        return
    folder = OutputFolder(path.parents[1])
    with contextlib.suppress(OSError, InputError):  # it saves time, no more
        folder.make(mode=0o700)
        folder.make(path.parent, mode=0o700)
        content = to_json({'files': record.get('files'), 'crc32': crc32})
        folder.write(path, content, 0o600)


def changed_source(record: dict[str, Any], config: RunConfig, *, if_unknown: bool = True) -> str:
    """Return the path of a source that is not what the outputs of a record were made from, or nothing.

    A source that cannot be read counts as changed. With `if_unknown`, so does another scan whose checksum is
    not known and that has no image in the output, since it failed or was not part of the run.
    """
    known = _remembered(record, config)
    for path in sources_of(record):
        is_unknown = known is None and not (config.output_dir / output_path(path, 'refaced')).exists()
        if is_unknown and path != record['scan'] and not if_unknown:
            continue
        if not _is_unchanged(path, known, config):
            return path
    return ''


def _is_unchanged(path: str, known: dict[str, str] | None, config: RunConfig) -> bool:
    if known is None:
        return _is_source_of_its_output(path, config)
    try:
        return known.get(path) == crc32_of(config.bids_dir / path)
    except OSError:
        return False


def _private_path(record: dict[str, Any], config: RunConfig) -> Path | None:
    folder = config.private_report_dir or (None if config.temporary_work_dir else config.work_dir)
    return folder and folder / 'sources' / f'{Path(str(record["scan"])).name.partition(".")[0]}.json'


def _remembered(record: dict[str, Any], config: RunConfig) -> dict[str, str] | None:
    """Checksums that were kept when these very files were published."""
    if (path := _private_path(record, config)) is None:
        return None
    try:
        kept = read_json(path)
        return kept['crc32'] if kept['files'] == record['files'] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_source_of_its_output(path: str, config: RunConfig) -> bool:
    refaced, mask = (config.output_dir / output_path(path, kind) for kind in ('refaced', 'brainmask'))
    try:
        states = [_state(file) for file in (config.bids_dir / path, refaced, mask)]
    except OSError:
        return False
    return _has_preserved_voxels(*states)


_State = tuple[Path, int, int, int]  # a file, and what changes with it


def _state(path: Path) -> _State:
    status = path.stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4096)
def _has_preserved_voxels(original: _State, refaced: _State, mask: _State) -> bool:
    """Whether an output has the geometry of a scan and, within the mask, its stored values."""
    import numpy as np

    from cpmae_bids.deid.images import nifti

    try:
        before, after = nifti.read(original[0]), nifti.read(refaced[0])
        preserved = nifti.read_mask(mask[0], before)
    except InputError:
        return False
    if (before.shape, before.raw.dtype) != (after.shape, after.raw.dtype) or not preserved.any():
        return False
    same_header = all(
        value.tobytes() == after.header[field].tobytes()
        for field, value in nifti.kept_fields(before.header).items()
    )
    return same_header and np.array_equal(
        before.raw[preserved].view(np.uint8), after.raw[preserved].view(np.uint8)
    )
