"""The head that this tool generates around a brain, without the rest of a run: in the cube, at 2 mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cpmae_bids.config import DEFAULT_STEPS
from cpmae_bids.deid.images import volumes
from cpmae_bids.steps import conform, decode, encode, remodel
from cpmae_bids.training.data import on_grid

PRESET = '128'


def brain_codes(t1w: Path, brain_mask: Path, affine: Path, folder: Path) -> Path:
    """Codes of the brain of a scan, in a file in `folder`; the brain in the cube lies beside it."""
    brain, result = folder / 'brain.npz', folder / 'brain_codes.npz'
    unused = folder / 'head.npz', folder / 'statistics.json'
    conform.conform(t1w, brain_mask, affine, brain, *unused)
    for path in unused:  # the original head is not needed
        path.unlink()
    encode.encode(brain, result, 'brain')
    return result


def head_codes(brain: Path, seed: int, folder: Path) -> list[np.ndarray]:
    """Codes of the head that a brain and a seed give: shape and exemplars; kept in `folder`."""
    result = folder / f'head_codes_{seed}.npz'
    remodel.remodel(brain, result, seed=seed, steps=DEFAULT_STEPS)
    return volumes.read_codes(result)


def head(seed: int, folder: Path) -> np.ndarray:
    """The head of `head_codes`, decoded, on the template grid; ndarray of float32, shape (128, 128, 128)."""
    result = folder / f'head_{seed}.npz'
    decode.decode(folder / f'head_codes_{seed}.npz', folder / 'brain.npz', result, PRESET, seed=seed)
    return on_grid(halved(volumes.read(result, 'head').astype(np.float32)))


def halved(volume: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 x 2 voxels; (2 n, 2 n, 2 n) to (n, n, n)."""
    return volume.reshape([part for n in volume.shape for part in (n // 2, 2)]).mean(axis=(1, 3, 5))
