"""An image of the input dataset, and the seeds that follow from its name."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scan:
    """One image of the input dataset to be de-identified: a T1w scan, or another contrast."""

    path: Path
    relative_path: str  # relative to the dataset, with forward slashes
    subject: str  # label without ``sub-``
    session: str | None  # label without ``ses-``
    # entities of the file name, by their short names (``sub``, ``ses``, ``run``), in its order
    entities: dict[str, str] = field(hash=False)
    # shareable fields of its sidecar, with inheritance
    metadata: dict[str, Any] = field(hash=False, repr=False)
    seed: int  # below 2**31; the same for all scans of a subject
    problem: str = ''  # why the scan cannot be processed, or nothing
    # CRC-32 of the image when processing began, nothing before that: a scan is the same before and after
    crc32: str = field(default='', compare=False)
    # the T1w scan around whose brain the head is generated; None if it is this one, or there is to be no head
    reference: 'Scan | None' = field(default=None, hash=False, repr=False)
    # the T1w scan that locates the brain of another contrast; None for T1w scans
    t1w: 'Scan | None' = field(default=None, hash=False, repr=False)
    # the first echo of the same acquisition, whose brain is that of this one
    first_echo: 'Scan | None' = field(default=None, hash=False, repr=False)
    # mask of another pipeline, used in place of skull stripping
    brain_mask: Path | None = field(default=None, hash=False, repr=False)
    # CRC-32 of that file. It tells no more than the mask of the preserved region, which is published.
    brain_mask_crc32: str = field(default='', hash=False, repr=False)

    @property
    def suffix(self) -> str:
        """The contrast, by the last part of the name: ``T1w``."""
        return self.name.rpartition('_')[2]

    @property
    def sources(self) -> list['Scan']:
        """This scan and those that its outputs are made from."""
        return [scan for scan in (self, self.first_echo, self.reference, self.t1w) if scan is not None]

    @property
    def given_brain_masks(self) -> dict[str, str]:
        """Checksums of the brain masks that were given for the `sources`, by path."""
        return {scan.relative_path: scan.brain_mask_crc32 for scan in self.sources if scan.brain_mask_crc32}

    @property
    def acquisition(self) -> tuple[Any, ...]:
        """What all echoes of an acquisition have in common: the name without the echo."""
        return self.suffix, *(item for item in self.entities.items() if item[0] != 'echo')

    @property
    def reference_path(self) -> str:
        """Path, relative to the dataset, of the scan around whose brain the head is generated."""
        return (self.reference or self).relative_path

    @property
    def noise_seed(self) -> int:
        """Seed of the noise, which no two scans of a subject share: it would not average out."""
        return scan_seed(self.seed, self.relative_path)

    @property
    def name(self) -> str:
        """File name without extension; it is unique in the dataset: ``sub-01_ses-a_T1w``."""
        return self.path.name.partition('.')[0]


def by_subject(scans: Iterable[Scan]) -> dict[str, list[Scan]]:
    """Return scans by the labels of their subjects, each in the order in which they come."""
    found: dict[str, list[Scan]] = {}
    for scan in scans:
        found.setdefault(scan.subject, []).append(scan)
    return found


def scan_seed(seed: int, subject: str) -> int:
    """Derive a subject's seed from the dataset's, or a scan's noise seed from its subject's; below 2**31.

    All sessions and runs of a subject share the seed of the head, so that heads differ only as brains do.
    """
    digest = hashlib.sha256(f'{seed}:{subject}'.encode()).digest()
    return int.from_bytes(digest[:4], 'big') >> 1
