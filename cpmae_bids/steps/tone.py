"""A generated head as bright as a scan: not a step of its own, but part of two."""

import json
from pathlib import Path

import numpy as np

from cpmae_bids.deid.images import volumes
from cpmae_bids.deid.synthesis import tissue
from cpmae_bids.exceptions import InputError


def tone(generated: Path, conformed: Path, statistics: Path) -> np.ndarray:
    """A generated head whose tissue is as bright as statistics of a scan say; float32, (256, 256, 288).

    `generated` is of the decode step, `conformed` and `statistics` are of the conform step.
    """
    brain = volumes.read(conformed, 'mask')
    return tissue.like(volumes.read(generated, 'head').astype(np.float32), brain, read_statistics(statistics))


def read_statistics(path: Path) -> tissue.TissueStatistics:
    """Read what the conform step wrote; InputError if it cannot be read."""
    try:
        return tissue.TissueStatistics.from_dict(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: cannot be read ({error}): run the conform step again') from error
