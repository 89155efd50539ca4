"""Look up what datasets of this tool record about a file, and check it."""

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from cpmae_bids.bids.atomic import sha256_of
from cpmae_bids.bids.derivatives import GENERATOR, is_output_dataset
from cpmae_bids.bids.jsontext import read_json
from cpmae_bids.bids.patterns import output_kinds, output_patterns
from cpmae_bids.bids.raw_like import is_raw_like
from cpmae_bids.bids.verdict_records import read_records
from cpmae_bids.sharing.rawlike.manifest import vouched_images

# Private pages, which show originals, have names of scans
_REPORT = re.compile(r'(?:group|sub-[^_/]+)\.html|figures/sub-[^/]+_(?:face|slices)\.png')


@dataclass(frozen=True)
class Promise:
    """What a dataset of this tool says about a file that has the name of an output."""

    sha256: str  # hash in the passing record that names the file; empty if there is none
    is_refaced: bool  # whether it is a scan, under whichever name, and not one of the masks beside it

    def broken(self, path: Path) -> str:
        """Say why a file is not what was promised, or nothing; OSError if it cannot be read."""
        if not self.sha256:
            return 'no passing verdict vouches for it'
        if sha256_of(path) != self.sha256:
            return 'it is not the file that passed its verdict'
        if self.is_refaced and not _says_how(path):
            return 'its sidecar does not say how it was de-identified'
        return ''


class Promises:
    """Promises about files, from the records of their datasets, each of which is read once."""

    def __init__(self) -> None:
        self._datasets: dict[Path, Path | None] = {}
        self._hashes: dict[Path, dict[str, str]] = {}

    def about(self, path: Path) -> Promise | None:
        """Return what is promised about an image; None if it is no output by place and name."""
        dataset = self._dataset_of(path.parent)
        if dataset is None:
            return None
        relative = path.relative_to(dataset).as_posix()
        raw_like = is_raw_like(dataset)
        if dataset not in self._hashes:
            self._hashes[dataset] = vouched_images(dataset) if raw_like else _vouched_files(dataset)
        digest = self._hashes[dataset].get(relative, '')
        if raw_like:  # where masks do not lie, and any image without a verdict is what its name says
            return Promise(digest, is_refaced=True) if digest else None
        is_refaced = _has_name(path, 'refaced')
        if not digest and not any(_has_name(path, kind) for kind in output_kinds()):
            return None
        return Promise(digest, is_refaced)

    def is_report(self, path: Path) -> bool:
        """Whether a page or picture is one that this tool wrote of its outputs alone, by place and name."""
        dataset = self._dataset_of(path.parent)
        if dataset is None or is_raw_like(dataset):
            return False
        return _REPORT.fullmatch(path.relative_to(dataset).as_posix()) is not None

    def _dataset_of(self, folder: Path) -> Path | None:
        """The dataset of this tool that a folder belongs to; None if it belongs to another or to none."""
        if folder not in self._datasets:
            if os.path.exists(folder / 'dataset_description.json'):  # and no error where the folder is closed
                self._datasets[folder] = folder if is_output_dataset(folder) else None
            else:
                self._datasets[folder] = None if folder.parent == folder else self._dataset_of(folder.parent)
        return self._datasets[folder]


def _vouched_files(dataset: Path) -> dict[str, str]:
    return {
        name: digest
        for record in read_records(dataset).values()
        if record['status'] == 'pass'
        for name, digest in (record.get('files') or {}).items()
    }


def _has_name(path: Path, kind: str) -> bool:
    return any(fnmatch(path.name, pattern.rpartition('/')[2]) for pattern in output_patterns(kind))


def _says_how(image: Path) -> bool:
    """Whether the sidecar of a scan names this tool as the method of its de-identification."""
    try:
        content = read_json(image.parent / f'{image.name.partition(".")[0]}.json')
        methods = content.get('DeidentificationMethod')
    except (OSError, ValueError, AttributeError):
        return False
    return isinstance(methods, list) and any(str(method).startswith(f'{GENERATOR} ') for method in methods)
