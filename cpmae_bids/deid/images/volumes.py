"""Files between steps: volumes on the template grid, and the codes of brains and heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cpmae_bids.exceptions import InputError

_UNREADABLE = (OSError, EOFError, ValueError, KeyError, BadZipFile)
"""What numpy raises for ``.npz`` files that are damaged, or hold something else."""


def write(path: Path, *, dtype: type = np.float16, **arrays: np.ndarray | float) -> None:
    """Write volumes by name, not compressed, which takes longer than all else; real numbers as `dtype`."""
    stored: dict[str, Any] = {
        name: array.astype(dtype) if isinstance(array, np.ndarray) and array.dtype.kind == 'f' else array
        for name, array in arrays.items()
    }
    np.savez(path, **stored)


def read(path: Path, name: str) -> np.ndarray:
    """Read one of the volumes that `write` wrote.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with np.load(path) as arrays:
            return arrays[name]
    except _UNREADABLE as error:
        raise InputError(f'{path}: cannot be read ({error}): run the step that writes it again') from error


def write_codes(path: Path, levels: list[np.ndarray]) -> None:
    """Write the codes of one scan.

    Parameters
    ----------
    path : Path
        ``.npz``: ``level0``, ``level1``, ... from coarse to fine.
    levels : list of ndarray of int, shape (g, g, g) each
    """
    arrays: dict[str, Any] = {f'level{k}': np.asarray(v).astype(np.int16) for k, v in enumerate(levels)}
    np.savez(path, **arrays)


def read_codes(path: Path) -> list[np.ndarray]:
    """Read the codes of one scan; a list of int16 arrays (g, g, g), coarse to fine.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with np.load(path) as arrays:
            return [arrays[f'level{k}'] for k in range(len(arrays.files))]
    except _UNREADABLE as error:
        raise InputError(f'{path}: no codes can be read ({error}): run the encode step again') from error
