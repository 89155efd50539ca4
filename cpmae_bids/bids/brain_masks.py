"""Find brain masks of other pipelines: ``desc-brain_mask`` in BIDS derivatives."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS, split_name
from cpmae_bids.bids.scan import Scan, by_subject
from cpmae_bids.config import T1W
from cpmae_bids.exceptions import InputError

logger = logging.getLogger(__name__)


def with_brain_masks(scans: Sequence[Scan], folders: Sequence[Path]) -> list[Scan]:
    """Return T1w scans with their brain masks of derivatives; the first folder that has one counts.

    A mask belongs to the scan of the same name. One whose name has fewer entities, as pipelines give the mask
    of an average, belongs to a scan only if there is no other that it could belong to.
    """
    found: dict[Scan, Path] = {}
    for folder in folders:
        for subject, of_subject in by_subject(scans).items():
            for mask, entities in _masks(folder, subject):
                owner = _owner(entities, of_subject)
                if owner is not None:
                    found.setdefault(owner, mask)
                else:
                    logger.warning('%s: not the brain mask of a single T1w scan, not used', mask.name)
    if folders:
        logger.info('brain masks: of %d of %d T1w scans in --derivatives', len(found), len(scans))
    return [replace(scan, brain_mask=found.get(scan)) for scan in scans]


def _masks(folder: Path, subject: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Brain masks of a subject in the spaces of its scans, those with the most entities first."""
    masks = []
    for pattern in (f'sub-{subject}/anat', f'sub-{subject}/ses-*/anat'):
        for path in sorted(folder.glob(f'{pattern}/sub-{subject}_*desc-brain_mask.nii*')):
            try:
                entities, suffix, extension = split_name(path.name)
            except InputError:
                continue
            if entities.pop('desc', '') == 'brain' and suffix == 'mask' and extension in IMAGE_EXTENSIONS:
                masks.append((path, entities))
    return iter(sorted(masks, key=lambda mask: -len(mask[1])))


def _owner(entities: dict[str, str], scans: Sequence[Scan]) -> Scan | None:
    """The one scan that a mask can belong to, or the first echo of the one acquisition."""
    possible = [scan for scan in scans if entities.items() <= scan.entities.items()]
    exact = [scan for scan in possible if entities == scan.entities and scan.suffix == T1W]
    acquisitions = {scan.acquisition for scan in possible}
    return exact[0] if exact else possible[0] if len(acquisitions) == 1 else None
