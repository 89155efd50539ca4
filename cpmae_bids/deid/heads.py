"""A generated head on its way from step to step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cpmae_bids.exceptions import InputError


def write(path: Path, head: np.ndarray) -> None:
    """Write a head in the cube, (n, n, n), in half precision to an ``.npz`` file; most of it is air."""
    np.savez_compressed(path, head=head.astype(np.float16))


def read(path: Path) -> np.ndarray:
    """Read a head that `write` wrote; float16, shape (n, n, n).

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with np.load(path) as arrays:
            return arrays['head']
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f'{path}: cannot be read ({error}): run the decode step again') from error
