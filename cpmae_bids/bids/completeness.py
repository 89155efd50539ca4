"""Whether the outputs of scans are complete and what their records say, or have to be made again."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cpmae_bids.bids.atomic import sha256_of
from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.metadata import output_sidecar
from cpmae_bids.bids.patterns import output_path, output_patterns
from cpmae_bids.bids.scan import Scan
from cpmae_bids.bids.source_checks import changed_source
from cpmae_bids.bids.verdict_records import (
    have_one_head,
    is_rejected,
    public_form,
    read_record,
    read_records,
    settings_of,
)
from cpmae_bids.config import RunConfig

# The order in which files get their names: the image last.
PUBLISHING_ORDER = ('defacemask', 'brainmask', 'refaced')


def output_files(scan: Scan, output_dir: Path) -> list[Path]:
    """Return the paths of all images and sidecars of a scan in the output, the image last."""
    return [
        output_dir / output_path(scan.relative_path, kind, extension)
        for kind in PUBLISHING_ORDER
        for extension in ('.json', None)
    ]


def stored_files_are_whole(
    record: dict[str, Any], output_dir: Path, hash_of: Callable[[Path], str] = sha256_of
) -> bool:
    """Whether all files that a record names are there with the content that it names."""
    files = record.get('files', {})
    try:
        return (
            record['status'] == 'pass'
            and bool(files)
            and all(hash_of(output_dir / path) == digest for path, digest in files.items())
        )
    except OSError:
        return False


def records_with_its_head(scan: Scan, record: dict[str, Any], config: RunConfig) -> dict[str, dict[str, Any]]:
    """The records of other scans that have, or had, the same generated head."""
    if record.get('fill') == 'air':
        return {}
    return {
        name: other
        for name, other in read_records(config.output_dir, scan.subject).items()
        if name != scan.name and other.get('fill') != 'air' and have_one_head(record, other)
    }


def is_complete(scan: Scan, config: RunConfig) -> bool:
    """Whether a scan's outputs are whole and what this run would make again.

    That is, it `stands`, its sidecar follows the original's, and a private report exists if the run writes
    them. Another contrast is complete only if the T1w that locates its brain stands as well.
    """
    page = config.private_page(scan.name)
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

    The record says 'pass', with the same version, weights, preset, steps, seed and reference; no other scan
    has rejected the head; input and reference are unchanged; every file has the recorded hash.
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
    if any(is_rejected(other) for other in records_with_its_head(scan, record, config).values()):
        return False
    return not changed_source(record, config)


def complete_scans(scans: Iterable[Scan], config: RunConfig) -> list[Scan]:
    """Return the scans whose outputs need not be made again."""
    return [scan for scan in scans if is_complete(scan, config)]


def hashes_of_unchanged_files() -> Callable[[Path], str]:
    """Return a function as `sha256_of` that reads a file again only if it has changed since."""
    known: dict[tuple[Any, ...], str] = {}

    def hash_of(path: Path) -> str:
        status = path.stat()
        state = path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if state not in known:
            known[state] = sha256_of(path)
        return known[state]

    return hash_of


def verified_records(
    output_dir: Path, *, thorough: bool = True, hash_of: Callable[[Path], str] = sha256_of
) -> list[dict[str, Any]]:
    """Return a record for each scan of an output, sorted by scan, as its files bear them out; write nothing.

    A pass whose files are gone or changed becomes an error, and so does an image without a passing record (a
    ``stray``). If not `thorough`, files need only exist: their hashes are not compared.
    """
    records: list[dict[str, Any]] = []
    vouched: set[str] = set()
    for record in read_records(output_dir).values():
        files = record.get('files', {})
        if record['status'] == 'pass':
            if thorough:
                is_there = stored_files_are_whole(record, output_dir, hash_of)
            else:
                is_there = bool(files) and all((output_dir / path).is_file() for path in files)
            vouched.update(files)
            if not is_there:
                reason = 'outputs are missing or have changed since; run this scan again'
                record = {**record, 'status': 'error', 'reasons': [reason]}
        records.append(record)
    images = (image for pattern in output_patterns('refaced') for image in output_dir.glob(pattern))
    for image in sorted(images):
        path = image.relative_to(output_dir).as_posix()
        if path not in vouched:
            reason = 'an image without a passing verdict; remove it, it may show the original'
            records.append({'scan': path, 'status': 'error', 'reasons': [reason], 'stray': True})
    return sorted(records, key=lambda record: str(record.get('scan')))
