"""What the training loops share: time budget, checkpoints, exact resume."""

import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from cpmae_bids.exceptions import UsageError

SAVE_SECONDS = 120.0  # how often a run is saved
WARMUP = 50  # steps until the learning rate has reached its peak


class Run:
    """State of one training run in a folder: ``checkpoint.pt``, and what the loop writes beside it.

    Everything random in step ``i`` follows from ``(seed, i)``: see `rng`. A resumed run therefore makes the
    same steps as one that was never interrupted. After the `time_budget` (seconds) `steps` ends, with a
    checkpoint.
    """

    def __init__(
        self, folder: Path, model: nn.Module, optimizer, *, seed: int, time_budget: float | None = None
    ):
        self.folder, self.model, self.optimizer, self.seed = Path(folder), model, optimizer, seed
        self.folder.mkdir(parents=True, exist_ok=True)
        self.deadline = None if time_budget is None else time.monotonic() + time_budget
        self.checkpoint = self.folder / 'checkpoint.pt'
        self.step = 0

    def resume(self) -> None:
        """Load the checkpoint, where there is one, onto the device of the model; or raise UsageError."""
        if not self.checkpoint.exists():
            return
        device = next(self.model.parameters()).device
        try:
            state = torch.load(self.checkpoint, map_location=device, weights_only=True)
            self.model.load_state_dict(state['model'])
            self.optimizer.load_state_dict(state['optimizer'])
            self.step = state['step']
        except Exception as error:  # torch raises many kinds on what is damaged, or of another model
            reason = str(error).partition('\n')[0]
            raise UsageError(
                f'{self.checkpoint}: is damaged, or of other settings ({reason}): use those, or remove it'
            ) from error

    def save(self) -> None:
        """Write the checkpoint; a crash while writing leaves the former one."""
        partial = self.checkpoint.with_suffix('.part')
        state = {
            'model': self.model.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'step': self.step,
        }
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def rng(self) -> np.random.Generator:
        """Random generator of the current step; also seeds torch."""
        torch.manual_seed((self.seed * 1_000_003 + self.step) % 2**63)
        return np.random.default_rng([self.seed, self.step, 0])

    def scheduled(self, total: int, peak: float):
        """`steps` with a progress bar, at the learning rate of `cosine` times the ``pace`` of a group."""
        for step in tqdm(self.steps(total), initial=self.step, total=total, desc=self.folder.name):
            for group in self.optimizer.param_groups:
                group['lr'] = group.get('pace', 1) * cosine(step, total, peak)
            yield step

    def log(self, **values) -> None:
        """Add a line of JSON to ``log.jsonl`` in the folder."""
        with (self.folder / 'log.jsonl').open('a', encoding='utf-8') as log:
            log.write(json.dumps(values) + '\n')

    def steps(self, total: int):
        """Yield step numbers up to `total`, saving now and then, at the end, and when time is up."""
        saved = time.monotonic()
        while self.step < total and (self.deadline is None or time.monotonic() < self.deadline):
            yield self.step
            self.step += 1
            if time.monotonic() - saved > SAVE_SECONDS:
                self.save()
                saved = time.monotonic()
        self.save()


def cosine(step: int, total: int, peak: float) -> float:
    """Learning rate: linear warm-up, then half a cosine down to a twentieth of the peak."""
    if step < WARMUP:
        return peak * (step + 1) / WARMUP
    progress = min(1.0, (step - WARMUP) / max(1, total - WARMUP))
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def pick_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` to a device."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    return torch.device(name)
