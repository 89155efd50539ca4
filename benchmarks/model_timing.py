"""How long do the models take for a scan, once they are loaded?

    python -m benchmarks.model_timing WORK [WORK ...] [--preset 256] [--device cuda] [--rounds 3]

WORK is what ``cpmae-bids-file T1W OUT -w WORK`` left, or a folder of such folders. One process loads the
models once, and takes each brain through the encoder, the masked autoencoder, the decoder and
super-resolution, as the steps do. What surrounds the models (reading, brightness, noise) is not counted.
The first round warms up. torch, numpy and safetensors are enough, so that a machine with a GPU needs no
more. Numbers go to ``results/model_timing_<device>.json``: medians over scans and rounds.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.scans import command_line, write_result
from cpmae_bids.config import DEFAULT_STEPS
from cpmae_bids.deid.images import volumes
from cpmae_bids.deid.space import geometry
from cpmae_bids.models.drawing import draw
from cpmae_bids.models.sampling import remodel
from cpmae_bids.models.weights import load_model, resolve_weights

MODELS = ('brain', 'mae', 'head', 'superresolution')
COARSE = 128
"""Voxels of 2 mm along an edge of the cube."""


class Clock:
    """Seconds by stage; waits for what a GPU still has to do."""

    def __init__(self, device: str):
        self.device, self.seconds = device, {}
        self.start = self._now()

    def _now(self) -> float:
        if self.device != 'cpu':
            torch.cuda.synchronize()
        return time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage; the next one begins."""
        now = self._now()
        self.seconds[stage] = now - self.start
        self.start = now


def time_scan(models: dict, brain: np.ndarray, *, seed: int, preset: str) -> dict[str, float]:
    """Seconds by stage of one scan.

    Parameters
    ----------
    models : dict of str to Module
        By name, `MODELS`, on one device.
    brain : ndarray of float32, shape (n, n, n)
        In the cube, 0 elsewhere.
    seed : int
    preset : {'128', '256'}

    Returns
    -------
    seconds : dict of str to float
        ``encode``, ``remodel``, ``decode``, and their ``sum``.
    """
    device = next(models['brain'].parameters()).device
    clock = Clock(device.type)
    inside = torch.from_numpy(geometry.pool(brain, len(brain) // COARSE))[None, None].to(device)
    codes = [level.cpu() for level in models['brain'].encode(inside)]
    clock.lap('encode')
    head = remodel(models['mae'], models['head'], models['brain'], codes, seed=seed, steps=DEFAULT_STEPS)
    clock.lap('remodel')
    mask = geometry.pool(brain > 0, len(brain) // COARSE) >= 0.5
    draw(models['head'], models['superresolution'], head, mask, seed=seed, millimetre=preset == '256')
    clock.lap('decode')
    return {**clock.seconds, 'sum': sum(clock.seconds.values())}


def main(argv: list[str] | None = None) -> None:
    """Time all brains and write the medians."""
    parser = command_line(__doc__)
    parser.add_argument('work', type=Path, nargs='+')
    parser.add_argument('--preset', choices=('128', '256'), default='256')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:N')
    parser.add_argument('--rounds', type=int, default=3, help='after the first one')
    args = parser.parse_args(argv)

    files = sorted(file for folder in args.work for file in folder.rglob('brain.npz'))
    if not files:
        parser.error('no brain.npz in these folders')
    brains = [volumes.read(file, 'brain').astype(np.float32) for file in files]
    begin = time.perf_counter()
    found = resolve_weights()
    on_device = ('brain', 'superresolution')  # the others are tables and a small transformer
    models = {name: load_model(found, name, args.device if name in on_device else 'cpu') for name in MODELS}
    load = time.perf_counter() - begin
    rounds = [
        [time_scan(models, brain, seed=seed, preset=args.preset) for brain in brains]
        for seed in range(args.rounds + 1)
    ]
    timed = [scan for scans in rounds[1:] for scan in scans]
    kind = torch.device(args.device).type
    numbers = {
        'device': torch.cuda.get_device_name(args.device) if kind == 'cuda' else 'cpu',
        'threads': torch.get_num_threads(),
        'preset': args.preset,
        'scans': len(brains),
        'rounds': args.rounds,
        'load_seconds': round(load, 2),
        'first_seconds': round(rounds[0][0]['sum'], 2),
        'seconds': {stage: round(float(np.median([one[stage] for one in timed])), 3) for stage in timed[0]},
    }
    if kind == 'cuda':
        numbers['peak_gib'] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    print(numbers)
    print(write_result(f'model_timing_{kind}', numbers))


if __name__ == '__main__':
    main()
