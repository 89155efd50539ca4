"""Compare the files of an output dataset with its verdict records."""

from pathlib import Path
from typing import Any

from cpmae_bids.bids.completeness import stored_files_are_whole
from cpmae_bids.bids.patterns import output_patterns
from cpmae_bids.bids.verdict_records import read_records


def verified_records(output_dir: Path, *, thorough: bool = True) -> list[dict[str, Any]]:
    """Return a record for each scan of an output, sorted by scan, as its files bear them out; write nothing.

    A pass whose files are gone or changed becomes an error, and so does an image without a passing record. If
    not `thorough`, files need only exist: their hashes are not compared.
    """
    records: list[dict[str, Any]] = []
    vouched: set[str] = set()
    for record in read_records(output_dir).values():
        files = record.get('files') or {}
        if record['status'] == 'pass':
            if thorough:
                is_there = stored_files_are_whole(record, output_dir)
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
            records.append({'scan': path, 'status': 'error', 'reasons': [reason]})
    return sorted(records, key=lambda record: str(record.get('scan')))
