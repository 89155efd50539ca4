"""Volumes on the template grid between steps: compressed ``.npz`` files, since most of them is air."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cpmae_bids.exceptions import InputError

UNREADABLE = (OSError, EOFError, ValueError, KeyError, BadZipFile)
"""What numpy raises for ``.npz`` files that are damaged, or hold something else."""


def write(path: Path, **arrays: np.ndarray | float) -> None:
    """Write arrays by name; those of floating-point numbers in half precision."""
    stored: dict[str, Any] = {
        name: array.astype(np.float16) if isinstance(array, np.ndarray) and array.dtype.kind == 'f' else array
        for name, array in arrays.items()
    }
    np.savez_compressed(path, **stored)


def read(path: Path, name: str) -> np.ndarray:
    """Read one of the arrays that `write` wrote.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with np.load(path) as arrays:
            return arrays[name]
    except UNREADABLE as error:
        raise InputError(f'{path}: cannot be read ({error}): run the step that writes it again') from error
