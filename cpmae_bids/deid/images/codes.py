"""Files of codes: one integer volume per level of a VQ-VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cpmae_bids.deid.images.cubes import UNREADABLE
from cpmae_bids.exceptions import InputError


def write(path: Path, levels: list[np.ndarray]) -> None:
    """Write the codes of one scan.

    Parameters
    ----------
    path : Path
        ``.npz``: ``level0``, ``level1``, ... from coarse to fine.
    levels : list of ndarray of int, shape (g, g, g) each
    """
    arrays: dict[str, Any] = {f'level{k}': np.asarray(v).astype(np.int16) for k, v in enumerate(levels)}
    np.savez(path, **arrays)


def read(path: Path) -> list[np.ndarray]:
    """Read the codes of one scan; a list of int16 arrays (g, g, g), coarse to fine.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with np.load(path) as arrays:
            return [arrays[f'level{k}'] for k in range(len(arrays.files))]
    except UNREADABLE as error:
        raise InputError(f'{path}: no codes can be read ({error}): run the encode step again') from error
