"""Write the raw-like dataset of a run."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cpmae_bids.bids.atomic import locked, locked_subject
from cpmae_bids.bids.output_folder import never_written_to
from cpmae_bids.bids.raw_like import DATASET
from cpmae_bids.bids.selection import list_subjects
from cpmae_bids.bids.verdict_records import read_records
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError
from cpmae_bids.sharing.inventory import DatasetFile, list_files
from cpmae_bids.sharing.rawlike.manifest import read_manifest, units
from cpmae_bids.sharing.rawlike.root import write_description, write_root
from cpmae_bids.sharing.rawlike.subject import Subject


@dataclass(frozen=True)
class Outcome:
    """What became of the dataset."""

    dataset: Path
    # n_refaced, n_copied: images in it
    n_refaced: int
    n_copied: int
    left_out: list[DatasetFile]  # of the subjects of the run, and beside all subjects
    failures: int  # files that should be in it and are not


def write_raw_like(config: RunConfig, shows_face: Callable[[Path], str] | None = None) -> Outcome:
    """Write what a run may share as a raw dataset, and remove what may be shared no more.

    Only files on the allow-list are copied, and only images that passed QC replace their originals. Other
    subjects and sessions than those of the run are not touched. `config` has a seed, and its scans have been
    processed; `shows_face` says how a face was found in an image that would be copied, or nothing. Raises
    InputError if the dataset cannot be written.
    """
    dataset = config.raw_like_folder
    try:
        with never_written_to(config.bids_dir):
            return _write(config, dataset, shows_face)
    except OSError as err:
        raise InputError(
            f'{dataset}: the raw-like dataset cannot be written ({err.strerror or err}); free space or '
            'check its permissions, and run again'
        ) from err


def _write(config: RunConfig, dataset: Path, shows_face: Callable[[Path], str] | None) -> Outcome:
    records = {str(record.get('scan')): record for record in read_records(config.output_dir).values()}
    # files of the input, and units that earlier runs have written, by the folder of their subject
    entries: dict[str, list[DatasetFile]] = {f'sub-{label}': [] for label in list_subjects(config.bids_dir)}
    written: dict[str, list[str]] = defaultdict(list)
    beside: list[DatasetFile] = []
    for entry in list_files(config.bids_dir):
        name, _, inner = entry.path.partition('/')
        (entries[name] if inner and name in entries else beside).append(entry)
    for unit in units(dataset):
        if unit != DATASET:
            written[unit.partition('_')[0]].append(unit)

    write_description(config.bids_dir, dataset)
    left_out, failures = [], 0
    for name in sorted({*entries, *written}):
        if config.includes_subject(name.removeprefix('sub-')):
            found = entries.get(name, []), written[name]
            subject = Subject(name, *found, records, dataset, config, shows_face)
            with locked_subject(config.output_dir, name):  # of which another run may have other sessions
                subject.write()
            left_out += subject.left_out
            failures += subject.failures
    with locked(config.output_dir, 'logs'):  # runs over other subjects write these files as well
        of_root, of_root_failed = write_root(config.bids_dir, dataset, beside)
    left_out, failures = left_out + of_root, failures + of_root_failed
    manifests = [read_manifest(dataset, unit) for unit in units(dataset)]
    n_refaced = sum(len(manifest['refaced']) for manifest in manifests)
    n_images = sum('sha256' in entry for manifest in manifests for entry in manifest['files'].values())
    return Outcome(dataset, n_refaced, n_images - n_refaced, left_out, failures)
