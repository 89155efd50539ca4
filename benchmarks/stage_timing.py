"""Wall time and memory of one scan, from the command to the tables, and of every stage of it.

    python -m benchmarks.stage_timing T1W [--preset 256] [--threads 2] [--device cpu] [--synthstrip]
        [--repeats 5]

The scan is the only one of a dataset; times are those of the command and of its own log. Memory is what its
processes have to themselves or share (PSS, Linux), summed up at intervals. ``--synthstrip`` measures
SynthStrip's brain mask beside it, for comparison (of radveil, extra ``cpmae-bids[benchmarks]``).
``--repeats`` does all of it so often, in turn: machines that are shared are not equally fast at all times.
Times are medians then, memory is the most of all.

At last each stage runs by itself, once: its peak is the largest resident set of that process, or of a child
of it, as the kernel counts it. The scheduler sets aside more than that (`MEM_GB` of the workflow).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from inspect import signature
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks import scaling
from benchmarks.scans import command_line, write_result
from cpmae_bids.config import DEFAULT_STEPS
from cpmae_bids.runtime.threads import VARIABLES
from cpmae_bids.steps import name_of
from cpmae_bids.steps.blend import blend
from cpmae_bids.steps.conform import conform
from cpmae_bids.steps.decode import decode
from cpmae_bids.steps.encode import encode
from cpmae_bids.steps.register import register
from cpmae_bids.steps.remodel import remodel
from cpmae_bids.steps.report import report
from cpmae_bids.steps.skullstrip import skullstrip
from cpmae_bids.steps.verdict import verdict

# A process starts with the peak memory of the one that made it: this one is small, and starts the stage alone
LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - start
with open(sys.argv[1], 'w') as file:
    print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=file)
sys.exit(code != 0)
"""

SYNTHSTRIP = """
import sys
import nibabel as nib
import radveil
image = nib.load(sys.argv[1])
values = image.get_fdata(dtype='float32')
radveil.Volume.from_array(values, image.affine).deskull(method='synthstrip', strip=False)
"""

STAGES = {
    # stage: its step, and the inputs by which it differs from what FILES and the settings say
    'skullstrip': (skullstrip, {}),
    'register': (register, {}),
    'conform': (conform, {'head': 'original_head.npz'}),
    'encode_brain': (encode, {'which': 'brain', 'codes': 'brain_codes.npz'}),
    'encode_head': (
        encode,
        {'which': 'head', 'conformed': 'original_head.npz', 'codes': 'original_codes.npz'},
    ),
    'remodel': (remodel, {}),
    'decode_head': (decode, {}),
    'blend': (blend, {}),
    'verdict': (verdict, {}),
    'report': (report, {}),
}
FILES = {
    'brain_mask': 'brain_mask.nii.gz',
    'kept_mask': 'kept_mask.nii.gz',
    'affine': 'affine.txt',
    'brain': 'brain.npz',
    'conformed': 'brain.npz',
    'brain_codes': 'brain_codes.npz',
    'head_codes': 'head_codes.npz',
    'generated_codes': 'head_codes.npz',
    'original_codes': 'original_codes.npz',
    'head': 'head.npz',
    'statistics': 'statistics.json',
    'refaced': 'refaced.nii.gz',
    'deface_mask': 'deface_mask.nii.gz',
    'noise_model': 'noise_model.json',
    'verdict': 'verdict.json',
    'slices': 'slices.png',
    'face': 'face.png',
}


def stage_inputs(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a stage: the signature of its step says which it takes, the tables above what they are.

    Parameters
    ----------
    stage : str
        A key of `STAGES`.
    settings : dict
        Values by parameter, such as ``t1w``, ``preset`` and ``seed``.

    Returns
    -------
    inputs : dict

    Raises
    ------
    KeyError
        If the step needs a parameter that nothing here gives.
    """
    step, own = STAGES[stage]
    values = {**FILES, **settings, **own}
    return {
        name: values[name]
        for name, parameter in signature(step).parameters.items()
        if parameter.default is parameter.empty or name in values
    }


def measure(command: list[str], folder: Path, threads: int) -> tuple[float, float]:
    """Run a command to its end.

    Parameters
    ----------
    command : list of str
    folder : Path
        Where it runs.
    threads : int
        For the numerical libraries.

    Returns
    -------
    seconds : float
        Wall time.
    peak : float
        Largest resident set in GiB.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    environment = {**os.environ, **dict.fromkeys(VARIABLES, str(threads))}
    usage = folder / 'usage.txt'
    launcher = [sys.executable, '-I', '-S', '-c', LAUNCHER, str(usage)]
    subprocess.run([*launcher, *command], cwd=folder, env=environment, check=True)
    seconds, peak = usage.read_text().split()
    return float(seconds), int(peak) / 1024**2  # Linux counts in KiB


def _middle(values: Iterable[float]) -> float:
    return round(float(np.median(list(values))), 2)


def stage_seconds(log: str) -> dict[str, float]:
    """Seconds that each stage took, from the log of a run of one scan."""
    lines = re.findall(r'^\[.*\] (\w+) \.\.\. ([\d.]+) s$', log, re.MULTILINE)
    return {stage: float(seconds) for stage, seconds in lines}


def main(argv: list[str] | None = None) -> None:
    """Measure one scan and write ``results/stage_timing_<preset>.json``."""
    parser = command_line(__doc__)
    parser.add_argument('t1w', type=Path)
    parser.add_argument('--preset', choices=('128', '256'), default='256')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--steps', type=int, default=DEFAULT_STEPS)
    parser.add_argument('--synthstrip', action='store_true', help='measure it beside')
    parser.add_argument('--repeats', type=int, default=1, help='times that all is done (default: 1)')
    args = parser.parse_args(argv)

    settings = {
        't1w': str(args.t1w.resolve()),
        'scan': args.t1w.name,
        'preset': args.preset,
        'device': args.device,
        'seed': 1,
        'steps': args.steps,
    }
    options = ['--nprocs', args.threads, '--omp-nthreads', args.threads]
    options += [f'--{name}={settings[name]}' for name in ('preset', 'device', 'steps')]
    if args.weights:
        settings['weights'] = str(args.weights.resolve())
        options += ['--weights', settings['weights']]
    beside = [sys.executable, '-c', SYNTHSTRIP, settings['t1w']]
    runs, logs, synthstrip, peaks = [], [], [], {}
    with tempfile.TemporaryDirectory(prefix='cpmae-timing-') as name:
        folder = Path(name)
        scaling.make_dataset(folder / 'raw', args.t1w, 1)
        for number in range(args.repeats):
            numbers, log = scaling.run(folder / 'raw', folder / str(number), options)
            runs.append(numbers)
            logs.append(stage_seconds(log))
            print('run           {seconds:7.1f} s {peak_gib:6.2f} GiB'.format(**numbers), flush=True)
            if args.synthstrip:
                synthstrip.append(measure(beside, folder, args.threads))
                print('synthstrip    {:7.1f} s {:6.2f} GiB'.format(*synthstrip[-1]), flush=True)
        for stage in STAGES:
            (folder / 'inputs.json').write_text(json.dumps(stage_inputs(stage, settings)))
            command = [sys.executable, '-m', 'cpmae_bids.steps', name_of(STAGES[stage][0]), 'inputs.json']
            peaks[stage] = measure(command, folder, args.threads)[1]
    zooms = nib.load(args.t1w).header.get_zooms()[:3]
    numbers = {
        'preset': args.preset,
        'threads': args.threads,
        'device': args.device,
        'steps': args.steps,
        'shape': list(nib.load(args.t1w).shape),
        'voxel_mm': [round(float(zoom), 3) for zoom in zooms],
        'repeats': args.repeats,
        'seconds': _middle(numbers['seconds'] for numbers in runs),
        'seconds_of_each': [numbers['seconds'] for numbers in runs],
        'cpu_seconds': _middle(numbers['cpu_seconds'] for numbers in runs),
        'peak_gib': max(numbers['peak_gib'] for numbers in runs),
        'stages': {
            stage: {'seconds': _middle(log[stage] for log in logs), 'peak_gib': round(peak, 2)}
            for stage, peak in peaks.items()
        },
    }
    if args.synthstrip:
        seconds, memory = zip(*synthstrip, strict=True)
        numbers['synthstrip'] = {
            'seconds': _middle(seconds),
            'peak_gib': round(max(memory), 2),
            'seconds_of_each': [round(value, 1) for value in seconds],
        }
    print(write_result(f'stage_timing_{args.preset}', numbers))


if __name__ == '__main__':
    main()
