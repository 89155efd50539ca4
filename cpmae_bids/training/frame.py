"""Groupwise registration: the frame in which the anatomy of all training heads lies in the same place.

Each round registers every head to the symmetric mean of the heads as the round before aligned them. The
folder keeps a field for each head and round, so that an interrupted call resumes, on this machine or another.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cpmae_bids.deid.images.intensity import from_levels
from cpmae_bids.models import diffeomorphism as diffeo
from cpmae_bids.models import frame
from cpmae_bids.models.diffeomorphism import Level
from cpmae_bids.runtime.pool import workers
from cpmae_bids.training.data import Head

# Levels of each round: 4, 14 and 14 s a head on one core
ROUNDS: tuple[tuple[Level, ...], ...] = (
    (Level(4, 4, 60), Level(2, 2, 40)),
    (Level(2, 2, 30), Level(1, 2, 12)),
    (Level(2, 2, 15), Level(1, 2, 15, fluid=1.0, elastic=0.4)),
)

# Quantiles of the intensity outside of the brain to which heads are mapped before they are registered
QUANTILES = 11


def head_channels(head: Head, quantiles: np.ndarray) -> tuple[Tensor, Tensor]:
    """`cpmae_bids.models.frame.channels` of a head whose tissue is as bright as that of the others."""
    return frame.channels(like_others(head, quantiles), *(frame.in_frame(x) for x in (head.brain, head.fov)))


def like_others(head: Head, quantiles: np.ndarray) -> np.ndarray:
    """Intensities of a head in the frame's box, mapped to common quantiles; scanners differ."""
    volume, brain, fov = (frame.in_frame(x) for x in (from_levels(head.image), head.brain, head.fov))
    outer = frame.outer_mask(volume * fov, brain, closing_mm=4.0)
    return frame.match_quantiles(volume, volume[tissue_of(volume, brain, fov & outer)], quantiles)


def tissue_of(volume: np.ndarray, brain: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Voxels of the head that count for its quantiles."""
    return ~brain & seen & (volume > 0.1)


def common_quantiles(heads: list[Head]) -> np.ndarray:
    """Median over heads of the quantiles of their intensities outside of the brain; shape (QUANTILES,)."""
    rows = []
    for head in heads:
        volume = from_levels(head.image)
        rows.append(
            np.quantile(volume[tissue_of(volume, head.brain, head.fov)], np.linspace(0, 1, QUANTILES))
        )
    return np.median(rows, 0)


def register_all(heads: list[Head], folder: Path, *, processes: int = 1) -> tuple[Tensor, list[Tensor]]:
    """Register heads to their mean, in `ROUNDS`; `folder` keeps what was found.

    Returns the mean of the channels, float32, (1, 3, *SHAPE), and a field for each head, float32, (1, 3,
    *FIELD): point of the frame to point of the head, in voxels of 4 mm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    quantiles = common_quantiles(heads)
    parts = [heads[k::processes] for k in range(processes)]
    own_threads = torch.get_num_threads()
    with workers(processes) as each:
        mean = None
        for number in range(-1, len(ROUNDS)):
            register = partial(_round, number=number, mean=mean, folder=folder, quantiles=quantiles)
            totals, weights = zip(*each(register, parts), strict=True)
            mean = sum(totals) / sum(weights).clamp_min(1e-3)
    torch.set_num_threads(own_threads)  # a single worker is this process
    fields = [_load(folder / f'{head.name}_{len(ROUNDS) - 1}.npy') for head in heads]
    return mean, fields


def _round(
    heads: list[Head], number: int, mean: Tensor | None, folder: Path, quantiles: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Register some of the heads; sum and weight of their channels, aligned, with mirror images."""
    torch.set_num_threads(1)
    total, weight = torch.zeros(1, 3, *frame.SHAPE), torch.zeros(1, 3, *frame.SHAPE)
    for head in tqdm(heads, desc=f'round {number + 1} of {len(ROUNDS)}', unit='head'):
        values, known = head_channels(head, quantiles)
        if number >= 0:
            path, before = (folder / f'{head.name}_{k}.npy' for k in (number, number - 1))
            if not path.exists():
                start = _load(before) if before.exists() else None
                field = diffeo.register(mean, values, ROUNDS[number], weights=known, start=start)
                part = path.with_suffix('.part.npy')
                np.save(part, field.numpy().astype(np.float16))
                os.replace(part, path)
            fine = diffeo.resize(_load(path), frame.SHAPE)
            values, known = diffeo.sample(values, fine), diffeo.sample(known, fine)
        seen = values * known
        total += seen + seen.flip(2)
        weight += known + known.flip(2)
    return total, weight


def _load(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path).astype(np.float32))
