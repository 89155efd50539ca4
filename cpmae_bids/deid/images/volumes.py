"""Files between steps: volumes on the template grid, and the codes of brains and heads."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cpmae_bids.exceptions import InputError

# What numpy raises for ``.npz`` files that are damaged, or hold something else
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, BadZipFile)


def write(path: Path, *, dtype: type = np.float16, **arrays: np.ndarray | float) -> None:
    """Write volumes by name, not compressed, which takes longer than all else; real numbers as `dtype`."""
    stored: dict[str, Any] = {
        name: array.astype(dtype) if isinstance(array, np.ndarray) and array.dtype.kind == 'f' else array
        for name, array in arrays.items()
    }
    np.savez(path, **stored)


def read(path: Path, name: str) -> np.ndarray:
    """Read a volume that `write` wrote; InputError if it cannot be read."""
    try:
        with np.load(path) as arrays:
            return arrays[name]
    except _UNREADABLE as error:
        raise InputError(f'{path}: cannot be read ({error}): run the step that writes it again') from error


def write_codes(path: Path, levels: list[np.ndarray]) -> None:
    """Write codes, a volume of integers (g, g, g) per level from coarse to fine, as ``.npz``."""
    arrays: dict[str, Any] = {f'level{k}': np.asarray(v).astype(np.int16) for k, v in enumerate(levels)}
    np.savez(path, **arrays)


def read_codes(path: Path) -> list[np.ndarray]:
    """Read codes as int16, a volume (g, g, g) per level from coarse to fine; or raise InputError."""
    try:
        with np.load(path) as arrays:
            return [arrays[f'level{k}'] for k in range(len(arrays.files))]
    except _UNREADABLE as error:
        raise InputError(f'{path}: no codes can be read ({error}): run the encode step again') from error
