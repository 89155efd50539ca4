"""The prepared file: many heads on the template grid, small enough to carry to another machine.

A prepared file is a safetensors file. Its header holds a JSON list of scans; per scan ``<name>.image`` is the
whole head, ``<name>.brain`` the brain mask and ``<name>.fov`` the field of view, each compressed with bzip2
into a flat uint8 tensor.
"""

import bz2
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cpmae_bids.exceptions import UsageError


@dataclass(frozen=True)
class Head:
    """One head of a prepared file, on the template grid of ``n``^3 voxels (RAS) and an eighth below it."""

    name: str
    split: str  # ``'train'`` or ``'validation'``
    # uint8, shape (n, n, n + n / 8): intensities as stored; `from_levels` gives the scale of the template
    # grid (white matter about 1)
    image: np.ndarray
    brain: np.ndarray  # bool, of the same shape: brain mask
    fov: np.ndarray  # bool, of the same shape: what the scan shows


def on_grid(volume: np.ndarray) -> np.ndarray:
    """Part of a volume (n, n, n + n / 8) that lies on the template grid, a view."""
    return volume[:, :, -volume.shape[0] :]


def _pack(array: np.ndarray) -> torch.Tensor:
    return torch.frombuffer(bytearray(bz2.compress(np.ascontiguousarray(array).tobytes())), dtype=torch.uint8)


def _unpack(tensor: torch.Tensor) -> np.ndarray:
    return np.frombuffer(bz2.decompress(tensor.numpy().tobytes()), dtype=np.uint8)


def write_prepared(path: Path, heads: list[Head], provenance: dict) -> None:
    """Write heads to one prepared file, with a JSON-serialisable record of how they were made."""
    tensors, index = {}, []
    for head in heads:
        tensors[f'{head.name}.image'] = _pack(head.image)
        tensors[f'{head.name}.brain'] = _pack(np.packbits(head.brain))
        tensors[f'{head.name}.fov'] = _pack(np.packbits(head.fov))
        index.append({'name': head.name, 'split': head.split, 'shape': head.image.shape})
    save_file(tensors, path, metadata={'heads': json.dumps(index), 'provenance': json.dumps(provenance)})


def read_prepared(path: Path) -> list[Head]:
    """Read all heads of a prepared file into memory (2 MB a head at 2 mm); UsageError if it is none."""
    try:
        with safe_open(path, framework='pt') as file:
            return [_read_head(file, **entry) for entry in json.loads(file.metadata()['heads'])]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f'{path}: no prepared file, or damaged ({error}): make it with `cpmae-bids-train prepare`'
        ) from error


def _read_head(file, name: str, split: str, shape: list[int]) -> Head:
    image, *masks = (_unpack(file.get_tensor(f'{name}.{part}')) for part in ('image', 'brain', 'fov'))
    masks = [np.unpackbits(mask, count=image.size).reshape(shape) > 0 for mask in masks]
    return Head(name, split, image.reshape(shape), *masks)
